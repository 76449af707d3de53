//! A StatefulSet's pods come one by one, each after its claims, and its claims stay or go as it says.

use serde_json::{Value, json};

use crate::support::{Cluster, until};

const SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";
const PODS: &str = "/api/v1/namespaces/default/pods";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

fn set(image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {
        "replicas": 2, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}],
        "template": {"metadata": {"labels": {"app": "db"}},
            "spec": {"containers": [{"name": "c", "image": image}]}}}})
}

async fn names(cluster: &Cluster, path: &str) -> Vec<String> {
    let items = cluster.items(path).await;
    items.iter().filter_map(|o| o["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

/// Plays the node: whatever exists runs, whatever ends is gone.
async fn play(cluster: &Cluster) {
    for pod in cluster.items(PODS).await {
        let path = format!("{PODS}/{}", pod["metadata"]["name"].as_str().unwrap_or_default());
        if pod["metadata"]["deletionTimestamp"].is_string() {
            let _ = cluster.send("DELETE", &path, json!({"gracePeriodSeconds": 0})).await;
        } else if pod["status"]["phase"] != "Running" {
            cluster.run_pod(&path, "10.42.0.9").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identities_are_kept_and_claims_follow_the_policy() {
    let cluster = Cluster::start().await;
    cluster.create(SETS, set("one")).await;
    until("the first pod", || async { cluster.get(&format!("{PODS}/db-0")).await }).await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(names(&cluster, PODS).await, ["db-0"], "the second waits for the first");
    assert_eq!(names(&cluster, CLAIMS).await, ["data-db-0"]);
    until("both pods", || async {
        play(&cluster).await;
        (cluster.get(&format!("{SETS}/db")).await?["status"]["availableReplicas"] == 2).then_some(())
    })
    .await;

    let first = cluster.get(&format!("{PODS}/db-1")).await.expect("db-1")["metadata"]["uid"].clone();
    let patch = json!({"spec": {"template": set("two")["spec"]["template"]}});
    cluster.send("PATCH", &format!("{SETS}/db"), patch).await.expect("patched");
    until("the update", || async {
        play(&cluster).await;
        let set = cluster.get(&format!("{SETS}/db")).await?;
        let done = set["status"]["observedGeneration"] == set["metadata"]["generation"]
            && set["status"]["updatedReplicas"] == 2
            && set["status"]["currentRevision"] == set["status"]["updateRevision"];
        done.then_some(())
    })
    .await;
    assert_ne!(cluster.get(&format!("{PODS}/db-1")).await.expect("db-1")["metadata"]["uid"], first);
    let revisions = cluster.items("/apis/apps/v1/namespaces/default/controllerrevisions").await;
    assert_eq!(revisions.len(), 2);

    cluster.send("PATCH", &format!("{SETS}/db"), json!({"spec": {"replicas": 1}})).await.expect("scaled");
    until("the second pod and its claim to go", || async {
        play(&cluster).await;
        (names(&cluster, PODS).await == ["db-0"] && names(&cluster, CLAIMS).await == ["data-db-0"])
            .then_some(())
    })
    .await;
    cluster
        .send("DELETE", &format!("{SETS}/db"), json!({"propagationPolicy": "Background"}))
        .await
        .expect("gone");
    until("all to go", || async {
        play(&cluster).await;
        (cluster.items(PODS).await.is_empty() && cluster.items(CLAIMS).await.is_empty()).then_some(())
    })
    .await;
}
