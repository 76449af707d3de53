//! What Kubernetes fills in when a field is left out, kind by kind.
//!
//! [`apply`] runs on every object that is read from a client or from the store, on creation and on updates, so it is
//! idempotent and depends on nothing but the object. [`create`] is what only the creation of an object sets. Values
//! that are allocated (addresses, ports, names, uids) are the API server's and are not here. Fields of the wrong type
//! are left alone: decoding and validation complain about them.

mod admission;
mod apps;
mod autoscaling;
mod batch;
mod core;
mod create;
mod fill;
mod network;
mod pod;
mod rbac;
mod storage;

use serde_json::Value;

use crate::gvk::GroupVersionKind;

pub use create::{create, generate_job_selector};
pub use pod::{image_pull_policy, qos_class, requests as pod_requests};

/// Sets what is missing and has a default. Quantities come out in canonical form, `stringData` of secrets in `data`. What is
/// always written, set or not, is decoding's to add.
pub fn apply(gvk: &GroupVersionKind, object: &mut Value) {
    let Some(object) = object.as_object_mut() else { return };
    match gvk.group.as_str() {
        "" => core::apply(&gvk.kind, object),
        "apps" => apps::apply(&gvk.kind, object),
        "batch" => batch::apply(&gvk.kind, object),
        "autoscaling" => autoscaling::apply(gvk, object),
        "networking.k8s.io" | "discovery.k8s.io" => network::apply(&gvk.kind, object),
        "rbac.authorization.k8s.io" => rbac::apply(&gvk.kind, object),
        "node.k8s.io" | "storage.k8s.io" | "scheduling.k8s.io" | "resource.k8s.io" => {
            storage::apply(&gvk.kind, object)
        }
        "admissionregistration.k8s.io"
        | "apiextensions.k8s.io"
        | "apiregistration.k8s.io"
        | "flowcontrol.apiserver.k8s.io" => admission::apply(&gvk.kind, object),
        _ => {}
    }
}

/// Where the pod template of a kind stands, as a path of fields; `None` for kinds that have none.
pub fn template_path(gvk: &GroupVersionKind) -> Option<&'static [&'static str]> {
    Some(match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet")
        | ("batch", "Job")
        | ("", "ReplicationController") => &["spec", "template"],
        ("batch", "CronJob") => &["spec", "jobTemplate", "spec", "template"],
        ("", "PodTemplate") => &["template"],
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
