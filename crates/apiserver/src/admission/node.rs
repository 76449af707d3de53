//! Nodes write about themselves only, also where the path does not say whom a write is about; and they do not choose what
//! decides which pods come to them. Following Kubernetes' node restriction.
//!
//! A node that was broken into must not draw pods to itself: by a label that pods select, by taking off a taint, by
//! passing for a cluster, or by giving its pods the labels of a service.

use dunlin_api::names::label;
use dunlin_api::names::user::GROUP_CLUSTERS;
use serde_json::{Map, Value, json};

use crate::auth::node::node_of;
use crate::failure::{Failure, Result};
use crate::object::{self, at, text};
use crate::server::Call;

/// Labels of Kubernetes' own domains that a node may set on itself.
const OWN_LABELS: [&str; 13] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.kubernetes.io/region",
    "failure-domain.kubernetes.io/zone",
];
/// And all labels of these domains and of those below them.
const OWN_DOMAINS: [&str; 2] = ["node.kubernetes.io", "kubelet.kubernetes.io"];

pub fn create(call: &Call, value: &Value) -> Result<()> {
    let Some(node) = node_of(&call.user) else { return Ok(()) };
    let subject = match (call.resource.group, call.resource.plural) {
        ("", "nodes")
        | ("coordination.k8s.io", "leases")
        | ("storage.k8s.io", "csinodes")
        | ("dunlin.io", "clusters") => object::name(value),
        ("", "pods") => text(value, &["spec", "nodeName"]),
        _ => return Ok(()),
    };
    if subject != node {
        let why = format!("node {node:?} is not allowed to create {} of others", call.resource.plural);
        return Err(Failure::forbidden(call.resource, object::name(value), &why));
    }
    if call.resource.is("", "nodes") { labels(call, node, &Value::Null, value) } else { Ok(()) }
}

pub fn update(call: &Call, old: &Value, new: &Value) -> Result<()> {
    let Some(node) = node_of(&call.user) else { return Ok(()) };
    let refuse = |why: String| Err(Failure::forbidden(call.resource, call.name(), &why));
    if call.resource.is("", "pods") {
        let same = |field: &str| at(old, &["metadata", field]) == at(new, &["metadata", field]);
        if !same("labels") {
            return refuse(format!("node {node:?} is not allowed to change the labels of a pod"));
        }
        return Ok(());
    }
    if node != call.name() {
        return refuse(format!("node {node:?} is not allowed to modify node {:?}", call.name()));
    }
    let taints = |v: &Value| at(v, &["spec", "taints"]).cloned().filter(|t| !is_empty(t));
    if taints(old) != taints(new) {
        return refuse(format!("node {node:?} is not allowed to change its taints"));
    }
    if at(old, &["metadata", "ownerReferences"]) != at(new, &["metadata", "ownerReferences"]) {
        return refuse(format!("node {node:?} is not allowed to change its owners"));
    }
    labels(call, node, old, new)
}

/// A new node is not ready before it says so, so no pod comes to it yet.
pub fn taint(node: &mut Value) {
    let key = "node.kubernetes.io/not-ready";
    let taints = object::map(node, "spec").entry("taints").or_insert_with(|| json!([]));
    if let Some(taints) = taints.as_array_mut()
        && !taints
            .iter()
            .any(|taint| text(taint, &["key"]) == key && text(taint, &["effect"]) == "NoSchedule")
    {
        taints.push(json!({"key": key, "effect": "NoSchedule"}));
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

fn labels(call: &Call, node: &str, old: &Value, new: &Value) -> Result<()> {
    let empty = Map::new();
    let of = |v: &'_ Value| at(v, &["metadata", "labels"]).and_then(Value::as_object).cloned();
    let (old, new) = (of(old).unwrap_or(empty.clone()), of(new).unwrap_or(empty));
    let cluster = call.user.in_group(GROUP_CLUSTERS);
    let changed = old.keys().chain(new.keys()).filter(|key| old.get(*key) != new.get(*key));
    for key in changed {
        if !may_set(key, new.get(key).and_then(Value::as_str), node, cluster) {
            let why = format!("node {node:?} is not allowed to change its label {key:?}");
            return Err(Failure::forbidden(call.resource, node, &why));
        }
    }
    Ok(())
}

/// Whether a node may give its own label this value, or take it off.
fn may_set(key: &str, value: Option<&str>, node: &str, cluster: bool) -> bool {
    match key {
        label::VIRTUAL_NODE => return cluster,
        label::CLUSTER => return cluster && value.is_none_or(|v| v == node),
        _ => {}
    }
    let Some((domain, _)) = key.split_once('/') else { return true };
    let within =
        |wide: &str| domain.strip_suffix(wide).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if !within("kubernetes.io") && !within("k8s.io") {
        return true;
    }
    OWN_LABELS.contains(&key) || OWN_DOMAINS.into_iter().any(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_does_not_choose_what_draws_pods_to_it() {
        let may = |key| may_set(key, Some("n1"), "n1", false);
        for key in
            ["place", "example.com/place", "kubernetes.io/hostname", "node.kubernetes.io/x", "dunlin.io/area"]
        {
            assert!(may(key), "{key}");
        }
        for key in [
            "node-role.kubernetes.io/control-plane",
            "node-restriction.kubernetes.io/x",
            "x.k8s.io/y",
            label::VIRTUAL_NODE,
            label::CLUSTER,
        ] {
            assert!(!may(key), "{key}");
        }
        let cluster = |key, value| may_set(key, value, "n1", true);
        assert!(cluster(label::VIRTUAL_NODE, Some("true")) && cluster(label::CLUSTER, Some("n1")));
        assert!(!cluster(label::CLUSTER, Some("n2")), "another cluster's pods");
    }
}
