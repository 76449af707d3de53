//! A pod moves from one machine to the other, by a Migration written through the API.

use serde_json::{Value, json};

use crate::support::{Cluster, until};

const PODS: &str = "/api/v1/namespaces/default/pods";
const MIGRATIONS: &str = "/apis/dunlin.io/v1alpha1/namespaces/default/migrations";

/// Two machines and a Deployment of one pod; returns the pod once it runs, and the other machine.
async fn world(cluster: &Cluster) -> (Value, &'static str) {
    cluster.node("n1", "4").await;
    cluster.node("n2", "4").await;
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    cluster.create("/apis/apps/v1/namespaces/default/deployments", deployment).await;
    let pod = bound(cluster, "").await;
    cluster.run_pod(&format!("{PODS}/{}", name(&pod)), "10.42.0.2").await;
    let other = if pod["spec"]["nodeName"] == "n1" { "n2" } else { "n1" };
    (pod, other)
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The bound pod that is not `other`.
async fn bound(cluster: &Cluster, other: &str) -> Value {
    until("a bound pod", || async {
        let pods = cluster.items(PODS).await;
        pods.into_iter().find(|pod| name(pod) != other && pod["spec"]["nodeName"].is_string())
    })
    .await
}

async fn migrate(cluster: &Cluster, pod: &Value, machine: &str, timeout: i64) {
    let order = json!({"apiVersion": "dunlin.io/v1alpha1", "kind": "Migration", "metadata": {"name": "m"},
        "spec": {"pod": name(pod), "machine": machine, "timeoutSeconds": timeout}});
    cluster.create(MIGRATIONS, order).await;
}

async fn phase(cluster: &Cluster, wanted: &str) -> Value {
    until(wanted, || async {
        let migration = cluster.get(&format!("{MIGRATIONS}/m")).await?;
        (migration["status"]["phase"] == wanted).then_some(migration)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_new_pod_is_ready_before_the_old_one_ends() {
    let cluster = Cluster::start().await;
    let (old, other) = world(&cluster).await;
    migrate(&cluster, &old, other, 30).await;
    let new = bound(&cluster, name(&old)).await;
    assert_eq!(new["spec"]["nodeName"], other);
    assert_eq!(new["metadata"]["annotations"]["dunlin.io/replaces"], old["metadata"]["uid"]);
    let before = cluster.get(&format!("{PODS}/{}", name(&old))).await.expect("the old pod is there");
    assert!(before["metadata"]["deletionTimestamp"].is_null());

    cluster.run_pod(&format!("{PODS}/{}", name(&new)), "10.42.1.2").await;
    until("the old pod to be deleted", || async {
        let old = cluster.get(&format!("{PODS}/{}", name(&old))).await?;
        old["metadata"]["deletionTimestamp"].is_string().then_some(())
    })
    .await;
    let path = format!("{PODS}/{}", name(&old));
    cluster.send("DELETE", &path, json!({"gracePeriodSeconds": 0})).await.expect("ended");
    phase(&cluster, "Succeeded").await;
    let pods = cluster.items(PODS).await;
    assert_eq!(pods.iter().map(name).collect::<Vec<_>>(), [name(&new)], "no third pod was made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_not_ready_in_time_is_taken_back() {
    let cluster = Cluster::start().await;
    let (old, other) = world(&cluster).await;
    migrate(&cluster, &old, other, 2).await;
    let new = bound(&cluster, name(&old)).await;
    let failed = phase(&cluster, "Failed").await;
    assert_eq!(failed["status"]["reason"], "TimedOut");
    until("the new pod to go", || async {
        let new = cluster.get(&format!("{PODS}/{}", name(&new))).await;
        new.is_none_or(|new| new["metadata"]["deletionTimestamp"].is_string()).then_some(())
    })
    .await;
    let old = cluster.get(&format!("{PODS}/{}", name(&old))).await.expect("the old pod stays");
    assert!(old["metadata"]["deletionTimestamp"].is_null());
}
