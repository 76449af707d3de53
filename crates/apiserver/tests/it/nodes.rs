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

const VOLUMES: &str = "/api/v1/persistentvolumes";

/// A volume that was made on `node`; whoever made it has taken `kept` off.
async fn volume(c: &Cluster, name: &str, node: &str, kept: Value) {
    let path = format!("{VOLUMES}/{name}");
    let annotations = json!({"dunlin.io/volume-node": node});
    let spec =
        json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}});
    c.make(VOLUMES, json!({"metadata": {"name": name, "annotations": annotations}, "spec": spec})).await;
    let admin = User::in_process("test");
    assert_eq!(code(c, admin, "PATCH", &path, json!({"metadata": {"finalizers": kept}})).await, 200);
}

#[tokio::test]
async fn a_node_lets_go_of_its_own_deleted_volumes_and_changes_nothing_else_of_any() {
    let c = world().await;
    let ours = "dunlin.io/local-path";
    for (name, node, kept) in [
        ("own", "n1", json!([ours, "other/one"])),
        ("in-use", "n1", json!([ours, "kubernetes.io/pv-protection"])),
        ("there", "n1", json!([ours])),
        ("others", "n2", json!([ours])),
    ] {
        volume(&c, name, node, kept).await;
        if name != "there" {
            assert_eq!(c.ask("DELETE", &format!("{VOLUMES}/{name}"), Value::Null).await.0, 200);
        }
    }
    let finalizers = |left: Value| json!({"metadata": {"finalizers": left}});
    let as_node = async |user: User, method: &str, name: &str, body: Value| {
        code(&c, user, method, &format!("{VOLUMES}/{name}"), body).await
    };
    for (method, name, body) in [
        ("PATCH", "others", finalizers(json!([]))),
        ("PATCH", "there", finalizers(json!([]))),
        ("PATCH", "in-use", finalizers(json!(["kubernetes.io/pv-protection"]))),
        ("PATCH", "in-use", finalizers(json!([ours]))),
        ("PATCH", "own", finalizers(json!([]))),
        ("PATCH", "own", finalizers(json!([ours]))),
        ("PATCH", "own", json!({"metadata": {"finalizers": ["other/one"], "labels": {"a": "b"}}})),
        (
            "PATCH",
            "own",
            json!({"metadata": {"finalizers": ["other/one"]}, "spec": {"claimRef": {"name": "c", "namespace": "default"}}}),
        ),
        ("PATCH", "own/status", json!({"status": {"phase": "Available"}})),
        ("DELETE", "there", Value::Null),
        ("PATCH", "nowhere", finalizers(json!([]))),
    ] {
        assert_eq!(as_node(machine(), method, name, body).await, 403, "{method} {name}");
    }
    let new = json!({"metadata": {"name": "new"}});
    assert_eq!(code(&c, machine(), "POST", VOLUMES, new).await, 403);
    assert_eq!(as_node(machine(), "PATCH", "own", finalizers(json!(["other/one"]))).await, 200);
    assert_eq!(as_node(machine(), "GET", "own", Value::Null).await, 200);
}

#[tokio::test]
async fn claims_are_protected_and_get_the_default_class() {
    let c = cluster().await;
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let made = c.make(claims, json!({"metadata": {"name": "c"}, "spec": spec})).await;
    assert_eq!(made["spec"]["storageClassName"], "local-path");
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    assert_eq!(made["status"]["phase"], "Pending");

    // A directory does not grow; what is bound to a class that can does.
    let path = format!("{claims}/c");
    let admin = || Some(User::in_process("test"));
    let bound = json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
    assert_eq!(code(&c, User::in_process("test"), "PATCH", &format!("{path}/status"), bound).await, 200);
    let larger = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    let (refused, said) = c.ask_as(admin(), "PATCH", &path, larger, MERGE).await;
    assert_eq!(refused, 403, "{said}");
    assert!(said["message"].as_str().unwrap().contains("must support resize"), "{said}");
    let same = json!({"spec": {"resources": {"requests": {"storage": "1Gi"}}}});
    assert_eq!(c.ask_as(admin(), "PATCH", &path, same, MERGE).await.0, 200);
    let (_, gone) = c.ask("DELETE", &format!("{claims}/c"), Value::Null).await;
    assert!(gone["metadata"]["deletionTimestamp"].is_string(), "{gone}");
}
