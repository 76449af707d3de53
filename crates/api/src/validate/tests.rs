//! Objects and what is said about them. Every object is defaulted first, as the API server does.

mod admission;
mod dunlin;
mod objects;
mod pods;
mod updates;

use serde_json::{Value, json};

use super::*;
use crate::defaults;

fn prepared(api_version: &str, kind: &str, mut object: Value) -> (GroupVersionKind, Value) {
    let gvk = GroupVersionKind::from_api_version(api_version, kind);
    if object["metadata"].is_null() {
        object["metadata"] = json!({"name": "x", "namespace": "default", "uid": "u"});
    }
    defaults::apply(&gvk, &mut object);
    defaults::create(&gvk, &mut object);
    (gvk, object)
}

/// What creating an object says, one line each.
fn created(api_version: &str, kind: &str, object: Value) -> Vec<String> {
    let (gvk, object) = prepared(api_version, kind, object);
    validate_create(&gvk, &object).iter().map(ToString::to_string).collect()
}

/// What replacing one object by another says.
fn updated(api_version: &str, kind: &str, old: Value, new: Value) -> Vec<String> {
    let (gvk, old) = prepared(api_version, kind, old);
    let (_, new) = prepared(api_version, kind, new);
    validate_update(&gvk, &new, &old).iter().map(ToString::to_string).collect()
}

/// Sets the value at a JSON pointer; parents must be there.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
    match parent {
        Value::Array(list) if key == "-" => list.push(value),
        Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
        other => other[key] = value,
    }
    object
}

fn pod() -> Value {
    json!({"spec": {"containers": [{"name": "c", "image": "i:1"}]}})
}

fn template() -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": pod()["spec"]})
}

fn workload() -> Value {
    json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template()}})
}

/// Nothing panics, whatever stands where.
#[test]
fn any_shape_is_survived() {
    let kinds = [
        ("v1", "Pod"),
        ("v1", "Service"),
        ("v1", "ConfigMap"),
        ("v1", "Secret"),
        ("v1", "Namespace"),
        ("v1", "Node"),
        ("v1", "PersistentVolumeClaim"),
        ("v1", "PersistentVolume"),
        ("v1", "ResourceQuota"),
        ("v1", "LimitRange"),
        ("v1", "ReplicationController"),
        ("v1", "Endpoints"),
        ("v1", "Event"),
        ("apps/v1", "Deployment"),
        ("apps/v1", "ReplicaSet"),
        ("apps/v1", "DaemonSet"),
        ("apps/v1", "StatefulSet"),
        ("batch/v1", "Job"),
        ("batch/v1", "CronJob"),
        ("autoscaling/v2", "HorizontalPodAutoscaler"),
        ("policy/v1", "PodDisruptionBudget"),
        ("networking.k8s.io/v1", "Ingress"),
        ("networking.k8s.io/v1", "NetworkPolicy"),
        ("discovery.k8s.io/v1", "EndpointSlice"),
        ("rbac.authorization.k8s.io/v1", "Role"),
        ("rbac.authorization.k8s.io/v1", "RoleBinding"),
        ("coordination.k8s.io/v1", "Lease"),
        ("scheduling.k8s.io/v1", "PriorityClass"),
        ("certificates.k8s.io/v1", "CertificateSigningRequest"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ("storage.k8s.io/v1", "StorageClass"),
        ("dunlin.io/v1alpha1", "Migration"),
        ("example.com/v1", "Thing"),
    ];
    let shapes = [
        json!(null),
        json!(3),
        json!("x"),
        json!([[]]),
        json!({}),
        json!({"metadata": 1, "spec": "x", "data": [], "status": 2}),
        json!({"metadata": {"labels": [1], "ownerReferences": {"a": 1}, "finalizers": [1]}, "spec": {"containers": [1, {"ports": {"a": 1}}],
            "template": 3, "selector": "x", "ports": [3], "jobTemplate": [], "taints": [null], "limits": [3], "capacity": 1}}),
        json!({"spec": {"template": {"spec": {"containers": [{"env": [{"valueFrom": 3}], "resources": {"requests": {"cpu": []}}}],
            "volumes": [{"name": 3, "secret": []}], "affinity": {"nodeAffinity": 3}}}, "volumeClaimTemplates": [1, {"metadata": 3}]},
            "data": {"a": 1}, "rules": [1], "subjects": [1], "endpoints": [1], "subsets": [1], "webhooks": [1]}),
    ];
    for (api_version, kind) in kinds {
        let gvk = GroupVersionKind::from_api_version(api_version, kind);
        for shape in &shapes {
            let mut defaulted = shape.clone();
            defaults::apply(&gvk, &mut defaulted);
            defaults::create(&gvk, &mut defaulted);
            for object in [shape, &defaulted] {
                validate_create(&gvk, object);
                for old in &shapes {
                    validate_update(&gvk, object, old);
                    for subresource in ["status", "ephemeralcontainers", "resize", "finalize"] {
                        validate_subresource(&gvk, subresource, object, old);
                    }
                }
            }
        }
    }
}
