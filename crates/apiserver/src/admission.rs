//! What the server adds to objects, and what it refuses, beyond the rules of their types. One file per rule.
//!
//! The order is fixed. A rule sees what the rules before it have done, and runs again on every attempt, so it must not
//! have effects outside the object; the one exception (addresses of services) is undone by [`undo`].

pub mod certificate;
pub mod definition;
pub mod job;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod priority;
pub mod runtime_class;
pub mod secret;
pub mod service;
pub mod service_account;
pub mod storage;
pub mod tolerations;

use serde_json::Value;

use crate::auth::escalation;
use crate::failure::Result;
use crate::server::Call;

/// What has to be given back if the object is not stored after all.
#[derive(Debug, Default)]
pub struct Admitted {
    taken: service::Taken,
}

/// Rules for new objects.
pub async fn create(call: &Call, value: &mut Value) -> Result<Admitted> {
    namespace::create(call, value).await?;
    node::create(call, value)?;
    let mut admitted = Admitted::default();
    match (&*call.resource.group, &*call.resource.plural) {
        ("", "pods") => {
            service_account::create(call, value).await?;
            runtime_class::create(call, value).await?;
            tolerations::create(value, call.server.config.eviction_toleration.as_secs());
            priority::create(call, value).await?;
            pod::create(value);
        }
        ("", "secrets") => secret::encode(value),
        ("", "services") => admitted.taken = service::create(call, value)?,
        ("", "persistentvolumes" | "persistentvolumeclaims") => storage::create(call, value).await?,
        ("batch", "jobs") => job::create(value),
        ("apiextensions.k8s.io", "customresourcedefinitions") => definition::create(value),
        ("certificates.k8s.io", "certificatesigningrequests") => certificate::create(call, value),
        ("rbac.authorization.k8s.io", _) => escalation::check(call, value).await?,
        _ => {}
    }
    Ok(admitted)
}

/// Rules for changed objects; `sub` is the subresource through which the change comes.
pub async fn update(call: &Call, old: &Value, new: &mut Value, sub: &str) -> Result<()> {
    match (&*call.resource.group, &*call.resource.plural, sub) {
        ("", "secrets", "") => secret::encode(new),
        ("", "services", "") => service::update(call, old, new)?,
        ("", "persistentvolumeclaims", "") => storage::update(call, old, new).await?,
        ("", "namespaces", "") => crate::object::carry_top("spec", old, new),
        ("", "nodes", _) | ("", "pods", "status") | ("", "persistentvolumes", _) => {
            node::update(call, old, new)?
        }
        ("apiextensions.k8s.io", "customresourcedefinitions", _) => definition::update(new),
        ("certificates.k8s.io", "certificatesigningrequests", "") => {
            crate::object::carry_top("spec", old, new)
        }
        ("rbac.authorization.k8s.io", _, "") => escalation::check(call, new).await?,
        _ => {}
    }
    Ok(())
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
    Ok(())
}

/// Gives back what [`create`] took.
pub fn undo(call: &Call, admitted: &Admitted) {
    call.server.addresses.give_back(&admitted.taken);
}
