//! What the server adds to objects, and what it refuses, beyond the rules of their types. One file per rule.
//!
//! The order is fixed. A rule sees what the rules before it have done, and runs again on every attempt, so it must not
//! have effects outside the object; the one exception (addresses of services) is undone by [`undo`].
//!
//! A new object passes [`admit`], what administrators have configured ([`dynamic::mutate`]), [`create`], validation,
//! [`judge`], [`dynamic::validate`], and last [`quota`]. A changed one passes the same with [`update`], without quota.

pub mod attributes;
pub mod certificate;
pub mod claims;
pub mod daemon_set;
pub mod definition;
pub mod device;
pub mod dynamic;
pub mod expressions;
pub mod ip_address;
pub mod job;
pub mod limits;
pub mod matching;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod pod_security;
pub mod policy;
pub mod priority;
pub mod quota;
pub mod runtime_class;
pub mod secret;
pub mod service;
pub mod service_account;
pub mod storage;
pub mod tolerations;
pub mod webhook;

use serde_json::Value;

use crate::aggregate;
use crate::auth::escalation;
use crate::failure::Result;
use crate::server::Call;

/// What has to be given back if the object is not stored after all.
#[derive(Debug, Default)]
pub struct Admitted {
    taken: service::Taken,
}

/// What may be made, and what new objects get before anybody else has a say in them. Runs again when a webhook or a
/// policy has changed the object.
pub async fn admit(call: &Call, value: &mut Value) -> Result<()> {
    namespace::admit(call, value).await?;
    node::create(call, value)?;
    match (&*call.resource.group, &*call.resource.plural) {
        ("", "pods") => {
            service_account::create(call, value).await?;
            tolerations::create(value, call.server.config.eviction_toleration.as_secs());
            runtime_class::create(call, value).await?;
            priority::create(call, value).await?;
            limits::create(call, value).await?;
        }
        ("", "secrets") => secret::encode(value),
        ("", "persistentvolumes") => storage::admit(call, value).await?,
        ("", "persistentvolumeclaims") => {
            storage::admit(call, value).await?;
            limits::create(call, value).await?;
        }
        ("", "nodes") => node::taint(value),
        _ => {}
    }
    Ok(())
}

/// Rules for new objects that have their identity.
pub async fn create(call: &Call, value: &mut Value) -> Result<Admitted> {
    let mut admitted = Admitted::default();
    match (&*call.resource.group, &*call.resource.plural) {
        ("", "namespaces") => namespace::dress(value),
        ("", "pods") => pod::create(value),
        ("", "services") => admitted.taken = claims::create(call, value).await?,
        ("", "persistentvolumes" | "persistentvolumeclaims") => storage::create(call, value),
        ("batch", "jobs") => job::create(value),
        ("apps", "daemonsets") => daemon_set::create(value),
        ("apiextensions.k8s.io", "customresourcedefinitions") => definition::create(value),
        ("apiregistration.k8s.io", _) => aggregate::local::available(value),
        ("resource.k8s.io", "resourceslices") => device::taints(value),
        ("certificates.k8s.io", "certificatesigningrequests") => certificate::create(call, value),
        ("rbac.authorization.k8s.io", _) => escalation::check(call, value).await?,
        _ => {}
    }
    Ok(admitted)
}

/// Rules for changed objects; `sub` is the subresource through which the change comes.
pub async fn update(call: &Call, old: &Value, new: &mut Value, sub: &str) -> Result<Admitted> {
    let mut admitted = Admitted::default();
    match (&*call.resource.group, &*call.resource.plural, sub) {
        ("", "secrets", "") => secret::encode(new),
        ("", "persistentvolumes", "status") => {
            node::update(call, old, new)?;
            storage::phase(old, new);
        }
        ("apps", "daemonsets", "") => daemon_set::update(old, new),
        // A list of tolerations that a client replaces keeps the two that every pod has.
        ("", "pods", "") => tolerations::create(new, call.server.config.eviction_toleration.as_secs()),
        ("", "services", "") => admitted.taken = claims::update(call, old, new).await?,
        ("", "namespaces", "") => crate::object::carry_top("spec", old, new),
        ("", "nodes", _) | ("", "pods", "status") | ("", "persistentvolumes", _) => {
            node::update(call, old, new)?
        }
        ("apiextensions.k8s.io", "customresourcedefinitions", _) => definition::update(new),
        ("resource.k8s.io", "resourceslices", "") => device::taints(new),
        ("certificates.k8s.io", "certificatesigningrequests", "") => {
            crate::object::carry_top("spec", old, new)
        }
        ("rbac.authorization.k8s.io", _, "") => escalation::check(call, new).await?,
        _ => {}
    }
    Ok(admitted)
}

/// Judges a valid object before it is stored: nothing is changed any more. `old` is what it replaces.
pub async fn judge(call: &mut Call, old: Option<&Value>, new: &Value, sub: &str) -> Result<()> {
    if sub.is_empty() {
        call.warnings.extend(dunlin_api::warnings::of(&call.resource.gvk(), new));
    }
    match (&*call.resource.group, &*call.resource.plural, sub) {
        ("", "pods", "" | "ephemeralcontainers") | ("" | "apps" | "batch", _, "") => {
            if let (true, Some(old)) = (call.resource.is("", "namespaces"), old) {
                return pod_security::tightened(call, old, new).await;
            }
            if let (true, Some(old)) = (call.resource.is("", "persistentvolumeclaims"), old) {
                return storage::update(call, old, new).await;
            }
            pod_security::judge(call, old, new).await
        }
        _ => Ok(()),
    }
}

/// Rules for deletions.
pub fn delete(call: &Call) -> Result<()> {
    namespace::delete(call)
}

/// What follows once an object is stored.
pub async fn created(call: &Call, value: &Value) -> Result<()> {
    if call.resource.is("", "namespaces") {
        namespace::furnish(&call.server, crate::object::name(value)).await?;
    }
    if call.resource.is("", "services") {
        ip_address::follow(&call.server, None, Some(value)).await?;
    }
    Ok(())
}

/// What follows once a change is stored.
pub async fn changed(call: &Call, old: &Value, new: &Value) -> Result<()> {
    if call.resource.is("", "services") {
        call.server.addresses.settle(old, new);
        ip_address::follow(&call.server, Some(old), Some(new)).await?;
        claims::settle(&call.server, old, new);
    }
    Ok(())
}

/// Gives back what [`create`] or [`update`] took.
pub fn undo(call: &Call, admitted: &Admitted) {
    call.server.addresses.give_back(&admitted.taken);
    claims::undo(&call.server, &admitted.taken);
}
