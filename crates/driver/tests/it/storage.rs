//! Claims follow pods to nodes, against the real API server: the nodes are objects only.

use serde_json::{Value, json};

use crate::scheduling::{PODS, bound};
use crate::support::{Cluster, pod, until};

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const VOLUMES: &str = "/api/v1/persistentvolumes";

fn claim(name: &str, annotations: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "annotations": annotations},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
}

fn user(name: &str, claim: &str) -> Value {
    let mut user = pod(name, "1");
    user["spec"]["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]);
    user
}

async fn storage_node(cluster: &Cluster, name: &str) {
    cluster.node(name, "4").await;
    let folder = json!({"metadata": {"annotations": {"dunlin.io/volumes": "/v"}}});
    cluster.send("PATCH", &format!("/api/v1/nodes/{name}"), folder).await.expect("annotated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_waits_for_a_lost_node_goes_with_its_pod_to_another() {
    let cluster = Cluster::start().await;
    storage_node(&cluster, "n1").await;
    // As if the node had been removed just after the scheduler chose it.
    cluster.create(CLAIMS, claim("c", json!({"volume.kubernetes.io/selected-node": "gone"}))).await;
    cluster.create(PODS, user("p", "c")).await;
    assert_eq!(bound(&cluster, "p").await, "n1");
    let events = cluster.items("/api/v1/namespaces/default/events").await;
    let told =
        |e: &Value| e["reason"] == "ProvisioningFailed" && e["message"].to_string().contains("node gone");
    assert!(events.iter().any(told), "{events:?}");

    // The volume is the node's, and the next pod goes there though another node is emptier.
    let volume = &cluster.items(VOLUMES).await[0];
    assert_eq!(volume["metadata"]["labels"]["dunlin.io/volume-node"], "n1");
    storage_node(&cluster, "n2").await;
    for n in 0..3 {
        cluster.create(PODS, user(&format!("p{n}"), "c")).await;
        assert_eq!(bound(&cluster, &format!("p{n}")).await, "n1");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_of_a_deleted_claim_waits_for_its_node_and_not_for_one_that_was_removed() {
    let cluster = Cluster::start().await;
    storage_node(&cluster, "n1").await;
    cluster.create(CLAIMS, claim("c", json!({}))).await;
    cluster.create(PODS, user("p", "c")).await;
    bound(&cluster, "p").await;
    let options = || json!({"gracePeriodSeconds": 0});
    cluster.send("DELETE", &format!("{PODS}/p"), options()).await.expect("deleted");
    cluster.send("DELETE", &format!("{CLAIMS}/c"), options()).await.expect("deleted");
    until("the volume waiting for its node alone", || async {
        let volume = cluster.items(VOLUMES).await.pop()?;
        let waits = volume["metadata"]["finalizers"] == json!(["dunlin.io/local-path"]);
        (waits && volume["metadata"]["deletionTimestamp"].is_string()).then_some(())
    })
    .await;
    cluster.send("DELETE", "/api/v1/nodes/n1", options()).await.expect("deleted");
    until("the volume being gone", || async { cluster.items(VOLUMES).await.is_empty().then_some(()) }).await;
}
