//! Who may do what.

use crate::support::{PODS, cluster, pod};
use dunlin_apiserver::User;
use serde_json::{Value, json};

const JSON: &str = "application/json";

#[tokio::test]
async fn nobody_gets_only_what_is_public() {
    let c = cluster().await;
    for path in ["/livez", "/readyz", "/healthz", "/version", "/cacerts"] {
        assert_eq!(c.ask_as(None, "GET", path, Value::Null, JSON).await.0, 200, "{path}");
    }
    for path in ["/api", "/metrics", PODS, "/openapi/v3"] {
        assert_eq!(c.ask_as(None, "GET", path, Value::Null, JSON).await.0, 401, "{path}");
    }
}

#[tokio::test]
async fn a_user_gets_what_bindings_give() {
    let c = cluster().await;
    let jane = || Some(User::new("jane", &[]));
    let (code, status) = c.ask_as(jane(), "GET", PODS, Value::Null, JSON).await;
    let words = "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"";
    assert_eq!((code, status["message"].as_str()), (403, Some(words)));
    let binding = json!({"metadata": {"name": "jane"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}]});
    c.make("/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", binding).await;
    assert_eq!(c.ask_as(jane(), "GET", PODS, Value::Null, JSON).await.0, 200);
    assert_eq!(c.ask_as(jane(), "POST", PODS, pod("a"), JSON).await.0, 403);
    assert_eq!(c.ask_as(jane(), "GET", "/api/v1/namespaces/default/secrets", Value::Null, JSON).await.0, 403);
    let review =
        json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "default"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(c.ask_as(jane(), "POST", path, review, JSON).await.1["status"]["allowed"], true);
}

#[tokio::test]
async fn rights_cannot_be_given_by_who_has_none() {
    let c = cluster().await;
    let role = json!({"metadata": {"name": "r"}, "rules": [{"verbs": ["*"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"]}]});
    c.make("/apis/rbac.authorization.k8s.io/v1/clusterroles", role).await;
    let mut rule = json!({"metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:basic-user"},
        "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}]});
    rule["roleRef"]["name"] = json!("admin");
    c.make("/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", rule).await;
    let jane = Some(User::new("jane", &[]));
    let more = json!({"metadata": {"name": "more"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["nodes"]}]});
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    let (code, status) = c.ask_as(jane, "POST", path, more, JSON).await;
    assert_eq!(code, 403, "{status}");
    assert!(status["message"].as_str().unwrap().contains("not currently held"));
}

#[tokio::test]
async fn a_node_sees_its_own_pods_and_what_they_need() {
    let c = cluster().await;
    let node = || Some(User::new("system:node:n1", &["system:nodes"]));
    let mut with_secret = pod("a");
    with_secret["spec"]["volumes"] = json!([{"name": "s", "secret": {"secretName": "mine"}}]);
    with_secret["spec"]["nodeName"] = json!("n1");
    c.make(PODS, with_secret).await;
    let mut other = pod("b");
    other["spec"]["nodeName"] = json!("n2");
    c.make(PODS, other).await;
    for name in ["mine", "other"] {
        c.make("/api/v1/namespaces/default/secrets", json!({"metadata": {"name": name}})).await;
    }
    let get = async |path: &str| c.ask_as(node(), "GET", path, Value::Null, JSON).await.0;
    assert_eq!(get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await, 200);
    assert_eq!(get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn2").await, 403);
    assert_eq!(get("/api/v1/pods").await, 403);
    assert_eq!(get("/api/v1/namespaces/default/secrets/mine").await, 200);
    assert_eq!(get("/api/v1/namespaces/default/secrets/other").await, 403);
    assert_eq!(get("/api/v1/namespaces/default/configmaps/kube-root-ca.crt").await, 200);
    assert_eq!(get(&format!("{PODS}/b")).await, 403);
    let make = async |name: &str| {
        c.ask_as(node(), "POST", "/api/v1/nodes", json!({"metadata": {"name": name}}), JSON).await.0
    };
    assert_eq!(make("n2").await, 403);
    assert_eq!(make("n1").await, 201);
}

#[tokio::test]
async fn a_cluster_acts_for_its_own_machines_and_no_others() {
    let c = cluster().await;
    let site = || Some(User::new("system:node:site", &["system:nodes", "dunlin:clusters"]));
    let plain = || Some(User::new("system:node:site", &["system:nodes"]));
    let node = |name: &str, by: &str| json!({"metadata": {"name": name, "annotations": {"dunlin.io/exposed-by": by}}});
    let make = async |user, body| c.ask_as(user, "POST", "/api/v1/nodes", body, JSON).await.0;
    assert_eq!(make(site(), node("board", "site")).await, 403, "a name of its own");
    assert_eq!(make(site(), node("site-board", "other")).await, 403, "for another cluster");
    assert_eq!(make(plain(), node("site-board", "site")).await, 403, "not a cluster");
    assert_eq!(make(site(), node("site-board", "site")).await, 201);
    // A node of the same prefix that somebody else made gives no right.
    c.make("/api/v1/nodes", json!({"metadata": {"name": "site-gate"}})).await;
    for (name, on) in [("a", "site-board"), ("b", "site-gate")] {
        let mut made = pod(name);
        made["spec"]["nodeName"] = json!(on);
        made["spec"]["volumes"] = json!([{"name": "s", "secret": {"secretName": name}}]);
        c.make(PODS, made).await;
        c.make("/api/v1/namespaces/default/secrets", json!({"metadata": {"name": name}})).await;
    }
    let get = async |user, path: &str| c.ask_as(user, "GET", path, Value::Null, JSON).await.0;
    let pods_of = |node: &str| format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}");
    let secret = |name: &str| format!("/api/v1/namespaces/default/secrets/{name}");
    for (path, want) in [
        (pods_of("site-board"), 200),
        (pods_of("site-gate"), 403),
        (format!("{PODS}/a"), 200),
        (format!("{PODS}/b"), 403),
        (secret("a"), 200),
        (secret("b"), 403),
    ] {
        assert_eq!(get(site(), &path).await, want, "{path}");
        assert_eq!(get(plain(), &path).await, 403, "not a cluster: {path}");
    }
    let patch = async |path: &str, body: Value| {
        c.ask_as(site(), "PATCH", path, body, "application/merge-patch+json").await.0
    };
    let cordoned = json!({"status": {"conditions": []}});
    assert_eq!(patch("/api/v1/nodes/site-board/status", cordoned.clone()).await, 200);
    assert_eq!(patch("/api/v1/nodes/site-gate/status", cordoned).await, 403);
    let status = json!({"status": {"phase": "Running"}});
    assert_eq!(patch(&format!("{PODS}/a/status"), status.clone()).await, 200);
    assert_eq!(patch(&format!("{PODS}/b/status"), status).await, 403);
    let given_away = json!({"metadata": {"annotations": {"dunlin.io/exposed-by": "other"}}});
    assert_eq!(patch("/api/v1/nodes/site-board", given_away).await, 403);
    let label = |key: &str, value: &str| json!({"metadata": {"labels": {key: value}}});
    assert_eq!(patch("/api/v1/nodes/site-board", label("dunlin.io/cluster", "site")).await, 200);
    assert_eq!(patch("/api/v1/nodes/site-board", label("dunlin.io/cluster", "other")).await, 403);
    let token = json!({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "a"}}});
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    assert_eq!(c.ask_as(site(), "POST", path, token.clone(), JSON).await.0, 201);
    let mut other = token;
    other["spec"]["boundObjectRef"]["name"] = json!("b");
    assert_eq!(c.ask_as(site(), "POST", path, other, JSON).await.0, 403);
    let delete = async |name: &str| {
        c.ask_as(site(), "DELETE", &format!("/api/v1/nodes/{name}"), Value::Null, JSON).await.0
    };
    assert_eq!(delete("site-gate").await, 403);
    assert_eq!(delete("site-board").await, 200);
    assert_eq!(get(site(), &pods_of("site-board")).await, 403);
}

#[tokio::test]
async fn tokens_stand_for_users_until_what_they_are_bound_to_is_gone() {
    let c = cluster().await;
    let made = c.make(PODS, pod("a")).await;
    let request = json!({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "a", "uid": made["metadata"]["uid"]}}});
    let reply = c.make("/api/v1/namespaces/default/serviceaccounts/default/token", request).await;
    let token = reply["status"]["token"].as_str().unwrap().to_owned();
    let who = async |token: &str| {
        let request = http::Request::builder()
            .method("POST")
            .uri("/apis/authentication.k8s.io/v1/selfsubjectreviews")
            .header("authorization", format!("Bearer {token}"))
            .body(http_body_util::Full::from(json!({}).to_string()))
            .unwrap();
        let reply = c.send(request).await;
        let code = reply.status().as_u16();
        let bytes = http_body_util::BodyExt::collect(reply.into_body()).await.unwrap().to_bytes();
        (code, serde_json::from_slice::<Value>(&bytes).unwrap())
    };
    assert_eq!(
        who(&token).await.1["status"]["userInfo"]["username"],
        "system:serviceaccount:default:default"
    );
    assert_eq!(who("janes-token").await.1["status"]["userInfo"]["username"], "jane");
    assert_eq!(who("nobodys").await.0, 401);
    c.ask("DELETE", &format!("{PODS}/a"), Value::Null).await;
    assert_eq!(who(&token).await.0, 401);
}
