//! What is wrong with an object, field by field, in the paths and words of Kubernetes.
//!
//! The object has been decoded and defaulted before (`defaults::apply`, and `defaults::create` for new ones), so types
//! are right and what has a default is there; a field of the wrong type counts as missing and never panics. Kinds that
//! are not known here get the checks of metadata alone. Whether names exist, quotas, and ranges that are configured are
//! not decided here.

mod admission;
mod apps;
mod autoscaling;
mod batch;
mod container;
mod core;
mod definition;
mod devices;
mod dunlin;
pub mod error;
mod events;
mod extension;
mod field;
mod flow;
mod handler;
mod job_policies;
mod limits;
mod metadata;
mod network;
mod pod;
mod pod_annotations;
mod pod_update;
mod policies;
mod rbac;
mod registration;
mod resources;
mod scheduling;
mod security;
mod selectors;
mod service;
mod storage;
pub mod syntax;
mod volumes;
mod webhook;
mod windows;

use serde_json::Value;

use crate::gvk::GroupVersionKind;

pub use error::{ErrorKind, FieldError, Shown};
use field::{At, Errors};

/// Everything that is wrong with a new object.
pub fn validate_create(gvk: &GroupVersionKind, object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let root = At::root(object);
    metadata::create(gvk, &root, &mut errors);
    kind(gvk, &root, &mut errors);
    if is(gvk, "", "Pod") {
        pod_update::create_only(&root, &mut errors);
    }
    if is(gvk, "events.k8s.io", "Event") {
        events::new(&root, &mut errors);
    }
    if is(gvk, "networking.k8s.io", "Ingress") {
        network::ingress_create(&root, &mut errors);
    }
    if is(gvk, "apiextensions.k8s.io", "CustomResourceDefinition") {
        definition::create_only(&root, &mut errors);
    }
    errors.into_vec()
}

/// Everything that is wrong with an object that shall replace another: with the object as such, and with the change.
pub fn validate_update(gvk: &GroupVersionKind, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let (new, old) = (At::root(new), At::root(old));
    metadata::update(gvk, &new, &old, &mut errors);
    match gvk.group.as_str() {
        "apps" => apps::changed_kind(&gvk.kind, &new, &old, &mut errors),
        "batch" => batch::changed_kind(&gvk.kind, &new, &old, &mut errors),
        // The addresses of a slice whose type may not change are not worth looking at.
        "discovery.k8s.io" if !same_text(&new, &old, "addressType") => {}
        "networking.k8s.io" if network::is_frozen(&gvk.kind) => {}
        "resource.k8s.io" if devices::is_frozen(&gvk.kind) => {}
        _ => kind(gvk, &new, &mut errors),
    }
    change(gvk, &new, &old, &mut errors);
    errors.into_vec()
}

/// Everything that is wrong with a write to a subresource that stores the whole object: `status`, `finalize`,
/// `ephemeralcontainers`, `resize`.
pub fn validate_subresource(
    gvk: &GroupVersionKind,
    subresource: &str,
    new: &Value,
    old: &Value,
) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let (new, old) = (At::root(new), At::root(old));
    metadata::update(gvk, &new, &old, &mut errors);
    match subresource {
        "ephemeralcontainers" => pod_update::ephemeral_containers(&new, &old, &mut errors),
        "resize" => {
            kind(gvk, &new, &mut errors);
            pod_update::resize(&new, &old, &mut errors);
        }
        "finalize" if is(gvk, "", "Namespace") => core::finalizers(&new, &mut errors),
        "status" => match (gvk.group.as_str(), gvk.kind.as_str()) {
            ("", "Node") => core::node_status(&new, &mut errors),
            ("", "Pod") => pod_update::status(&new, &old, &mut errors),
            ("", "Namespace") => core::namespace_status(&new, &mut errors),
            ("", "Service") => service::status(&new, &mut errors),
            ("apps", kind) => apps::status(kind, &new, &mut errors),
            ("batch", kind) => batch::status(kind, &new, &old, &mut errors),
            ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => {
                policies::status(&new.get("status"), &mut errors);
            }
            ("apiregistration.k8s.io", _) => registration::status(&new, &mut errors),
            ("flowcontrol.apiserver.k8s.io", _) => flow::status(&new, &mut errors),
            ("resource.k8s.io", "ResourceClaim") => devices::status(&new, &old, &mut errors),
            ("networking.k8s.io", "Ingress") => {
                network::load_balancer(&new.path(&["status", "loadBalancer"]), false, &mut errors);
            }
            _ => {}
        },
        _ => {}
    }
    errors.into_vec()
}

/// What is wrong with the addresses of a service and their families: asked before addresses are allocated.
pub fn validate_service_addresses(service: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    service::addresses(&At::root(service).get("spec"), &mut errors);
    errors.into_vec()
}

fn same_text(new: &At, old: &At, name: &str) -> bool {
    new.get(name).text() == old.get(name).text()
}

fn is(gvk: &GroupVersionKind, group: &str, kind: &str) -> bool {
    gvk.group == group && gvk.kind == kind
}

/// The checks of the object as such.
fn kind(gvk: &GroupVersionKind, object: &At, errors: &mut Errors) {
    match gvk.group.as_str() {
        "" => core::kind(&gvk.kind, object, errors),
        "apps" => apps::kind(&gvk.kind, object, errors),
        "batch" => batch::kind(&gvk.kind, object, errors),
        "autoscaling" => autoscaling::kind(gvk, object, errors),
        "dunlin.io" => dunlin::kind(&gvk.kind, object, errors),
        "policy" => autoscaling::disruption_budget(&gvk.kind, object, errors),
        "networking.k8s.io" | "discovery.k8s.io" => network::kind(&gvk.kind, object, errors),
        "rbac.authorization.k8s.io" => rbac::kind(&gvk.kind, object, errors),
        "storage.k8s.io" => storage::kind(&gvk.kind, object, errors),
        "admissionregistration.k8s.io" => admission::kind(&gvk.kind, object, errors),
        "resource.k8s.io" => devices::kind(&gvk.kind, object, errors),
        "flowcontrol.apiserver.k8s.io" => flow::kind(&gvk.kind, object, errors),
        "apiregistration.k8s.io" => registration::kind(&gvk.kind, object, errors),
        "apiextensions.k8s.io"
        | "certificates.k8s.io"
        | "coordination.k8s.io"
        | "node.k8s.io"
        | "scheduling.k8s.io" => extension::kind(&gvk.kind, object, errors),
        _ => {}
    }
}

/// The checks of what has changed.
fn change(gvk: &GroupVersionKind, new: &At, old: &At, errors: &mut Errors) {
    match gvk.group.as_str() {
        "" => core::change(&gvk.kind, new, old, errors),
        "apps" => apps::change(&gvk.kind, new, old, errors),
        "batch" => batch::change(&gvk.kind, new, old, errors),
        "dunlin.io" => dunlin::change(&gvk.kind, new, old, errors),
        "discovery.k8s.io" | "networking.k8s.io" => network::change(&gvk.kind, new, old, errors),
        "events.k8s.io" => events::change(new, old, errors),
        "rbac.authorization.k8s.io" => rbac::change(&gvk.kind, new, old, errors),
        "storage.k8s.io" => storage::change(&gvk.kind, new, old, errors),
        "resource.k8s.io" => devices::change(&gvk.kind, new, old, errors),
        "apiextensions.k8s.io" | "certificates.k8s.io" | "node.k8s.io" | "scheduling.k8s.io" => {
            extension::change(&gvk.kind, new, old, errors);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
