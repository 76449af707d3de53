//! Plans as data: a view goes in, the writes come out.

mod budgets;
mod crons;
mod daemons;
mod jobs;
mod moves;
mod quotas;
mod scalers;
mod stateful;
mod storage;

use serde_json::{Value, json};

use super::*;
use crate::model::{DaemonSet, Node, Pod, ReplicaSet};
use crate::plan::Action;

const NOW: i64 = 1_800_000_000;

fn set(replicas: i32) -> ReplicaSet {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "n", "uid": "set", "generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}},
    }))
    .expect("a ReplicaSet")
}

fn pod(name: &str, ready: bool, more: Value) -> Pod {
    let status = if ready { "True" } else { "False" };
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": "web"},
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "set", "controller": true}]},
        "spec": {"nodeName": "a"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    });
    json_patch_merge(&mut pod, more);
    serde_json::from_value(pod).expect("a Pod")
}

fn json_patch_merge(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            patch
                .into_iter()
                .for_each(|(name, value)| json_patch_merge(target.entry(name).or_insert(Value::Null), value));
        }
        (target, patch) => *target = patch,
    }
}

fn writes(plan: &crate::plan::Plan) -> Vec<String> {
    plan.actions
        .iter()
        .filter_map(|action| match action {
            Action::Create { resource, .. } => Some(format!("create {resource}")),
            Action::Delete { target, .. } => Some(format!("delete {}", target.name)),
            Action::Patch { target, subresource, .. } => {
                Some(format!("patch {} {}", target.name, subresource.unwrap_or("-")))
            }
            _ => None,
        })
        .collect()
}

fn plan_set(view: &View) -> Vec<String> {
    let (plan, _) = replicaset::plan(view, &Key::new("replicasets.apps", "n", "web"), NOW, 0);
    writes(&plan)
}

#[test]
fn a_replica_set_makes_what_is_missing_and_deletes_the_unready_first() {
    let mut view = View::default();
    view.replica_sets.upsert(set(2));
    view.pods.upsert(pod("good", true, json!({})));
    assert_eq!(plan_set(&view), ["patch web status", "create pods"]);
    view.pods.upsert(pod("bad", false, json!({})));
    view.pods.upsert(pod("better", true, json!({})));
    assert_eq!(plan_set(&view), ["patch web status", "delete bad"]);
}

#[test]
fn the_cheapest_go_first_and_then_the_crowded() {
    let mut view = View::default();
    view.replica_sets.upsert(set(2));
    let cost = |cost: &str| json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": cost}}});
    view.pods.upsert(pod("dear", true, cost("10")));
    view.pods.upsert(pod("plain", true, json!({})));
    view.pods.upsert(pod("cheap", true, cost("-1")));
    assert_eq!(plan_set(&view).last().map(String::as_str), Some("delete cheap"));
    view.pods.upsert(pod("cheap", true, cost("-1 or so")));
    view.pods.upsert(pod("cheap", true, json!({"spec": {"nodeName": "b"}})));
    view.pods.upsert(pod("dear", true, json!({})));
    // Of two on one node and one alone, one of the two goes.
    assert_eq!(plan_set(&view).last().map(String::as_str), Some("delete plain"));
}

#[test]
fn after_an_outage_the_oldest_ready_pods_stay() {
    let mut view = View::default();
    view.replica_sets.upsert(set(1));
    let back = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-03T00:00:00Z"}]}});
    view.pods.upsert(pod("returned", true, back));
    view.pods.upsert(pod(
        "replacement",
        true,
        json!({"metadata": {"creationTimestamp": "2026-01-02T00:00:00Z"}}),
    ));
    assert!(plan_set(&view).contains(&"delete replacement".to_owned()));
    // Though its own node has more of them by now than that of the replacement.
    view.replica_sets.upsert(set(2));
    view.pods.upsert(pod("beside", true, json!({})));
    view.pods.upsert(pod(
        "replacement",
        true,
        json!({"metadata": {"creationTimestamp": "2026-01-02T00:00:00Z"}, "spec": {"nodeName": "b"}}),
    ));
    assert!(plan_set(&view).contains(&"delete replacement".to_owned()));
}

#[test]
fn a_dangling_pod_is_replaced_and_never_deleted_for_it() {
    let mut view = View::default();
    view.replica_sets.upsert(set(1));
    let dangling = json!({"status": {"conditions": [{"type": "dunlin.io/Dangling", "status": "True"}]}});
    view.pods.upsert(pod("lost", true, dangling));
    assert!(plan_set(&view).contains(&"create pods".to_owned()));
    // It comes back while its replacement is not ready yet: the ready one stays.
    view.pods.upsert(pod("lost", true, json!({})));
    view.pods.upsert(pod("replacement", false, json!({})));
    assert!(plan_set(&view).contains(&"delete replacement".to_owned()));
}

#[test]
fn a_silent_node_is_tainted_and_its_pods_dangle_only_after_their_patience() {
    let mut view = View::default();
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": "a", "uid": "a"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }))
    .expect("a Node");
    view.nodes.upsert(node);
    view.pods.upsert(pod("p", true, json!({})));
    view.heard.insert("a".into(), NOW);
    let at =
        |view: &View, now: i64| writes(&nodelifecycle::plan(view, &Key::new("nodes", "", "a"), now, 0).0);
    assert!(at(&view, NOW + 39).is_empty());
    assert_eq!(at(&view, NOW + 41), ["patch a status", "patch a -"]);
    assert_eq!(at(&view, NOW + 341), ["patch a status", "patch a -", "patch p status"]);
    // A server that has just started judges nobody.
    std::sync::Arc::make_mut(&mut view.settings).started_at = NOW + 300;
    assert!(at(&view, NOW + 330).is_empty());
}

#[test]
fn a_daemon_that_its_node_refuses_is_not_replaced_at_once() {
    let mut view = View::default();
    let set = json!({
        "metadata": {"name": "web", "namespace": "n", "uid": "set"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}},
        },
    });
    view.daemon_sets.upsert(serde_json::from_value::<DaemonSet>(set).expect("a DaemonSet"));
    let node = json!({"metadata": {"name": "a", "uid": "a"}});
    view.nodes.upsert(serde_json::from_value::<Node>(node).expect("a Node"));
    let owner = json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "web", "uid": "set", "controller": true}]);
    view.pods.upsert(pod(
        "refused",
        false,
        json!({"metadata": {"ownerReferences": owner}, "status": {"phase": "Failed"}}),
    ));
    let made_at = view.pods.all()[0].metadata.creation_timestamp.expect("a time").0;
    let at = |now: i64| {
        let (plan, _) = daemonset::plan(&view, &Key::new("daemonsets.apps", "n", "web"), now, 0);
        let pods =
            writes(&plan).into_iter().filter(|write| write.ends_with("refused") || write.ends_with("pods"));
        (pods.collect::<Vec<_>>(), plan.again_at)
    };
    assert_eq!(at(made_at + 4), (vec![], Some(made_at + 5)));
    assert_eq!(at(made_at + 5).0, ["delete refused", "create pods"]);
}

#[test]
fn a_cluster_says_by_itself_which_of_its_pods_are_in_reach_again() {
    let dangling = json!({"status": {"conditions": [{"type": "dunlin.io/Dangling", "status": "True"}]}});
    let judged = |labels: Value| {
        let mut view = View::default();
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "a", "uid": "a", "labels": labels},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .expect("a Node");
        view.nodes.upsert(node);
        view.pods.upsert(pod("p", true, dangling.clone()));
        view.heard.insert("a".into(), NOW);
        writes(&nodelifecycle::plan(&view, &Key::new("nodes", "", "a"), NOW, 0).0)
    };
    assert_eq!(judged(json!({})), ["patch p status"]);
    assert_eq!(judged(json!({"dunlin.io/virtual-node": "cluster"})), Vec::<String>::new());
}

/// A view with the silent node `a`, last heard at `NOW`, and the pod `p` on it.
fn silent(more: Value) -> View {
    let mut view = View::default();
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": "a", "uid": "a"},
        "spec": {"taints": [
            {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"},
            {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"},
        ]},
        "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]},
    }))
    .expect("a Node");
    view.nodes.upsert(node);
    view.pods.upsert(pod("p", true, more));
    view.heard.insert("a".into(), NOW);
    view
}

#[test]
fn what_must_not_run_twice_is_replaced_only_after_its_own_side_has_stopped_it() {
    let at = |view: &View, now: i64| nodelifecycle::plan(view, &Key::new("nodes", "", "a"), now, 0).0;
    let stateful = json!({"metadata": {"ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "set", "controller": true}]}});
    let claim = json!({"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}});
    let device = json!({"spec": {"containers": [{"resources": {"requests": {"example.com/camera": "1"}}}]}});
    for exclusive in [stateful, claim, device] {
        let mut view = silent(exclusive.clone());
        assert_eq!(writes(&at(&view, NOW + 100_000)), ["patch p status"], "dangling, and no more");
        let reason = |plan: &crate::plan::Plan| {
            plan.actions.iter().any(|action| {
                matches!(action, Action::Patch { patch, .. }
            if patch.to_string().contains(common::NOT_REPLACED) && patch.to_string().contains("fence-after"))
            })
        };
        assert!(reason(&at(&view, NOW + 100_000)));

        // 100 s, 40 s of grace, 5 s to end, 15 s of margin.
        let mut fenced = exclusive;
        json_patch_merge(
            &mut fenced,
            json!({"metadata": {"annotations": {"dunlin.io/fence-after": "1m40s"}},
            "spec": {"terminationGracePeriodSeconds": 5}}),
        );
        view = silent(fenced);
        assert_eq!(writes(&at(&view, NOW + 159)), Vec::<String>::new());
        assert_eq!(at(&view, NOW + 159).again_at, Some(NOW + 160));
        assert_eq!(writes(&at(&view, NOW + 160)), ["delete p"]);
        // Silence is counted from our own start if that was later.
        std::sync::Arc::make_mut(&mut view.settings).started_at = NOW + 50;
        assert_eq!(writes(&at(&view, NOW + 160)), Vec::<String>::new());
        assert_eq!(writes(&at(&view, NOW + 210)), ["delete p"]);
    }
    // A pod that may run twice is replaced after its toleration and never deleted.
    let view = silent(json!({"metadata": {"annotations": {"dunlin.io/fence-after": "10"}}}));
    assert_eq!(writes(&at(&view, NOW + 100_000)), ["patch p status"]);
}

#[test]
fn a_copy_that_is_not_replaced_still_counts() {
    let mut view = View::default();
    view.replica_sets.upsert(set(1));
    let dangling = |reason: &str| json!({"status": {"conditions": [{"type": "dunlin.io/Dangling", "status": "True", "reason": reason}]}});
    view.pods.upsert(pod("lost", true, dangling(common::NOT_REPLACED)));
    assert!(!plan_set(&view).contains(&"create pods".to_owned()));
    view.pods.upsert(pod("lost", true, dangling("NodeUnreachable")));
    assert!(plan_set(&view).contains(&"create pods".to_owned()));
}

#[test]
fn a_plan_visits_only_its_own_objects() {
    let mut view = View::default();
    view.replica_sets.upsert(set(1));
    view.pods.upsert(pod("mine", true, json!({})));
    for n in 0..1000 {
        view.pods.upsert(pod(&format!("other-{n}"), true, json!({"metadata": {"namespace": "elsewhere"}})));
    }
    let before = view.visited();
    plan_set(&view);
    assert!(view.visited() - before < 1010 && view.visited() - before <= 1003, "{}", view.visited() - before);
}

#[test]
fn ranges_of_addresses_are_given_once() {
    let taken = ["10.42.0.0/24".to_owned(), "10.42.1.0/24".to_owned()].into();
    assert_eq!(nodeipam::free("10.42.0.0/16", 24, &taken).as_deref(), Some("10.42.2.0/24"));
    assert_eq!(nodeipam::free("10.42.0.0/24", 24, &["10.42.0.0/24".to_owned()].into()), None);
}

#[test]
fn percentages_round_as_kubernetes_rounds() {
    assert_eq!(common::int_or_percent(&json!("25%"), 1, 10, true), 3);
    assert_eq!(common::int_or_percent(&json!("25%"), 1, 10, false), 2);
    assert_eq!(common::int_or_percent(&json!(4), 1, 10, false), 4);
    assert_eq!(common::int_or_percent(&Value::Null, 1, 10, false), 1);
}

#[test]
fn a_role_of_others_holds_their_rules_once() {
    use crate::model::ClusterRole;
    let role = |name: &str, label: &str, rules: Value, parts: Value| -> ClusterRole {
        serde_json::from_value(json!({"metadata": {"name": name, "uid": name, "labels": {"to": label}}, "rules": rules, "aggregationRule": parts}))
            .expect("a ClusterRole")
    };
    let rule = |verb: &str| json!({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]});
    let parts =
        json!({"clusterRoleSelectors": [{"matchLabels": {"to": "sum"}}, {"matchLabels": {"to": "too"}}]});
    let mut view = View::default();
    view.cluster_roles.upsert(role("sum", "sum", json!([]), parts.clone()));
    view.cluster_roles.upsert(role("b", "sum", json!([rule("list"), rule("get")]), json!(null)));
    view.cluster_roles.upsert(role("a", "too", json!([rule("get")]), json!(null)));
    view.cluster_roles.upsert(role("c", "other", json!([rule("watch")]), json!(null)));
    let written = |view: &View| {
        let key = Key::new("clusterroles.rbac.authorization.k8s.io", "", "sum");
        clusterrole::plan(view, &key, NOW, 0).0.actions.pop().map(|action| match action {
            Action::Patch { patch, .. } => patch["rules"].clone(),
            other => panic!("{other:?}"),
        })
    };
    let rules = json!([rule("get"), rule("list")]);
    assert_eq!(written(&view), Some(rules.clone()));
    view.cluster_roles.upsert(role("sum", "sum", rules, parts));
    assert_eq!(written(&view), None);
}
