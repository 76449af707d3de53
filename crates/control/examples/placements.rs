//! How many pods a second each policy places on 5,000 nodes: `cargo run --release -p dunlin-control --example placements`.
//!
//! Seconds are of processor time where the kernel tells it, since machines that measure are seldom idle.
//! Placements are assumed, so that the cluster fills as it would. Nodes have labels, images and an area; every tenth
//! pod prefers nodes of one sort, and each belongs to one of many owners.

use std::sync::Arc;
use std::time::Duration;

use dunlin_control::model::{Node, Pod};
use dunlin_control::scheduler::{Policy, Snapshot, place, preempt};
use serde_json::{Value, json};

const NODES: usize = 5_000;
const PODS: usize = 20_000;
const POLICIES: [&str; 5] = ["first-fit", "balanced", "bin-pack", "nearest", "auction"];

fn main() {
    let nodes: Vec<Arc<Node>> = (0..NODES).map(node).collect();
    let pods: Vec<Arc<Pod>> = (0..PODS).map(|n| pod(n, 0)).collect();
    println!("{NODES} nodes, {PODS} pods, one thread");
    for name in POLICIES {
        let policy: Policy = name.parse().expect("the names are those of policies");
        let mut snapshot = Snapshot::default();
        for node in &nodes {
            snapshot.set_node(node.clone());
        }
        let (mut placed, began) = (0, busy());
        for (n, pod) in pods.iter().enumerate() {
            if let Ok(node) = place(&snapshot, pod, policy, n as u64) {
                snapshot.assume(pod, &node);
                placed += 1;
            }
        }
        let rate = PODS as f64 / (busy() - began).as_secs_f64();
        println!("{name:<10} {rate:>8.0} pods/s, {placed} placed");
        if policy == Policy::Balanced {
            evictions(&snapshot);
        }
    }
}

/// Pods that fit nowhere but may take others' places.
fn evictions(snapshot: &Snapshot) {
    const TRIES: usize = 20;
    let began = busy();
    let made =
        (0..TRIES).filter(|n| preempt(snapshot, &pod(PODS + n, 7_500), &[], *n as u64).is_some()).count();
    println!(
        "{:<10} {:>8.1} ms each, {made} of {TRIES} made room",
        "preemption",
        (busy() - began).as_secs_f64() * 1e3 / TRIES as f64
    );
}

/// Time that this thread has been at work.
fn busy() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = schedstat.split(' ').next().and_then(|text| text.parse().ok());
    let clock = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    nanos.map_or_else(clock, Duration::from_nanos)
}

fn node(n: usize) -> Arc<Node> {
    let images: Vec<Value> = (0..10)
        .map(|i| json!({"names": [format!("registry.example/app-{}:1", (n + i * 7) % 50)], "sizeBytes": 100_000_000}))
        .collect();
    let node = json!({
        "metadata": {
            "name": format!("node-{n:04}"),
            "labels": {"kubernetes.io/hostname": format!("node-{n:04}"), "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux",
                "dunlin.io/area": format!("area-{}", n % 100), "disk": if n.is_multiple_of(10) { "ssd" } else { "hdd" }},
            "annotations": {"dunlin.io/position": format!("{},{}", n % 100 - 50, n % 100)},
        },
        "status": {"allocatable": {"cpu": "8", "memory": "32Gi", "pods": "110", "ephemeral-storage": "100Gi"}, "images": images},
    });
    Arc::new(serde_json::from_value(node).expect("a node"))
}

/// One of 20,000 pods that together take half of all CPUs, or one of a size of its own with priority.
fn pod(n: usize, cpu: usize) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {
            "name": format!("pod-{n}"), "namespace": "default", "uid": format!("uid-{n}"),
            "annotations": {"dunlin.io/near": format!("area-{}", n % 100)},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "r", "uid": format!("owner-{}", n / 20), "controller": true}],
        },
        "spec": {"priority": if cpu == 0 { 0 } else { 1000 }, "containers": [{"name": "c", "image": format!("registry.example/app-{}:1", n % 50),
            "resources": {"requests": {"cpu": format!("{}m", if cpu == 0 { 500 + n % 7 * 100 } else { cpu }), "memory": "1Gi"}}}]},
    });
    if n.is_multiple_of(10) {
        let term = json!({"weight": 10, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}});
        pod["spec"]["affinity"] =
            json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}});
    }
    Arc::new(serde_json::from_value(pod).expect("a pod"))
}
