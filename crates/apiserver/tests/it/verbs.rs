//! Creating, reading, changing and deleting.

use crate::support::{PODS, cluster, pod};
use serde_json::{Value, json};

#[tokio::test]
async fn a_pod_is_created_bound_and_deleted_with_grace() {
    let c = cluster().await;
    let made = c.make(PODS, pod("a")).await;
    assert_eq!(made["status"]["phase"], "Pending");
    assert_eq!(made["spec"]["serviceAccountName"], "default");
    assert_eq!(made["spec"]["tolerations"].as_array().unwrap().len(), 2);
    assert!(made["spec"]["volumes"][0]["projected"].is_object());
    let binding = json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}});
    assert_eq!(c.ask("POST", &format!("{PODS}/a/binding"), binding.clone()).await.0, 201);
    assert_eq!(c.ask("POST", &format!("{PODS}/a/binding"), binding).await.0, 409);
    let (code, going) = c.ask("DELETE", &format!("{PODS}/a"), Value::Null).await;
    assert_eq!((code, going["metadata"]["deletionGracePeriodSeconds"].as_i64()), (200, Some(30)));
    let at_once = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0,
        "preconditions": {"uid": made["metadata"]["uid"]}});
    assert_eq!(c.ask("DELETE", &format!("{PODS}/a"), at_once).await.0, 200);
    let (code, status) = c.ask("GET", &format!("{PODS}/a"), Value::Null).await;
    assert_eq!((code, status["message"].as_str()), (404, Some("pods \"a\" not found")));
}

#[tokio::test]
async fn stale_writes_are_conflicts_and_unchanged_ones_are_nothing() {
    let c = cluster().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let first = c.make(path, json!({"metadata": {"name": "m"}, "data": {"a": "1"}})).await;
    let one = format!("{path}/m");
    let mut next = first.clone();
    next["data"]["a"] = json!("2");
    let (code, second) = c.ask("PUT", &one, next.clone()).await;
    assert_eq!(code, 200);
    assert_ne!(first["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]);
    assert_eq!(c.ask("PUT", &one, next).await.0, 409);
    let (_, again) = c.ask("PUT", &one, second.clone()).await;
    assert_eq!(again["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]);
    assert_eq!(c.ask("POST", path, json!({"metadata": {"name": "m"}})).await.0, 409);
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let c = cluster().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let body = json!({"metadata": {"name": "d"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let made = c.make(path, body).await;
    assert_eq!(made["metadata"]["generation"], 1);
    let mut changed = made.clone();
    changed["status"]["replicas"] = json!(7);
    changed["spec"]["replicas"] = json!(3);
    let (_, after) = c.ask("PUT", &format!("{path}/d/status"), changed.clone()).await;
    assert_eq!((&after["spec"]["replicas"], &after["status"]["replicas"]), (&json!(2), &json!(7)));
    assert_eq!(after["metadata"]["generation"], 1);
    changed["metadata"]["resourceVersion"] = after["metadata"]["resourceVersion"].clone();
    changed["status"] = json!({});
    let (_, after) = c.ask("PUT", &format!("{path}/d"), changed).await;
    assert_eq!((&after["spec"]["replicas"], &after["status"]["replicas"]), (&json!(3), &json!(7)));
    assert_eq!(after["metadata"]["generation"], 2);
    let (_, scale) = c.ask("GET", &format!("{path}/d/scale"), Value::Null).await;
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(3), &json!("a=b")));
}

#[tokio::test]
async fn lists_are_chunked_and_selected() {
    let c = cluster().await;
    for name in ["a", "b", "c", "d", "e"] {
        c.make(PODS, pod(name)).await;
    }
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let (_, page) = c.ask("GET", &format!("{PODS}?limit=2&continue={token}"), Value::Null).await;
        names.extend(page["items"].as_array().unwrap().iter().map(|p| p["metadata"]["name"].clone()));
        match page["metadata"]["continue"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(json!(names), json!(["a", "b", "c", "d", "e"]));
    let (_, some) =
        c.ask("GET", &format!("{PODS}?labelSelector=app%20in%20(b,d)&limit=1"), Value::Null).await;
    assert_eq!(some["items"][0]["metadata"]["name"], "b");
    let (code, _) = c.ask("GET", &format!("{PODS}?fieldSelector=spec.foo=1"), Value::Null).await;
    assert_eq!(code, 400);
}

#[tokio::test]
async fn a_namespace_that_goes_takes_nothing_new() {
    let c = cluster().await;
    c.make("/api/v1/namespaces", json!({"metadata": {"name": "x"}})).await;
    assert_eq!(c.ask("DELETE", "/api/v1/namespaces/x", Value::Null).await.0, 200);
    let (code, status) = c.ask("POST", "/api/v1/namespaces/x/pods", pod("a")).await;
    assert_eq!((code, &status["details"]["causes"][0]["reason"]), (403, &json!("NamespaceTerminating")));
    let (_, ns) = c.ask("GET", "/api/v1/namespaces/x", Value::Null).await;
    let mut done = ns.clone();
    done["spec"]["finalizers"] = json!([]);
    assert_eq!(c.ask("PUT", "/api/v1/namespaces/x/finalize", done).await.0, 200);
    assert_eq!(c.ask("GET", "/api/v1/namespaces/x", Value::Null).await.0, 404);
    assert_eq!(c.ask("DELETE", "/api/v1/namespaces/default", Value::Null).await.0, 403);
    assert_eq!(c.ask("POST", "/api/v1/namespaces/none/pods", pod("a")).await.0, 404);
}

#[tokio::test]
async fn services_get_addresses_that_come_back() {
    let c = cluster().await;
    let path = "/api/v1/namespaces/default/services";
    let body = |name: &str, extra: Value| {
        let mut v = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
        v["spec"].as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        v
    };
    let one = c.make(path, body("one", json!({"type": "NodePort"}))).await;
    let ip = one["spec"]["clusterIP"].clone();
    assert!(ip.as_str().unwrap().starts_with("10.43."));
    let port = one["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30000..32768).contains(&port));
    let again = body("two", json!({"clusterIP": ip}));
    assert_eq!(c.ask("POST", path, again.clone()).await.0, 422);
    assert_eq!(c.ask("POST", path, body("k", json!({"clusterIP": "10.43.0.1"}))).await.0, 422);
    assert_eq!(c.make(path, body("h", json!({"clusterIP": "None"}))).await["spec"]["clusterIP"], "None");
    assert_eq!(c.ask("DELETE", &format!("{path}/one"), Value::Null).await.0, 200);
    assert_eq!(c.ask("POST", path, again).await.0, 201);
}

#[tokio::test]
async fn dry_runs_and_strict_fields_leave_nothing() {
    let c = cluster().await;
    let (code, _) = c.ask("POST", &format!("{PODS}?dryRun=All"), pod("a")).await;
    assert_eq!(code, 201);
    assert_eq!(c.ask("GET", &format!("{PODS}/a"), Value::Null).await.0, 404);
    let mut wrong = pod("a");
    wrong["spec"]["foo"] = json!(1);
    let (code, status) = c.ask("POST", &format!("{PODS}?fieldValidation=Strict"), wrong).await;
    assert_eq!(code, 400);
    assert!(status["message"].as_str().unwrap().contains("unknown field \"spec.foo\""), "{status}");
}

#[tokio::test]
async fn finalizers_hold_what_is_deleted() {
    let c = cluster().await;
    let path = "/api/v1/namespaces/default/configmaps";
    c.make(path, json!({"metadata": {"name": "m", "finalizers": ["x.io/y"]}})).await;
    assert_eq!(c.ask("DELETE", &format!("{path}/m?propagationPolicy=Foreground"), Value::Null).await.0, 200);
    let (_, held) = c.ask("GET", &format!("{path}/m"), Value::Null).await;
    assert_eq!(held["metadata"]["finalizers"], json!(["x.io/y", "foregroundDeletion"]));
    let patch = json!({"metadata": {"finalizers": null}});
    let user = Some(dunlin_apiserver::User::in_process("t"));
    let (code, _) =
        c.ask_as(user, "PATCH", &format!("{path}/m"), patch, "application/merge-patch+json").await;
    assert_eq!(code, 200);
    assert_eq!(c.ask("GET", &format!("{path}/m"), Value::Null).await.0, 404);
}
