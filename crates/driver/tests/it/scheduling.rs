//! Pods find their nodes, or say why not.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{Cluster, pod, until};

pub const PODS: &str = "/api/v1/namespaces/default/pods";

pub async fn bound(cluster: &Cluster, name: &str) -> String {
    let path = format!("{PODS}/{name}");
    until("a node", || async {
        let pod = cluster.get(&path).await?;
        pod["spec"]["nodeName"].as_str().map(str::to_owned)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_bound_at_once_or_say_why_not() {
    let cluster = Cluster::start().await;
    cluster.create(PODS, pod("early", "1")).await;
    let message = until("the condition", || async {
        let pod = cluster.get(&format!("{PODS}/early")).await?;
        let first = &pod["status"]["conditions"][0];
        (first["type"] == "PodScheduled").then(|| first["message"].as_str().map(str::to_owned))?
    })
    .await;
    assert_eq!(message, "no nodes available to schedule pods");

    cluster.node("n1", "2").await;
    assert_eq!(bound(&cluster, "early").await, "n1");

    let began = Instant::now();
    cluster.create(PODS, pod("second", "1")).await;
    bound(&cluster, "second").await;
    println!("bound after {:?}", began.elapsed());

    cluster.create(PODS, pod("third", "1")).await;
    until("an event", || async {
        let events = cluster.items("/api/v1/namespaces/default/events").await;
        let text = "0/1 nodes are available: 1 Insufficient cpu.";
        events.into_iter().find(|e| e["reason"] == "FailedScheduling" && e["message"] == text)
    })
    .await;
    let options = json!({"gracePeriodSeconds": 0});
    cluster.send("DELETE", &format!("{PODS}/second"), options).await.expect("deleted");
    bound(&cluster, "third").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_pods_fill_nodes_and_never_more() {
    let cluster = Cluster::start().await;
    for n in 0..3 {
        cluster.node(&format!("n{n}"), "4").await;
    }
    for n in 0..20 {
        cluster.create(PODS, pod(&format!("p{n}"), "1")).await;
    }
    let nodes = until("twelve bindings", || async {
        let pods = cluster.items(PODS).await;
        let told = |pod: &Value| pod["status"]["conditions"][0]["reason"] == "Unschedulable";
        let nodes: Vec<String> =
            pods.iter().filter_map(|p| p["spec"]["nodeName"].as_str().map(str::to_owned)).collect();
        (nodes.len() == 12 && pods.iter().filter(|p| told(p)).count() == 8).then_some(nodes)
    })
    .await;
    for n in 0..3 {
        assert_eq!(nodes.iter().filter(|node| **node == format!("n{n}")).count(), 4);
    }
}
