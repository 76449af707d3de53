//! Predicates about a node that stands for a whole child cluster.
//!
//! The parent knows aggregates only, so the honest answer is often "maybe": some machine below has the label, some
//! other has the memory. Here "maybe" counts as yes, because the child is asked before a pod is bound; only what no
//! machine below can fulfil is refused at once, which saves the question.

use serde_json::Value;

use dunlin_api::names::label;

use crate::labels::requirement;
use crate::model::{Cluster, ClusterLabel, Labels, Pod};

/// Whether some machine of `child` may meet one requirement of a node selector. `own` are the labels of its node,
/// which hold for all machines, or for the cluster as such.
pub fn may_meet(expression: &Value, own: &Labels, child: &Cluster) -> bool {
    let Some(key) = expression["key"].as_str() else { return false };
    let operator = expression["operator"].as_str().unwrap_or_default();
    let below = child.status.labels.iter().find(|known| &*known.key == key);
    if own.contains_key(key) && !(key == label::HOSTNAME && below.is_some()) {
        return requirement(expression, own);
    }
    let Some(below) = below else {
        // Nobody below has the key, unless it is among those that were left out.
        return child.status.labels_truncated || requirement(expression, &Labels::new());
    };
    let negative = matches!(operator, "NotIn" | "DoesNotExist");
    (negative && !below.everywhere) || below.truncated || values_may_meet(expression, below)
}

fn values_may_meet(expression: &Value, below: &ClusterLabel) -> bool {
    below.values.iter().any(|value| {
        let one: Labels = [(below.key.clone(), value.clone())].into();
        requirement(expression, &one)
    })
}

/// Resources of which no single machine below has enough left, as reasons.
pub(super) fn too_large(pod: &Pod, child: &Cluster) -> Vec<String> {
    let arch = pod.spec.node_selector.get(label::ARCH);
    let pools: Vec<_> = child
        .status
        .pools
        .iter()
        .filter(|pool| arch.is_none_or(|wanted| pool.architecture == *wanted))
        .collect();
    // The classes are the child's own; one that it does not tell it would not let in.
    let class = &pod.spec.runtime_class_name;
    let pools: Vec<_> = if pools.iter().any(|pool| pool.runtime_class == *class) || pools.is_empty() {
        pools.into_iter().filter(|pool| pool.runtime_class == *class).collect()
    } else {
        return vec![format!("cluster(s) without a ready machine that runs the runtime class {class:?}")];
    };
    if child.status.pools.is_empty() {
        return vec!["cluster(s) without a ready machine".to_owned()];
    }
    if pools.is_empty() {
        return vec!["cluster(s) without a ready machine of the pod's architecture".to_owned()];
    }
    let wanted = pod.spec.requests.iter().filter(|(_, amount)| *amount > 0);
    let lacking = wanted.filter(|(name, amount)| pools.iter().all(|pool| pool.largest.get(name) < *amount));
    lacking.map(|(name, _)| format!("Insufficient {name} on any single machine of the cluster")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn child() -> Cluster {
        serde_json::from_value(json!({"metadata": {"name": "site"}, "status": {
            "labels": [
                {"key": "disk", "values": ["ssd", "hdd"], "everywhere": false},
                {"key": "zone", "values": ["a"], "everywhere": true},
                {"key": "serial", "values": ["1"], "truncated": true, "everywhere": true},
            ],
            "pools": [{"architecture": "arm64", "runtimeClass": "", "machines": 2,
                "free": {"cpu": "6", "memory": "6Gi"}, "largest": {"cpu": "4", "memory": "4Gi"}}],
        }}))
        .expect("a cluster")
    }

    #[test]
    fn maybe_counts_as_yes_and_never_is_refused() {
        let own: Labels = [("zone".into(), "a".into())].into();
        let check = |key: &str, operator: &str, values: Value, want: bool| {
            let expression = json!({"key": key, "operator": operator, "values": values});
            assert_eq!(may_meet(&expression, &own, &child()), want, "{expression}");
        };
        check("disk", "In", json!(["ssd"]), true);
        check("disk", "In", json!(["nvme"]), false);
        check("disk", "Exists", json!(null), true);
        check("disk", "NotIn", json!(["ssd", "hdd"]), true);
        check("disk", "DoesNotExist", json!(null), true);
        check("zone", "In", json!(["b"]), false);
        check("zone", "NotIn", json!(["a"]), false);
        check("zone", "DoesNotExist", json!(null), false);
        check("serial", "In", json!(["77"]), true);
        check("unknown", "Exists", json!(null), false);
        check("unknown", "DoesNotExist", json!(null), true);
        let mut truncated = child();
        truncated.status.labels_truncated = true;
        assert!(may_meet(&json!({"key": "unknown", "operator": "Exists"}), &own, &truncated));
    }

    #[test]
    fn the_largest_machine_counts_not_the_sum() {
        let pod = |cpu: &str, arch: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {
                "nodeSelector": if arch.is_empty() { json!({}) } else { json!({"kubernetes.io/arch": arch}) },
                "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}}))
            .expect("a pod")
        };
        assert!(too_large(&pod("4", "arm64"), &child()).is_empty());
        assert_eq!(
            too_large(&pod("5", ""), &child()),
            ["Insufficient cpu on any single machine of the cluster"]
        );
        assert_eq!(too_large(&pod("1", "amd64"), &child()).len(), 1);
    }

    #[test]
    fn a_runtime_class_has_room_of_its_own() {
        let child: Cluster =
            serde_json::from_value(json!({"metadata": {"name": "site"}, "status": {"pools": [
            {"architecture": "arm64", "runtimeClass": "", "largest": {"cpu": "4"}},
            {"architecture": "arm64", "runtimeClass": "wasm", "largest": {"cpu": "1"}}]}}))
            .expect("a cluster");
        let check = |class: &str, cpu: &str| {
            let pod: Pod =
                serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"runtimeClassName": class,
                "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}}))
                .expect("a pod");
            too_large(&pod, &child).join(", ")
        };
        assert_eq!((check("", "2"), check("wasm", "1")), (String::new(), String::new()));
        assert_eq!(check("wasm", "2"), "Insufficient cpu on any single machine of the cluster");
        assert!(check("microvm", "1").contains("runtime class \"microvm\""));
    }
}
