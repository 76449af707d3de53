//! What a node can do that was broken into: every line here is asked by `n1` about something that is not its own.

use crate::support::{Cluster, PODS, cluster, pod};
use dunlin_apiserver::User;
use serde_json::{Value, json};

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
const CLUSTERS: &str = "/apis/dunlin.io/v1alpha1/clusters";
const DAEMONSETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";

fn machine() -> User {
    User::new("system:node:n1", &["system:nodes"])
}

fn child() -> User {
    User::new("system:node:n1", &["system:nodes", "dunlin:clusters"])
}

/// Pod `a` on `n1` with secret `mine`, pod `b` on `n2` with secret `other`, both nodes and their leases.
async fn world() -> Cluster {
    let c = cluster().await;
    for (name, node, secret) in [("a", "n1", "mine"), ("b", "n2", "other")] {
        let mut pod = pod(name);
        pod["spec"]["nodeName"] = json!(node);
        pod["spec"]["volumes"] = json!([{"name": "s", "secret": {"secretName": secret}}]);
        if name == "a" {
            pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "DaemonSet",
                "name": "everywhere", "uid": "u", "controller": true}]);
        }
        c.make(PODS, pod).await;
        c.make("/api/v1/namespaces/default/secrets", json!({"metadata": {"name": secret}})).await;
        c.make(
            "/api/v1/nodes",
            json!({"metadata": {"name": node, "labels": {"pool": "x"}},
            "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}),
        )
        .await;
        c.make(LEASES, json!({"metadata": {"name": node}})).await;
    }
    let template =
        json!({"metadata": {"labels": {"x": "y"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    for name in ["everywhere", "elsewhere"] {
        c.make(
            DAEMONSETS,
            json!({"metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"x": "y"}}, "template": template}}),
        )
        .await;
    }
    c
}

async fn code(c: &Cluster, user: User, method: &str, path: &str, body: Value) -> u16 {
    let kind = if method == "PATCH" { MERGE } else { JSON };
    c.ask_as(Some(user), method, path, body, kind).await.0
}

#[tokio::test]
async fn a_node_is_denied_what_is_not_its_own() {
    let c = world().await;
    let label = |key: &str| json!({"metadata": {"labels": {key: "v"}}});
    let null = Value::Null;
    for (method, path, body) in [
        ("GET", "/api/v1/namespaces/default/secrets/other".to_owned(), null.clone()),
        ("GET", "/api/v1/namespaces/default/secrets".to_owned(), null.clone()),
        ("GET", "/api/v1/secrets?fieldSelector=metadata.name=mine".to_owned(), null.clone()),
        ("GET", "/api/v1/namespaces/kube-system/secrets".to_owned(), null.clone()),
        ("PATCH", "/api/v1/namespaces/default/secrets/mine".to_owned(), json!({"data": {"x": ""}})),
        ("POST", PODS.to_owned(), pod("c")),
        ("GET", format!("{PODS}/b"), null.clone()),
        ("DELETE", format!("{PODS}/b"), null.clone()),
        ("PATCH", format!("{PODS}/a"), label("app")),
        ("PATCH", format!("{PODS}/b/status"), json!({"status": {"phase": "Failed"}})),
        ("PATCH", format!("{PODS}/a/status"), label("app")),
        ("POST", format!("{PODS}/b/eviction"), json!({"metadata": {"name": "b"}})),
        ("POST", format!("{PODS}/a/exec?command=id&stdout=1"), null.clone()),
        ("GET", format!("{PODS}?fieldSelector=metadata.name=b"), null.clone()),
        ("GET", "/api/v1/pods?fieldSelector=metadata.name=b".to_owned(), null.clone()),
        ("GET", "/api/v1/pods?watch=1&fieldSelector=metadata.name=later".to_owned(), null.clone()),
        ("PATCH", "/api/v1/nodes/n2".to_owned(), label("x")),
        ("PATCH", "/api/v1/nodes/n2/status".to_owned(), json!({"status": {"phase": ""}})),
        ("DELETE", "/api/v1/nodes/n2".to_owned(), null.clone()),
        ("DELETE", "/api/v1/nodes/n1".to_owned(), null.clone()),
        ("DELETE", "/api/v1/nodes?fieldSelector=metadata.name=n1".to_owned(), null.clone()),
        ("PATCH", "/api/v1/nodes/n1".to_owned(), label("node-restriction.kubernetes.io/zone")),
        ("PATCH", "/api/v1/nodes/n1/status".to_owned(), label("node-role.kubernetes.io/control-plane")),
        ("PATCH", "/api/v1/nodes/n1".to_owned(), label("dunlin.io/virtual-node")),
        ("PATCH", "/api/v1/nodes/n1".to_owned(), json!({"spec": {"taints": null}})),
        ("PATCH", format!("{LEASES}/n2"), json!({"spec": {"holderIdentity": "n1"}})),
        ("POST", LEASES.to_owned(), json!({"metadata": {"name": "n3"}})),
        ("POST", "/api/v1/namespaces/default/serviceaccounts/default/token".to_owned(), json!({})),
        ("GET", format!("{DAEMONSETS}/everywhere"), null.clone()),
        ("POST", CLUSTERS.to_owned(), json!({"metadata": {"name": "n1"}})),
        ("GET", CLUSTERS.to_owned(), null.clone()),
        ("POST", "/api/v1/namespaces".to_owned(), json!({"metadata": {"name": "n"}})),
        ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles".to_owned(), null.clone()),
    ] {
        assert_eq!(code(&c, machine(), method, &path, body).await, 403, "{method} {path}");
    }
}

#[tokio::test]
async fn a_node_is_allowed_its_own() {
    let c = world().await;
    let label = |key: &str| json!({"metadata": {"labels": {key: "v"}}});
    for (method, path, body) in [
        ("GET", "/api/v1/namespaces/default/secrets/mine", Value::Null),
        ("GET", "/api/v1/namespaces/default/pods/a", Value::Null),
        ("PATCH", "/api/v1/namespaces/default/pods/a/status", json!({"status": {"phase": "Running"}})),
        ("PATCH", "/api/v1/nodes/n1", label("place")),
        ("PATCH", "/api/v1/nodes/n1/status", label("node.kubernetes.io/instance-type")),
        (
            "PATCH",
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1",
            json!({"spec": {"holderIdentity": "n1"}}),
        ),
    ] {
        assert_eq!(code(&c, machine(), method, path, body).await, 200, "{method} {path}");
    }
}

#[tokio::test]
async fn a_cluster_writes_its_own_summary_and_reads_what_owns_its_pods() {
    let c = world().await;
    let own = format!("{CLUSTERS}/n1");
    assert_eq!(code(&c, child(), "POST", CLUSTERS, json!({"metadata": {"name": "n2"}})).await, 403);
    assert_eq!(code(&c, child(), "POST", CLUSTERS, json!({"metadata": {"name": "n1"}})).await, 201);
    assert_eq!(code(&c, child(), "GET", &own, Value::Null).await, 200);
    assert_eq!(code(&c, child(), "PATCH", &own, json!({"metadata": {"annotations": {"a": "b"}}})).await, 200);
    assert_eq!(code(&c, child(), "PATCH", &format!("{own}/status"), json!({"status": {}})).await, 200);
    assert_eq!(code(&c, child(), "DELETE", &own, Value::Null).await, 403);
    c.make(CLUSTERS, json!({"metadata": {"name": "n2"}})).await;
    for path in [
        CLUSTERS.to_owned(),
        format!("{CLUSTERS}/n2"),
        DAEMONSETS.to_owned(),
        format!("{DAEMONSETS}/elsewhere"),
    ] {
        assert_eq!(code(&c, child(), "GET", &path, Value::Null).await, 403, "{path}");
    }
    assert_eq!(
        code(&c, child(), "PATCH", &format!("{CLUSTERS}/n2/status"), json!({"status": {}})).await,
        403
    );
    assert_eq!(code(&c, child(), "GET", &format!("{DAEMONSETS}/everywhere"), Value::Null).await, 200);
    assert_eq!(code(&c, child(), "GET", "/api/v1/namespaces/default", Value::Null).await, 200);
    let virtual_node =
        json!({"metadata": {"labels": {"dunlin.io/virtual-node": "true", "dunlin.io/cluster": "n1"}}});
    assert_eq!(code(&c, child(), "PATCH", "/api/v1/nodes/n1", virtual_node).await, 200);
    let others = json!({"metadata": {"labels": {"dunlin.io/cluster": "n2"}}});
    assert_eq!(code(&c, child(), "PATCH", "/api/v1/nodes/n1", others).await, 403);
}

#[tokio::test]
async fn an_expired_certificate_may_ask_for_the_next_one_and_for_nothing_else() {
    let c = world().await;
    let late = || User::new("system:node:n1", &["dunlin:renewal"]);
    let csrs = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let body = json!({"metadata": {"name": "r"}, "spec": {"signerName": "kubernetes.io/kube-apiserver-client-kubelet",
        "request": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0=", "usages": ["client auth"]}});
    assert_ne!(code(&c, late(), "POST", csrs, body).await, 403);
    assert_eq!(code(&c, late(), "GET", &format!("{csrs}/r"), Value::Null).await, 200);
    for path in [
        format!("{PODS}/a"),
        "/api/v1/nodes/n1".to_owned(),
        "/api/v1/pods?fieldSelector=spec.nodeName=n1".to_owned(),
    ] {
        assert_eq!(code(&c, late(), "GET", &path, Value::Null).await, 403, "{path}");
    }
    assert_eq!(code(&c, late(), "DELETE", &format!("{csrs}/r"), Value::Null).await, 403);
}
