//! Finding pods by name, as callers of the kubelet's API do, and listing them.

use dunlin_node::{NodeService, PodRef};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// The pod of this name, and of this uid if one is given. Of several with one name the one that is not being deleted
/// is meant, which is the youngest.
pub fn find(service: &NodeService, namespace: &str, name: &str, uid: Option<&str>) -> Option<Pod> {
    let is = |pod: &Pod| {
        let PodRef { namespace: of, name: called, uid: own } = PodRef::of(pod);
        of == namespace && called == name && uid.is_none_or(|uid| uid == own)
    };
    let mut found: Vec<Pod> = service.backend().pods().into_iter().filter(is).collect();
    found.sort_by_key(|pod| {
        let made = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (pod.metadata.deletion_timestamp.is_none(), made)
    });
    found.pop()
}

/// Whether the pod has a container of this name.
pub fn has_container(pod: &Pod, name: &str) -> bool {
    let spec = pod.spec.as_ref();
    let named = spec.is_some_and(|spec| {
        spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(|c| c.name == name)
    });
    named
        || spec
            .and_then(|s| s.ephemeral_containers.as_ref())
            .is_some_and(|all| all.iter().any(|c| c.name == name))
}

/// A `PodList` of the pods that `wanted` accepts.
pub fn list(service: &NodeService, wanted: impl Fn(&Pod) -> bool) -> Value {
    let items: Vec<Pod> = service.backend().pods().into_iter().filter(|pod| wanted(pod)).collect();
    let items: Vec<Value> = items
        .iter()
        .map(|pod| {
            let mut pod = serde_json::to_value(pod).unwrap_or_default();
            if let Some(fields) = pod.as_object_mut() {
                // Items of a list do not say their kind.
                fields.remove("apiVersion");
                fields.remove("kind");
            }
            pod
        })
        .collect();
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
}

/// Whether a container of the pod runs.
pub fn runs(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let of = |all: Option<&Vec<k8s_openapi::api::core::v1::ContainerStatus>>| {
        all.into_iter().flatten().any(|c| c.state.as_ref().is_some_and(|state| state.running.is_some()))
    };
    of(status.and_then(|s| s.container_statuses.as_ref()))
        || of(status.and_then(|s| s.init_container_statuses.as_ref()))
}
