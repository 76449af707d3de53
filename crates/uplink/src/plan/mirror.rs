//! A pod of the parent as it is made below.
//!
//! Owners, finalizers and what only means something in the upper API stay there; what binds the pod to the node that
//! stands for this cluster has done its work. Everything else is the child's scheduler's and machines' to follow.

use std::collections::BTreeMap;

use dunlin_api::names::{annotation, label};
use k8s_openapi::api::core::v1::{
    Affinity, KeyToPath, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodAffinityTerm,
    PodSpec, SecretProjection,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sha2::{Digest, Sha256};

use super::references::{Kind, rename, settle};

/// Who mirrors for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// The parent's name, which marks everything that is made for it.
    pub parent: String,
    /// The node that stands for this cluster there.
    pub node: String,
    /// The area that this cluster is in; a machine of it need not say so itself.
    pub area: Option<String>,
    /// What the parent sees.
    pub expose: Expose,
}

/// What the parent sees of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expose {
    /// One node that stands for all machines.
    Cluster,
    /// A node for each machine.
    Nodes,
}

impl Level {
    /// Selects what is made for the parent.
    pub fn selector(&self) -> String {
        format!("{}={}", label::MIRROR, self.parent)
    }
}

/// How what a pod names is called below.
pub type Names<'a> = &'a dyn Fn(Kind, &str) -> String;

/// Short and stable: the first sixteen hexadecimal digits of a hash.
pub fn short(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The Secret that holds a pod's tokens below.
pub fn token_secret(uid: &str) -> String {
    format!("home-token-{}", short(uid))
}

/// The annotations that say where an object is at home; `node` is where the level above has bound it.
pub fn home(node: &str, upper: &ObjectMeta) -> BTreeMap<String, String> {
    let kept = |name: &str| upper.annotations.as_ref().and_then(|all| all.get(name)).cloned();
    let uid = upper.uid.clone().unwrap_or_default();
    let mut all = upper.annotations.clone().unwrap_or_default();
    all.remove(annotation::LAST_APPLIED);
    // Half of the time is this level's, half is for what lies below.
    if let Some(fence) = all.get_mut(annotation::FENCE_AFTER)
        && let Some(half) = dunlin_node::fence::half(fence)
    {
        *fence = half;
    }
    all.insert(annotation::HOME_UID.into(), kept(annotation::HOME_UID).unwrap_or_else(|| uid.clone()));
    let namespace = kept(annotation::HOME_NAMESPACE).or_else(|| upper.namespace.clone()).unwrap_or_default();
    all.insert(annotation::HOME_NAMESPACE.into(), namespace);
    let node = kept(annotation::HOME_NODE).unwrap_or_else(|| node.to_owned());
    all.insert(annotation::HOME_NODE.into(), node);
    all.insert(annotation::MIRROR_OF.into(), uid);
    all
}

/// The mirror of `upper` in `namespace`.
pub fn mirror(level: &Level, upper: &Pod, namespace: &str, names: Names<'_>) -> Pod {
    let meta = &upper.metadata;
    let mut spec = upper.spec.clone().unwrap_or_default();
    settle(&mut spec, meta.name.as_deref().unwrap_or_default());
    // What is only offered is not bound yet.
    let node = spec.node_name.clone().filter(|node| !node.is_empty()).unwrap_or_else(|| level.node.clone());
    let mut annotations = home(&node, meta);
    pin(&spec, &mut annotations);
    let mut labels = meta.labels.clone().unwrap_or_default();
    // Only what this uplink makes may say that it stands for a DaemonSet.
    labels.remove(label::DAEMON_OF);
    labels.insert(label::MIRROR.into(), level.parent.clone());
    let token = token_secret(meta.uid.as_deref().unwrap_or_default());
    Pod {
        metadata: ObjectMeta {
            name: meta.name.clone(),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(self::spec(level, spec, &token, names)),
        status: None,
    }
}

/// The specification as it holds below.
pub fn spec(level: &Level, mut spec: PodSpec, token: &str, names: Names<'_>) -> PodSpec {
    let bound = spec.node_name.take();
    let level = &Level { node: bound.unwrap_or_else(|| level.node.clone()), ..level.clone() };
    spec.service_account_name = None;
    spec.service_account = None;
    spec.automount_service_account_token = Some(false);
    // These name cluster-wide objects of the upper API, or were filled in from them.
    spec.priority_class_name = None;
    spec.priority = None;
    spec.preemption_policy = None;
    spec.overhead = None;
    spec.scheduler_name = None;
    spec.scheduling_gates = None;
    spec.ephemeral_containers = None;
    if let Some(selector) = &mut spec.node_selector {
        let own = |key: &str, value: &str| {
            matches!(key, label::CLUSTER | label::VIRTUAL_NODE)
                || (key == label::HOSTNAME && value == level.node)
                || (key == label::AREA && Some(value) == level.area.as_deref())
        };
        selector.retain(|key, value| !own(key, value));
    }
    spec.affinity = spec.affinity.take().map(|affinity| below(level, affinity));
    if let Some(spread) = &mut spec.topology_spread_constraints {
        spread.retain(|constraint| constraint.topology_key != label::CLUSTER);
    }
    tokens_from(&mut spec, token);
    rename(&mut spec, &mut |kind, name| {
        if name != token {
            *name = names(kind, name);
        }
    });
    spec
}

/// A machine is named by its path below the cluster; the step down to this cluster has been made.
pub(super) fn pin(spec: &PodSpec, annotations: &mut BTreeMap<String, String>) {
    if spec.node_selector.as_ref().is_some_and(|all| all.contains_key(label::CLUSTER)) {
        return;
    }
    if let Some(path) = annotations.remove(annotation::MACHINE)
        && let Some((_, rest)) = path.split_once('/')
    {
        annotations.insert(annotation::MACHINE.into(), rest.to_owned());
    }
}

/// Affinity without what chose the node that stands for this cluster.
fn below(level: &Level, mut affinity: Affinity) -> Affinity {
    if let Some(node) = &mut affinity.node_affinity {
        let required = &mut node.required_during_scheduling_ignored_during_execution;
        *required = required.take().and_then(|required| without_upper(level, required));
        if let Some(preferred) = &mut node.preferred_during_scheduling_ignored_during_execution {
            preferred.iter_mut().for_each(|term| drop_upper(level, &mut term.preference));
            preferred.retain(|term| !is_empty(&term.preference));
        }
    }
    let concerns = |term: &PodAffinityTerm| term.topology_key != label::CLUSTER;
    if let Some(pods) = &mut affinity.pod_affinity {
        let required = &mut pods.required_during_scheduling_ignored_during_execution;
        required.iter_mut().for_each(|all| all.retain(concerns));
        let preferred = &mut pods.preferred_during_scheduling_ignored_during_execution;
        preferred.iter_mut().for_each(|all| all.retain(|term| concerns(&term.pod_affinity_term)));
    }
    if let Some(pods) = &mut affinity.pod_anti_affinity {
        let required = &mut pods.required_during_scheduling_ignored_during_execution;
        required.iter_mut().for_each(|all| all.retain(concerns));
        let preferred = &mut pods.preferred_during_scheduling_ignored_during_execution;
        preferred.iter_mut().for_each(|all| all.retain(|term| concerns(&term.pod_affinity_term)));
    }
    affinity
}

/// Terms are alternatives: one that asked for nothing but this cluster lets every machine in.
fn without_upper(level: &Level, mut required: NodeSelector) -> Option<NodeSelector> {
    required.node_selector_terms.iter_mut().for_each(|term| drop_upper(level, term));
    let open = required.node_selector_terms.iter().any(is_empty);
    (!open).then_some(required)
}

fn drop_upper(level: &Level, term: &mut NodeSelectorTerm) {
    if let Some(expressions) = &mut term.match_expressions {
        expressions.retain(|e| {
            !(e.key == label::CLUSTER
                || e.key == label::VIRTUAL_NODE
                || names(e, label::HOSTNAME, &level.node)
                || level.area.as_ref().is_some_and(|area| names(e, label::AREA, area)))
        });
    }
    if let Some(fields) = &mut term.match_fields {
        fields.retain(|e| !names(e, "metadata.name", &level.node));
    }
}

fn names(requirement: &NodeSelectorRequirement, key: &str, value: &String) -> bool {
    requirement.key == key
        && requirement.operator == "In"
        && requirement.values.as_ref().is_some_and(|values| values.contains(value))
}

fn is_empty(term: &NodeSelectorTerm) -> bool {
    let empty = |list: &Option<Vec<NodeSelectorRequirement>>| list.as_ref().is_none_or(Vec::is_empty);
    empty(&term.match_expressions) && empty(&term.match_fields)
}

/// Tokens of the upper API come as a Secret that is kept fresh from above.
fn tokens_from(spec: &mut PodSpec, secret: &str) {
    let mut position = 0;
    for projected in spec.volumes.iter_mut().flatten().filter_map(|volume| volume.projected.as_mut()) {
        for source in projected.sources.iter_mut().flatten() {
            let Some(token) = source.service_account_token.take() else { continue };
            let item = KeyToPath { key: format!("token-{position}"), path: token.path, mode: None };
            source.secret =
                Some(SecretProjection { name: secret.to_owned(), items: Some(vec![item]), optional: None });
            position += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn made(upper: Value) -> Value {
        let level = Level {
            parent: "root".into(),
            node: "site".into(),
            area: Some("harbour".into()),
            expose: Expose::Cluster,
        };
        let upper: Pod = serde_json::from_value(upper).expect("a pod");
        let names = |kind: Kind, name: &str| super::super::place::name(kind, name);
        serde_json::to_value(mirror(&level, &upper, "shop--root", &names)).expect("json")
    }

    #[test]
    fn what_binds_to_the_cluster_stays_above_and_the_rest_goes_down() {
        let below = made(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "labels": {"app": "web"},
                "finalizers": ["x/y"], "generateName": "web-",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "r", "controller": true}]},
            "spec": {"nodeName": "site", "serviceAccountName": "robot", "priorityClassName": "high", "priority": 7,
                "nodeSelector": {"dunlin.io/cluster": "site", "dunlin.io/area": "harbour", "disk": "ssd"},
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                    {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["site"]}],
                     "matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}}},
                "containers": [{"name": "c", "image": "i"}],
                "volumes": [{"name": "api", "projected": {"sources": [
                    {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
                    {"configMap": {"name": "kube-root-ca.crt"}}]}}]},
        }));
        let meta = &below["metadata"];
        assert_eq!(meta["namespace"], "shop--root");
        assert_eq!(meta["labels"], json!({"app": "web", "dunlin.io/mirror": "root"}));
        assert_eq!(meta["annotations"]["dunlin.io/home-uid"], "u1");
        assert_eq!(meta["annotations"]["dunlin.io/home-namespace"], "shop");
        assert_eq!(meta["annotations"]["dunlin.io/home-node"], "site");
        for gone in ["finalizers", "generateName", "ownerReferences", "uid"] {
            assert!(meta.get(gone).is_none(), "{gone}");
        }
        let spec = &below["spec"];
        for gone in ["nodeName", "serviceAccountName", "priorityClassName", "priority"] {
            assert!(spec.get(gone).is_none(), "{gone}");
        }
        assert_eq!(spec["nodeSelector"], json!({"disk": "ssd"}));
        let terms = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
        assert_eq!(terms[0]["matchExpressions"][0]["key"], "zone");
        assert_eq!(terms[0]["matchFields"], json!([]));
        let sources = &spec["volumes"][0]["projected"]["sources"];
        assert_eq!(sources[0]["secret"]["items"], json!([{"key": "token-0", "path": "token"}]));
        assert_eq!(sources[1]["configMap"]["name"], "home-root-ca.crt");
    }

    #[test]
    fn an_affinity_for_the_cluster_alone_is_gone_below() {
        let only = json!({"key": "dunlin.io/cluster", "operator": "In", "values": ["site"]});
        let below =
            made(json!({"metadata": {"name": "p", "namespace": "a", "uid": "u"}, "spec": {"containers": [],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [{"matchExpressions": [only]}]}}}}}));
        let node = &below["spec"]["affinity"]["nodeAffinity"];
        assert!(node.get("requiredDuringSchedulingIgnoredDuringExecution").is_none());
    }

    #[test]
    fn a_machine_is_named_by_its_path_below_the_cluster() {
        let pinned = |selector: Value, path: &str| {
            made(json!({"metadata": {"name": "p", "namespace": "a", "uid": "u", "annotations": {"dunlin.io/machine": path}},
                "spec": {"containers": [], "nodeSelector": selector}}))["metadata"]["annotations"]["dunlin.io/machine"]
                .clone()
        };
        assert_eq!(pinned(json!({"dunlin.io/cluster": "site"}), "row/board"), "row/board");
        assert_eq!(pinned(json!({}), "site/board"), "board");
        assert_eq!(pinned(json!({}), "site"), Value::Null);
    }

    #[test]
    fn the_home_of_a_mirror_is_the_topmost() {
        let below = made(
            json!({"metadata": {"name": "p", "namespace": "shop--top", "uid": "middle", "annotations": {"dunlin.io/fence-after": "10s",
            "dunlin.io/home-uid": "top", "dunlin.io/home-namespace": "shop", "dunlin.io/home-node": "region",
            "dunlin.io/mirror-of": "top"}}, "spec": {"containers": []}}),
        );
        let annotations = &below["metadata"]["annotations"];
        assert_eq!(annotations["dunlin.io/home-uid"], "top");
        assert_eq!(annotations["dunlin.io/home-node"], "region");
        assert_eq!(annotations["dunlin.io/mirror-of"], "middle");
        assert_eq!(annotations["dunlin.io/fence-after"], "5000ms");
    }
}
