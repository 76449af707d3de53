//! Watches.

use crate::support::{Cluster, PODS, cluster, pod};
use dunlin_apiserver::{BoxBody, User};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

struct Lines(BoxBody, Vec<u8>);

impl Lines {
    async fn open(c: &Cluster, path: &str) -> Self {
        let mut request = http::Request::get(path).body(Full::default()).unwrap();
        request.extensions_mut().insert(User::in_process("w"));
        let reply = c.send(request).await;
        assert_eq!(reply.status(), 200);
        Self(reply.into_body(), Vec::new())
    }

    async fn next(&mut self) -> (String, Value) {
        loop {
            if let Some(end) = self.1.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.1.drain(..=end).collect();
                let value: Value = serde_json::from_slice(&line).unwrap();
                return (value["type"].as_str().unwrap().to_owned(), value["object"].clone());
            }
            let wait = std::time::Duration::from_secs(10);
            let frame = tokio::time::timeout(wait, self.0.frame()).await.expect("an event").unwrap().unwrap();
            self.1.extend_from_slice(&frame.into_data().unwrap());
        }
    }
}

#[tokio::test]
async fn a_selector_sees_objects_come_and_go() {
    let c = cluster().await;
    let mut lines = Lines::open(&c, &format!("{PODS}?watch=1&labelSelector=app=a")).await;
    let made = c.make(PODS, pod("a")).await;
    c.make(PODS, pod("b")).await;
    let (kind, object) = lines.next().await;
    assert_eq!(
        (kind.as_str(), &object["metadata"]["resourceVersion"]),
        ("ADDED", &made["metadata"]["resourceVersion"])
    );
    let user = || Some(User::in_process("t"));
    let label = |value: &str| json!({"metadata": {"labels": {"app": value}}});
    let merge = "application/merge-patch+json";
    let (_, gone) = c.ask_as(user(), "PATCH", &format!("{PODS}/a"), label("z"), merge).await;
    let (kind, object) = lines.next().await;
    assert_eq!(
        (kind.as_str(), &object["metadata"]["resourceVersion"]),
        ("DELETED", &gone["metadata"]["resourceVersion"])
    );
    assert_eq!(object["metadata"]["labels"]["app"], "a");
    c.ask_as(user(), "PATCH", &format!("{PODS}/a"), label("a"), merge).await;
    assert_eq!(lines.next().await.0, "ADDED");
    c.ask("DELETE", &format!("{PODS}/a"), Value::Null).await;
    assert_eq!(lines.next().await.0, "DELETED");
}

#[tokio::test]
async fn a_node_watches_its_pods_from_binding_on() {
    let c = cluster().await;
    let mut lines = Lines::open(&c, "/api/v1/pods?watch=true&fieldSelector=spec.nodeName=n1").await;
    c.make(PODS, pod("a")).await;
    let binding = json!({"target": {"kind": "Node", "name": "n1"}});
    c.ask("POST", &format!("{PODS}/a/binding"), binding).await;
    let (kind, object) = lines.next().await;
    assert_eq!((kind.as_str(), object["spec"]["nodeName"].as_str()), ("ADDED", Some("n1")));
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let c = cluster().await;
    c.make(PODS, pod("a")).await;
    let query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut lines = Lines::open(&c, &format!("{PODS}?{query}")).await;
    assert_eq!(lines.next().await.0, "ADDED");
    let (kind, object) = lines.next().await;
    assert_eq!(kind, "BOOKMARK");
    assert_eq!(object["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn a_resumed_watch_misses_nothing() {
    let c = cluster().await;
    let made = c.make(PODS, pod("a")).await;
    c.make(PODS, pod("b")).await;
    let from = made["metadata"]["resourceVersion"].as_str().unwrap();
    let mut lines = Lines::open(&c, &format!("{PODS}?watch=1&resourceVersion={from}")).await;
    assert_eq!(lines.next().await.1["metadata"]["name"], "b");
}

#[tokio::test]
async fn a_watch_ends_with_where_the_next_one_goes_on() {
    let c = cluster().await;
    let made = c.make(PODS, pod("a")).await;
    let from = made["metadata"]["resourceVersion"].as_str().unwrap();
    let query = format!("watch=1&allowWatchBookmarks=true&timeoutSeconds=1&resourceVersion={from}");
    let mut lines = Lines::open(&c, &format!("{PODS}?{query}")).await;
    c.make("/api/v1/namespaces/default/configmaps", json!({"metadata": {"name": "elsewhere"}})).await;
    let (kind, object) = lines.next().await;
    assert_eq!(kind, "BOOKMARK");
    let reached: u64 = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    assert!(reached > from.parse().unwrap());
}

#[tokio::test]
async fn a_watch_of_custom_objects_ends_with_what_defined_them() {
    let c = cluster().await;
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {"type": "object",
            "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer", "default": 7}}}}}}})
    };
    let definition = json!({"metadata": {"name": "things.example.com"}, "spec": {"group": "example.com",
        "scope": "Cluster", "names": {"plural": "things", "kind": "Thing"},
        "versions": [version("v1", true), version("v2", false)]}});
    c.make(crds, definition).await;
    let mut lines = Lines::open(&c, "/apis/example.com/v2/things?watch=1").await;
    c.make("/apis/example.com/v1/things", json!({"metadata": {"name": "a"}, "spec": {}})).await;
    let (kind, object) = lines.next().await;
    assert_eq!((kind.as_str(), object["apiVersion"].as_str()), ("ADDED", Some("example.com/v2")));
    assert_eq!(object["spec"]["n"], 7);
    assert_eq!(c.ask("DELETE", &format!("{crds}/things.example.com"), Value::Null).await.0, 200);
    // The watch may hear of the object's end before it ends itself.
    let end = async { while lines.0.frame().await.is_some() {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), end).await.expect("the watch ends");
}
