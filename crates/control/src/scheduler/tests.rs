//! What the scheduler answers, case by case, and what must hold for all clusters.

mod extender;
mod groups;
mod policies;
mod preemption;
mod properties;
mod volumes;

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::model::Node;

fn node(name: &str, cpu: &str, extra: Value) -> Arc<Node> {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "10"}},
    });
    merge(&mut node, extra);
    Arc::new(serde_json::from_value(node).expect("a node"))
}

fn pod(name: &str, cpu: &str, extra: Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": "7", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]},
    });
    merge(&mut pod, extra);
    Arc::new(serde_json::from_value(pod).expect("a pod"))
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn cluster(nodes: impl IntoIterator<Item = Arc<Node>>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for node in nodes {
        snapshot.set_node(node);
    }
    snapshot
}

fn check(snapshot: &Snapshot, pod: &Pod, want: &str) {
    let got = place(snapshot, pod, Policy::Balanced, 1);
    assert_eq!(got.map(|n| n.to_string()).unwrap_or_else(|why| why.to_string()), want);
}

#[test]
fn says_why_not_as_kubernetes_does() {
    check(&cluster([]), &pod("p", "1", json!({})), "no nodes available to schedule pods");
    let taint = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
    let snapshot = cluster([node("a", "1", json!({})), node("b", "9", taint.clone()), node("c", "9", taint)]);
    check(
        &snapshot,
        &pod("p", "2", json!({})),
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {k: v}.",
    );
    let cordoned = cluster([node("a", "4", json!({"spec": {"unschedulable": true}}))]);
    check(&cordoned, &pod("p", "1", json!({})), "0/1 nodes are available: 1 node(s) were unschedulable.");
    let selects = json!({"spec": {"nodeSelector": {"disk": "ssd"}}});
    check(
        &cluster([node("a", "4", json!({}))]),
        &pod("p", "1", selects),
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
    );
}

#[test]
fn tolerations_affinity_and_ports_are_followed() {
    let taint = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
    let tolerates = json!({"spec": {"tolerations": [{"key": "k", "operator": "Exists"}]}});
    check(&cluster([node("a", "4", taint)]), &pod("p", "1", tolerates), "a");

    let labelled = json!({"metadata": {"labels": {"zone": "z1"}}});
    let mut snapshot = cluster([node("a", "4", json!({})), node("b", "4", labelled)]);
    let affine = |operator: &str| {
        let term = json!({"matchExpressions": [{"key": "zone", "operator": operator}]});
        let required = json!({"nodeSelectorTerms": [term]});
        json!({"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}})
    };
    check(&snapshot, &pod("p", "1", affine("Exists")), "b");
    check(&snapshot, &pod("p", "1", affine("DoesNotExist")), "a");

    let ports =
        json!({"spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]}});
    for name in ["p1", "p2"] {
        let pod = pod(name, "0", ports.clone());
        let node = place(&snapshot, &pod, Policy::FirstFit, 1).expect("a free port");
        snapshot.assume(&pod, &node);
    }
    check(
        &snapshot,
        &pod("p3", "0", ports),
        "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports.",
    );
}

#[test]
fn pods_keep_apart_or_together_as_they_ask() {
    let term =
        json!([{"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}]);
    let asks = |sort: &str| {
        let mut affinity = json!({});
        affinity[sort] = json!({"requiredDuringSchedulingIgnoredDuringExecution": term});
        json!({"spec": {"affinity": affinity}})
    };
    let mut snapshot = cluster([node("a", "4", json!({})), node("b", "4", json!({}))]);
    for name in ["p1", "p2"] {
        let pod = pod(name, "1", asks("podAntiAffinity"));
        let node = place(&snapshot, &pod, Policy::FirstFit, 1).expect("a node of its own");
        snapshot.assume(&pod, &node);
    }
    check(
        &snapshot,
        &pod("p3", "1", asks("podAntiAffinity")),
        "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules.",
    );
    check(
        &snapshot,
        &pod("p4", "1", json!({})),
        "0/2 nodes are available: 2 node(s) didn't satisfy existing pods anti-affinity rules.",
    );

    let mut snapshot = cluster([node("a", "4", json!({})), node("b", "4", json!({}))]);
    snapshot.assume(&pod("first", "3", json!({})), &"b".into());
    check(&snapshot, &pod("p", "1", asks("podAffinity")), "b");
    check(&cluster([node("a", "4", json!({}))]), &pod("p", "1", asks("podAffinity")), "a");
}

#[test]
fn spread_constraints_hold() {
    let zone = |z: &str| json!({"metadata": {"labels": {"zone": z}}});
    let mut snapshot =
        cluster([node("a", "9", zone("1")), node("b", "9", zone("2")), node("c", "9", json!({}))]);
    let spread = json!({"spec": {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]}});
    let mut nodes = Vec::new();
    for n in 0..4 {
        let pod = pod(&format!("p{n}"), "1", spread.clone());
        let node = place(&snapshot, &pod, Policy::FirstFit, 1).expect("a zone");
        snapshot.assume(&pod, &node);
        nodes.push(node.to_string());
    }
    assert_eq!(nodes, ["a", "b", "a", "b"]);
}

#[test]
fn the_condition_comes_first_and_is_written_once() {
    let why = place(&cluster([]), &pod("p", "1", json!({})), Policy::Balanced, 1).expect_err("no node");
    let actions = unschedulable(&pod("p", "1", json!({})), &why, 0);
    let Action::Patch { patch, .. } = &actions[0] else { panic!("{actions:?}") };
    assert_eq!(patch["status"]["conditions"][0]["reason"], "Unschedulable");
    assert_eq!(patch["status"]["conditions"][0]["lastTransitionTime"], "1970-01-01T00:00:00Z");
    let told = pod("p", "1", json!({"status": patch["status"]}));
    assert_eq!(unschedulable(&told, &why, 5), []);
}

#[test]
fn assumptions_survive_older_news() {
    let mut snapshot = cluster([node("a", "1", json!({}))]);
    let unbound = pod("p", "1", json!({}));
    snapshot.assume(&unbound, &"a".into());
    snapshot.set_pod(&unbound);
    assert!(place(&snapshot, &pod("q", "1", json!({})), Policy::Balanced, 1).is_err());
    assert!(snapshot.forget("p"));
    check(&snapshot, &pod("q", "1", json!({})), "a");
}
