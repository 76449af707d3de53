//! Workloads become pods, services find them, and what is deleted takes along what belongs to it.

use serde_json::{Value, json};

use crate::support::{Cluster, until};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_becomes_pods_on_nodes_and_rolls_and_goes() {
    let cluster = Cluster::start().await;
    cluster.node("n1", "4").await;
    cluster.node("n2", "4").await;
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template("one")}});
    cluster.create(DEPLOYMENTS, deployment).await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    cluster.create("/api/v1/namespaces/default/services", service).await;
    run(&cluster, "one", 3).await;
    until("the status", || async {
        let deployment = cluster.get(&format!("{DEPLOYMENTS}/web")).await?;
        (deployment["status"]["availableReplicas"] == 3).then_some(())
    })
    .await;
    assert_eq!(cluster.items(SETS).await.len(), 1);
    until("the endpoints", || async {
        let slices = cluster.items("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices").await;
        slices.into_iter().find(|slice| {
            slice["metadata"]["labels"]["kubernetes.io/service-name"] == "web"
                && slice["endpoints"].as_array().is_some_and(|e| e.len() == 3)
        })
    })
    .await;

    let patch = json!({"spec": {"template": template("two")}});
    cluster.send("PATCH", &format!("{DEPLOYMENTS}/web"), patch).await.expect("patched");
    run(&cluster, "two", 3).await;
    until("the old pods to go", || async {
        end_deleted(&cluster).await;
        (cluster.items(PODS).await.iter().filter(|pod| image(pod) == "one").count() == 0).then_some(())
    })
    .await;

    cluster
        .send("DELETE", &format!("{DEPLOYMENTS}/web"), json!({"propagationPolicy": "Background"}))
        .await
        .expect("deleted");
    until("everything to go", || async {
        end_deleted(&cluster).await;
        (cluster.items(SETS).await.is_empty() && cluster.items(PODS).await.is_empty()).then_some(())
    })
    .await;
}

/// Plays the nodes until `count` pods of `image` run.
async fn run(cluster: &Cluster, wanted: &str, count: usize) {
    until("running pods", || async {
        end_deleted(cluster).await;
        let pods = cluster.items(PODS).await;
        for (n, pod) in pods.iter().enumerate() {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let waits = pod["spec"]["nodeName"].is_string() && pod["status"]["phase"] != "Running";
            if waits && pod["metadata"]["deletionTimestamp"].is_null() {
                cluster.run_pod(&format!("{PODS}/{name}"), &format!("10.42.0.{}", n + 2)).await;
            }
        }
        let runs = |pod: &&Value| pod["status"]["phase"] == "Running" && image(pod) == wanted;
        (pods.iter().filter(runs).count() == count).then_some(())
    })
    .await;
}

/// Ends pods that are being deleted, as their node would.
async fn end_deleted(cluster: &Cluster) {
    for pod in cluster.items(PODS).await {
        if pod["metadata"]["deletionTimestamp"].is_string() {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let _ = cluster.send("DELETE", &format!("{PODS}/{name}"), json!({"gracePeriodSeconds": 0})).await;
        }
    }
}

fn image(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_gets_its_account_and_ends_with_its_content() {
    let cluster = Cluster::start().await;
    cluster
        .create(
            "/api/v1/namespaces",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}),
        )
        .await;
    until("the service account", || async {
        cluster.get("/api/v1/namespaces/team/serviceaccounts/default").await
    })
    .await;
    let ca = until("the ca", || async {
        cluster.get("/api/v1/namespaces/team/configmaps/kube-root-ca.crt").await
    })
    .await;
    assert_eq!(ca["data"]["ca.crt"], "the ca");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    cluster.create("/api/v1/namespaces/team/secrets", secret).await;
    cluster.send("DELETE", "/api/v1/namespaces/team", Value::Null).await.expect("deleted");
    until("the namespace to go", || async {
        cluster.get("/api/v1/namespaces/team").await.is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_get_ranges_and_daemon_pods() {
    let cluster = Cluster::start().await;
    cluster.node("n1", "4").await;
    cluster.node("n2", "4").await;
    for (name, n) in [("n1", 1), ("n2", 2)] {
        let cidr = until("a range", || async {
            let node = cluster.get(&format!("/api/v1/nodes/{name}")).await?;
            node["spec"]["podCIDR"].as_str().map(str::to_owned)
        })
        .await;
        assert!(cidr.starts_with("10.42.") && cidr.ends_with(".0/24"), "{n}: {cidr}");
    }
    let set = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template("one")}});
    cluster.create("/apis/apps/v1/namespaces/default/daemonsets", set).await;
    until("a pod on each node", || async {
        let pods = cluster.items(PODS).await;
        let mut nodes: Vec<_> = pods.iter().filter_map(|p| p["spec"]["nodeName"].as_str()).collect();
        nodes.sort_unstable();
        (nodes == ["n1", "n2"]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owned_objects_of_any_kind_go_with_their_owner() {
    let cluster = Cluster::start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let owner = cluster
        .create(maps, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}}))
        .await;
    let reference =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}]);
    let secrets = "/api/v1/namespaces/default/secrets";
    let owned = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "owned", "ownerReferences": reference}});
    cluster.create(secrets, owned).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(cluster.get(&format!("{secrets}/owned")).await.is_some(), "its owner is there");
    cluster.send("DELETE", &format!("{maps}/owner"), Value::Null).await.expect("deleted");
    until("the secret to go", || async {
        cluster.get(&format!("{secrets}/owned")).await.is_none().then_some(())
    })
    .await;
}

/// Objects that look as an extension server's values of a metric do stand where the driver asks for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_autoscaler_follows_what_an_extension_server_tells() {
    let there = "/apis/example.com/v1/namespaces/default/values";
    let cluster =
        Cluster::redirecting("/apis/external.metrics.k8s.io/v1beta1/namespaces/default/queue", there).await;
    cluster.define("values", "Value").await;
    let value =
        json!({"apiVersion": "example.com/v1", "kind": "Value", "metadata": {"name": "v"}, "value": "40"});
    cluster.create(there, value).await;
    cluster
        .create(
            DEPLOYMENTS,
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template("web:1")}}),
        )
        .await;
    let metric = json!({"type": "External", "external": {
        "metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "10"}}});
    cluster
        .create(
            "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
            json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 1, "maxReplicas": 10, "metrics": [metric]}}),
        )
        .await;
    until("four replicas for a queue of forty", || async {
        let deployment = cluster.get(&format!("{DEPLOYMENTS}/web")).await?;
        (deployment["spec"]["replicas"] == 4).then_some(())
    })
    .await;
}

/// A server may need a moment after a definition is established until discovery shows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_objects_that_are_discovered_late_own_and_are_collected() {
    let cluster = Cluster::showing_late("/apis/example.com/v1", 2).await;
    cluster.define("things", "Thing").await;
    let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}});
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "site"}});
    cluster.create("/api/v1/namespaces", space).await;
    cluster.create("/apis/example.com/v1/namespaces/site/things", thing.clone()).await;

    let things = "/apis/example.com/v1/namespaces/default/things";
    let owner = cluster.create(things, thing).await;
    let reference = json!([{"apiVersion": "example.com/v1", "kind": "Thing", "name": "t", "uid": owner["metadata"]["uid"]}]);
    let maps = "/api/v1/namespaces/default/configmaps";
    let owned = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned", "ownerReferences": reference}});
    cluster.create(maps, owned).await;

    cluster.send("DELETE", &format!("{things}/t"), Value::Null).await.expect("deleted");
    cluster.send("DELETE", "/api/v1/namespaces/site", Value::Null).await.expect("deleted");
    until("the owned map to go", || async {
        cluster.get(&format!("{maps}/owned")).await.is_none().then_some(())
    })
    .await;
    until("the namespace to go", || async {
        cluster.get("/api/v1/namespaces/site").await.is_none().then_some(())
    })
    .await;
    assert_eq!(cluster.items("/apis/example.com/v1/things").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_orphans_goes_once_its_dependents_have_let_go() {
    let cluster = Cluster::start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let owner = cluster.create(maps, map("owner")).await;
    let mut owned = map("owned");
    owned["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}]);
    cluster.create(maps, owned).await;
    let options = json!({"propagationPolicy": "Orphan"});
    cluster.send("DELETE", &format!("{maps}/owner"), options).await.expect("deleted");
    until("the owner to go", || async {
        cluster.get(&format!("{maps}/owner")).await.is_none().then_some(())
    })
    .await;
    let owned = cluster.get(&format!("{maps}/owned")).await.expect("it stays");
    assert!(owned["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty));
}
