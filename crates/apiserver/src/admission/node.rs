//! Nodes write about themselves only, also where the path does not say whom a write is about; and they do not choose what
//! decides which pods come to them. Following Kubernetes' node restriction.
//!
//! A node that was broken into must not draw pods to itself: by a label that pods select, by taking off a taint, by
//! passing for a cluster, or by giving its pods the labels of a service.

use std::collections::BTreeSet;

use dunlin_api::names::user::GROUP_CLUSTERS;
use dunlin_api::names::{annotation, finalizer, label, storage, taint};
use serde_json::{Map, Value, json};

use crate::auth::node::node_of;
use crate::failure::{Failure, Result};
use crate::object::{self, at, list, text};
use crate::server::Call;

pub fn create(call: &Call, value: &Value) -> Result<()> {
    let Some(node) = node_of(&call.user) else { return Ok(()) };
    let subject = match (&*call.resource.group, &*call.resource.plural) {
        ("", "nodes")
        | ("coordination.k8s.io", "leases")
        | ("storage.k8s.io", "csinodes")
        | ("dunlin.io", "clusters") => object::name(value),
        ("", "pods") => text(value, &["spec", "nodeName"]),
        _ => return Ok(()),
    };
    if call.resource.is("", "nodes") && exposed_by(value).is_some() {
        exposes(call, node, value)?;
    } else if subject != node {
        let why = format!("node {node:?} is not allowed to create {} of others", call.resource.plural);
        return Err(Failure::forbidden(&call.resource, object::name(value), &why));
    }
    if call.resource.is("", "nodes") { labels(call, node, &Value::Null, value) } else { Ok(()) }
}

pub fn update(call: &Call, old: &Value, new: &Value) -> Result<()> {
    let Some(node) = node_of(&call.user) else { return Ok(()) };
    let refuse = |why: String| Err(Failure::forbidden(&call.resource, call.name(), &why));
    if call.resource.is("", "pods") {
        let same = |field: &str| at(old, &["metadata", field]) == at(new, &["metadata", field]);
        if !same("labels") {
            return refuse(format!("node {node:?} is not allowed to change the labels of a pod"));
        }
        return Ok(());
    }
    if call.resource.is("", "persistentvolumes") {
        if !lets_go(old, new) {
            let finalizer = storage::LOCAL_PATH;
            return refuse(format!(
                "node {node:?} is only allowed to take the finalizer {finalizer} off a volume that is being deleted"
            ));
        }
        return Ok(());
    }
    let machine = exposed_by(old).is_some_and(|by| by == node && call.user.in_group(GROUP_CLUSTERS));
    if node != call.name() && !machine {
        return refuse(format!("node {node:?} is not allowed to modify node {:?}", call.name()));
    }
    if exposed_by(old) != exposed_by(new) {
        return refuse(format!("node {node:?} is not allowed to change whose machine it is"));
    }
    let may = if machine { may_change_taints(old, new) } else { taints(old) == taints(new) };
    if !may {
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

/// Whether the change says that what was behind a deleted volume is removed, and nothing else.
fn lets_go(old: &Value, new: &Value) -> bool {
    let rest = |volume: &Value| {
        let mut volume = volume.clone();
        for field in ["finalizers", "managedFields", "resourceVersion"] {
            object::meta(&mut volume).remove(field);
        }
        volume
    };
    let mut left = object::finalizers(old);
    left.retain(|f| f != storage::LOCAL_PATH);
    !text(old, &["metadata", "deletionTimestamp"]).is_empty()
        && !left.iter().any(|f| f == finalizer::PV_PROTECTION)
        && object::finalizers(new) == left
        && rest(old) == rest(new)
}

/// Whose machine the node is, if it is one of a child cluster.
fn exposed_by(node: &Value) -> Option<&str> {
    at(node, &["metadata", "annotations", annotation::EXPOSED_BY])?.as_str()
}

/// A cluster makes nodes for its own machines, by names that begin with its own.
fn exposes(call: &Call, node: &str, value: &Value) -> Result<()> {
    let name = object::name(value);
    let refuse = |why: String| Err(Failure::forbidden(&call.resource, name, &why));
    if exposed_by(value) != Some(node) || !call.user.in_group(GROUP_CLUSTERS) {
        return refuse(format!("node {node:?} is not allowed to create the machines of others"));
    }
    let rest = name.strip_prefix(node).and_then(|rest| rest.strip_prefix('-'));
    if rest.is_none_or(str::is_empty) {
        return refuse(format!("the node of a machine of cluster {node:?} must be called {node}-MACHINE"));
    }
    Ok(())
}

fn taints(node: &Value) -> BTreeSet<String> {
    list(node, &["spec", "taints"]).iter().map(taint::text).collect()
}

/// A machine's node follows its machine's taints, and leaves those alone that somebody here has put on it.
fn may_change_taints(old: &Value, new: &Value) -> bool {
    let own = |node| -> BTreeSet<String> {
        let noted = at(node, &["metadata", "annotations", annotation::OWN_TAINTS]).and_then(Value::as_str);
        noted.unwrap_or_default().split(',').filter(|t| !t.is_empty()).map(str::to_owned).collect()
    };
    let (before, after) = (taints(old), taints(new));
    let (own_before, own_after) = (own(old), own(new));
    let taken: BTreeSet<String> = before.difference(&after).cloned().collect();
    let added: BTreeSet<String> = after.difference(&before).cloned().collect();
    let claimed: BTreeSet<String> = own_after.difference(&own_before).cloned().collect();
    taken.is_subset(&own_before) && claimed.is_subset(&added)
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
            return Err(Failure::forbidden(&call.resource, node, &why));
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
    label::is_of_nodes(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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

    #[test]
    fn a_machine_takes_back_only_the_taints_it_brought() {
        let node = |taints: &[&str], own: &str| {
            let taints: Vec<Value> =
                taints.iter().map(|key| json!({"key": key, "effect": "NoSchedule"})).collect();
            json!({"metadata": {"annotations": {"dunlin.io/own-taints": own}}, "spec": {"taints": taints}})
        };
        let bare = node(&["theirs"], "");
        let with = node(&["theirs", "ours"], "ours:NoSchedule");
        assert!(may_change_taints(&bare, &with) && may_change_taints(&with, &bare));
        assert!(!may_change_taints(&bare, &node(&[], "")), "a taint that was put on here");
        let claimed = node(&["theirs"], "theirs:NoSchedule");
        assert!(!may_change_taints(&bare, &claimed), "to be taken off the next time");
    }
}
