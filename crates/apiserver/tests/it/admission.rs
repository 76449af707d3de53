//! Webhooks of admission, over real TLS: what they are asked, and what becomes of the request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine;
use dunlin_apiserver::User;
use serde_json::{Value, json};

use crate::support::{Cluster, PODS, cluster, cluster_with, pod};
use crate::webhook::{Node, Webhook, serve_behind_a_service};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// Answers as its path says.
fn webhook() -> Arc<Webhook> {
    Webhook::new(|path, review| {
        let request = &review["request"];
        let mut response = json!({"uid": request["uid"], "allowed": path != "deny"});
        let mut patch = |operations: Value| {
            let text = base64::engine::general_purpose::STANDARD.encode(operations.to_string());
            response["patch"] = json!(text);
            response["patchType"] = json!("JSONPatch");
        };
        let labels = &request["object"]["metadata"]["labels"];
        let add = |name: &str, value: &str| match labels.is_object() {
            true => json!([{"op": "add", "path": format!("/metadata/labels/{name}"), "value": value}]),
            false => json!([{"op": "add", "path": "/metadata/labels", "value": {name: value}}]),
        };
        match path {
            "count" => {
                let before: u32 = labels["count"].as_str().and_then(|t| t.parse().ok()).unwrap_or(0);
                patch(add("count", &(before + 1).to_string()));
            }
            "label" => patch(add("labelled", "yes")),
            "three" => patch(json!([{"op": "replace", "path": "/spec/replicas", "value": 3}])),
            "warn" => response["warnings"] = json!(["mind the gap"]),
            "note" => response["auditAnnotations"] = json!({"k": "v"}),
            "bad-uid" => response["uid"] = json!("nobody"),
            _ => {}
        }
        if path == "deny" {
            response["status"] = json!({"code": 418, "reason": "Teapot", "message": "not today"});
        }
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    })
}

struct World {
    c: Cluster,
    webhook: Arc<Webhook>,
    url: String,
}

impl World {
    async fn new() -> Self {
        let webhook = webhook();
        Self { c: cluster().await, url: webhook.listen("").await, webhook }
    }

    /// A webhook that is asked about these operations on these resources, with more fields.
    fn hook(&self, path: &str, operations: &[&str], resources: &[&str], more: Value) -> Value {
        let mut hook = json!({
            "name": format!("{path}.example.com"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": format!("{}{path}", self.url), "caBundle": self.webhook.ca},
            "rules": [{"operations": operations, "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources}],
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            hook[field] = value.clone();
        }
        hook
    }

    async fn configure(&self, kind: &str, name: &str, webhooks: &[Value]) {
        let path = format!("{GROUP}/{kind}webhookconfigurations");
        self.c.make(&path, json!({"metadata": {"name": name}, "webhooks": webhooks})).await;
    }

    async fn validating(&self, webhook: Value) {
        self.configure("validating", "v", &[webhook]).await;
    }

    async fn mutating(&self, webhook: Value) {
        self.configure("mutating", "m", &[webhook]).await;
    }

    async fn map(&self, name: &str, labels: Value) -> (u16, Value) {
        self.c.ask("POST", MAPS, json!({"metadata": {"name": name, "labels": labels}})).await
    }

    /// What was asked since the last time: operation, subresource, kind.
    fn heard(&self) -> Vec<String> {
        let heard = std::mem::take(&mut *self.webhook.heard.lock().unwrap());
        let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
        heard
            .iter()
            .map(|(path, r)| {
                let object = if r["object"].is_null() { "-" } else { "+" };
                let old = if r["oldObject"].is_null() { "-" } else { "+" };
                let what = [text(&r["operation"]), text(&r["subResource"]), text(&r["kind"]["kind"])];
                format!("{path} {} {object}{old}", what.join(" "))
            })
            .collect()
    }
}

#[tokio::test]
async fn a_refusal_is_told_and_nothing_is_stored() {
    let w = World::new().await;
    w.validating(w.hook("deny", &["CREATE"], &["configmaps"], json!({}))).await;
    let (code, status) = w.map("a", json!({})).await;
    assert_eq!((code, &status["reason"]), (418, &json!("Teapot")));
    assert_eq!(status["message"], "admission webhook \"deny.example.com\" denied the request: not today");
    assert_eq!(w.c.ask("GET", &format!("{MAPS}/a"), Value::Null).await.0, 404);
    // The configuration itself is not asked about, so it can always be taken back.
    let path = format!("{GROUP}/validatingwebhookconfigurations/v");
    assert_eq!(w.c.ask("DELETE", &path, Value::Null).await.0, 200);
    assert_eq!(w.map("a", json!({})).await.0, 201);
}

#[tokio::test]
async fn every_kind_of_write_is_asked_about() {
    let w = World::new().await;
    w.c.make(PODS, pod("p")).await;
    w.c.make(PODS, pod("q")).await;
    w.map("a", json!({})).await;
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    w.c.make(DEPLOYMENTS, deployment).await;
    w.validating(w.hook("allow", &["*"], &["*/*"], json!({}))).await;
    let core = "/api/v1/namespaces/default";
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "q"}});
    let scale = json!({"metadata": {"name": "d"}, "spec": {"replicas": 2}});
    let merge = Some("application/merge-patch+json");
    let apply = Some("application/apply-patch+yaml");
    let label = json!({"metadata": {"labels": {"x": "y"}}});
    let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n"}});
    let bound = json!({"target": {"name": "n"}});
    for (method, path, body, form, expected) in [
        ("POST", MAPS.to_owned(), json!({"metadata": {"name": "b"}}), None, "CREATE  ConfigMap +-"),
        (
            "PUT",
            format!("{MAPS}/a"),
            json!({"metadata": {"name": "a"}, "data": {"k": "v"}}),
            None,
            "UPDATE  ConfigMap ++",
        ),
        ("PATCH", format!("{MAPS}/a"), label.clone(), merge, "UPDATE  ConfigMap ++"),
        ("PATCH", format!("{MAPS}/n?fieldManager=m"), applied.clone(), apply, "CREATE  ConfigMap +-"),
        ("PATCH", format!("{MAPS}/n?fieldManager=m"), applied, apply, "UPDATE  ConfigMap ++"),
        ("DELETE", format!("{MAPS}/b"), Value::Null, None, "DELETE  ConfigMap -+"),
        ("PATCH", format!("{PODS}/p/status"), label.clone(), merge, "UPDATE status Pod ++"),
        ("POST", format!("{PODS}/p/binding"), bound, None, "CREATE binding Binding +-"),
        ("POST", format!("{PODS}/q/eviction"), eviction, None, "CREATE eviction Eviction +-"),
        ("PUT", format!("{DEPLOYMENTS}/d/scale"), scale, None, "UPDATE scale Scale ++"),
        (
            "POST",
            format!("{core}/serviceaccounts/default/token"),
            json!({}),
            None,
            "CREATE token TokenRequest +-",
        ),
    ] {
        let media = form.unwrap_or("application/json");
        let (code, answer) = w.c.ask_as(Some(User::in_process("test")), method, &path, body, media).await;
        assert!(code < 300, "{method} {path}: {answer}");
        assert_eq!(w.heard(), [format!("allow {expected}")], "{method} {path}");
    }
    // A session is asked about before anything is looked for.
    for (sub, kind) in
        [("exec", "PodExecOptions"), ("attach", "PodAttachOptions"), ("portforward", "PodPortForwardOptions")]
    {
        w.c.ask("POST", &format!("{PODS}/none/{sub}"), Value::Null).await;
        assert_eq!(w.heard(), [format!("allow CONNECT {sub} {kind} +-")]);
    }
    // Of a collection each object.
    let (code, list) = w.c.ask("DELETE", MAPS, Value::Null).await;
    assert_eq!(code, 200, "{list}");
    let count = list["items"].as_array().unwrap().len();
    assert_eq!(w.heard(), vec!["allow DELETE  ConfigMap -+"; count]);
}

#[tokio::test]
async fn a_refused_object_stays_when_a_collection_goes() {
    let w = World::new().await;
    w.map("a", json!({})).await;
    w.map("kept", json!({"keep": "yes"})).await;
    let selector = json!({"objectSelector": {"matchLabels": {"keep": "yes"}}});
    w.validating(w.hook("deny", &["DELETE"], &["configmaps"], selector)).await;
    assert_eq!(w.c.ask("DELETE", MAPS, Value::Null).await.0, 418);
    assert_eq!(w.c.ask("GET", &format!("{MAPS}/kept"), Value::Null).await.0, 200);
}

#[tokio::test]
async fn heartbeats_are_not_asked_about() {
    let w = World::new().await;
    w.validating(w.hook("deny", &["*"], &["*/*"], json!({}))).await;
    let lease = json!({"metadata": {"name": "n"}, "spec": {"holderIdentity": "n"}});
    w.c.make("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", lease.clone()).await;
    let elsewhere = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    assert_eq!(w.c.ask("POST", elsewhere, lease).await.0, 418);
}

#[tokio::test]
async fn a_patch_changes_what_is_stored() {
    let w = World::new().await;
    w.mutating(w.hook("label", &["CREATE", "UPDATE"], &["configmaps"], json!({}))).await;
    let (code, made) = w.map("a", Value::Null).await;
    assert_eq!((code, &made["metadata"]["labels"]), (201, &json!({"labelled": "yes"})));
    let plain = json!({"metadata": {"name": "a"}, "data": {"k": "v"}});
    let (_, changed) = w.c.ask("PUT", &format!("{MAPS}/a"), plain).await;
    assert_eq!(changed["metadata"]["labels"], json!({"labelled": "yes"}));
}

#[tokio::test]
async fn a_scale_is_changed_as_a_scale() {
    let w = World::new().await;
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    w.c.make(DEPLOYMENTS, deployment).await;
    w.mutating(w.hook("three", &["UPDATE"], &["deployments/scale"], json!({}))).await;
    let scale = json!({"metadata": {"name": "d"}, "spec": {"replicas": 2}});
    let (code, scale) = w.c.ask("PUT", &format!("{DEPLOYMENTS}/d/scale"), scale).await;
    assert_eq!((code, &scale["spec"]["replicas"]), (200, &json!(3)), "{scale}");
}

#[tokio::test]
async fn who_wants_to_is_asked_again_when_others_change_the_object() {
    for (policy, count) in [("Never", "1"), ("IfNeeded", "2")] {
        let w = World::new().await;
        let first = w.hook("count", &["CREATE"], &["configmaps"], json!({"reinvocationPolicy": policy}));
        let second = w.hook("label", &["CREATE"], &["configmaps"], json!({}));
        w.configure("mutating", "m", &[first, second]).await;
        let (_, made) = w.map("a", json!({"x": "y"})).await;
        assert_eq!(
            made["metadata"]["labels"],
            json!({"x": "y", "count": count, "labelled": "yes"}),
            "{policy}"
        );
    }
}

#[tokio::test]
async fn webhooks_are_asked_in_the_order_of_names_and_then_of_lists() {
    let w = World::new().await;
    let hook = |path: &str| w.hook(path, &["CREATE"], &["configmaps"], json!({}));
    w.configure("mutating", "z", &[hook("allow")]).await;
    w.configure("mutating", "a", &[hook("warn"), hook("note")]).await;
    w.map("a", json!({})).await;
    let paths: Vec<String> = w.heard().iter().map(|h| h.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(paths, ["warn", "note", "allow"]);
}

#[tokio::test]
async fn who_cannot_be_asked_is_passed_over_or_not() {
    let w = World::new().await;
    for (policy, expected) in [("Fail", 500), ("Ignore", 201)] {
        for (at, path) in [("bad-uid", "bad-uid"), ("slow", "slow")] {
            let more = json!({"failurePolicy": policy, "timeoutSeconds": 1});
            w.validating(w.hook(path, &["CREATE"], &["configmaps"], more)).await;
            let (code, status) = w.map(&format!("{at}-{}", policy.to_lowercase()), json!({})).await;
            assert_eq!(code, expected, "{status}");
            if code == 500 {
                let message = status["message"].as_str().unwrap();
                let start =
                    format!("Internal error occurred: failed calling webhook \"{path}.example.com\": ");
                assert!(message.starts_with(&start), "{message}");
                let end = if path == "slow" { "context deadline exceeded" } else { "got \"nobody\"" };
                assert!(message.ends_with(end), "{message}");
            }
            w.c.ask("DELETE", &format!("{GROUP}/validatingwebhookconfigurations/v"), Value::Null).await;
        }
    }
}

#[tokio::test]
async fn selectors_and_scope_say_who_is_meant() {
    let w = World::new().await;
    w.c.make("/api/v1/namespaces", json!({"metadata": {"name": "guarded", "labels": {"guard": "yes"}}}))
        .await;
    let selector = json!({"namespaceSelector": {"matchLabels": {"guard": "yes"}}});
    w.validating(w.hook("deny", &["CREATE", "UPDATE"], &["configmaps", "namespaces"], selector)).await;
    let map = json!({"metadata": {"name": "a"}});
    assert_eq!(w.c.ask("POST", MAPS, map.clone()).await.0, 201);
    assert_eq!(w.c.ask("POST", "/api/v1/namespaces/guarded/configmaps", map).await.0, 418);
    // A namespace counts by its own labels, as they shall be.
    let namespace = |labels: Value| json!({"metadata": {"name": "other", "labels": labels}});
    assert_eq!(w.c.ask("POST", "/api/v1/namespaces", namespace(json!({"guard": "yes"}))).await.0, 418);
    assert_eq!(w.c.ask("POST", "/api/v1/namespaces", namespace(json!({}))).await.0, 201);

    let w = World::new().await;
    let rules = json!({"rules": [{"operations": ["CREATE"], "apiGroups": ["*"], "apiVersions": ["*"],
        "resources": ["*"], "scope": "Cluster"}]});
    w.validating(w.hook("deny", &[], &[], rules)).await;
    assert_eq!(w.map("a", json!({})).await.0, 201);
    let class = json!({"metadata": {"name": "c"}, "value": 1});
    assert_eq!(w.c.ask("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", class).await.0, 418);
}

#[tokio::test]
async fn a_condition_keeps_requests_from_the_webhook() {
    let w = World::new().await;
    let condition = json!({"matchConditions": [{"name": "c", "expression": "object.metadata.name == 'b'"}]});
    w.validating(w.hook("deny", &["CREATE"], &["configmaps"], condition)).await;
    assert_eq!(w.map("a", json!({})).await.0, 201);
    assert_eq!(w.map("b", json!({})).await.0, 418);
}

#[tokio::test]
async fn another_version_of_the_resource_is_shown_in_the_one_that_the_rule_names() {
    let w = World::new().await;
    let rules = |policy: &str| {
        json!({"matchPolicy": policy, "rules": [{"operations": ["CREATE"], "apiGroups": ["autoscaling"],
            "apiVersions": ["v1"], "resources": ["horizontalpodautoscalers"]}]})
    };
    let scalers = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let scaler = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {"maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}})
    };
    w.mutating(w.hook("label", &[], &[], rules("Equivalent"))).await;
    let made = w.c.make(scalers, scaler("a")).await;
    assert_eq!(
        (&made["apiVersion"], &made["metadata"]["labels"]["labelled"]),
        (&json!("autoscaling/v2"), &json!("yes"))
    );
    let (_, request) = w.webhook.heard.lock().unwrap().remove(0);
    assert_eq!(request["object"]["apiVersion"], "autoscaling/v1");
    assert_eq!(
        (&request["kind"]["version"], &request["requestKind"]["version"]),
        (&json!("v1"), &json!("v2"))
    );
    w.c.ask("DELETE", &format!("{GROUP}/mutatingwebhookconfigurations/m"), Value::Null).await;
    w.mutating(w.hook("label", &[], &[], rules("Exact"))).await;
    assert!(w.c.make(scalers, scaler("b")).await["metadata"]["labels"].is_null());
}

#[tokio::test]
async fn a_dry_run_is_said_so_and_refused_where_it_has_effects() {
    let w = World::new().await;
    w.validating(w.hook("allow", &["CREATE"], &["configmaps"], json!({}))).await;
    let (code, _) = w.c.ask("POST", &format!("{MAPS}?dryRun=All"), json!({"metadata": {"name": "a"}})).await;
    assert_eq!(code, 201);
    let (_, request) = w.webhook.heard.lock().unwrap().remove(0);
    assert_eq!((&request["dryRun"], &request["options"]["dryRun"]), (&json!(true), &json!(["All"])));
}

#[tokio::test]
async fn warnings_reach_the_client() {
    let w = World::new().await;
    w.validating(w.hook("warn", &["CREATE"], &["configmaps"], json!({}))).await;
    let mut request = http::Request::post(MAPS)
        .header("content-type", "application/json")
        .body(http_body_util::Full::from(json!({"metadata": {"name": "a"}}).to_string()))
        .unwrap();
    request.extensions_mut().insert(User::in_process("test"));
    let reply = w.c.send(request).await;
    assert_eq!(reply.headers()["warning"], "299 - \"mind the gap\"");
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let w = World::new().await;
    w.mutating(w.hook("label", &["CREATE"], &["configmaps"], json!({}))).await;
    let started = std::time::Instant::now();
    const MANY: usize = 200;
    for i in 0..MANY {
        assert_eq!(w.map(&format!("m{i}"), json!({})).await.0, 201);
    }
    println!("{} us for a write with a webhook", started.elapsed().as_micros() / MANY as u128);
    assert_eq!(w.webhook.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_webhook_behind_a_service_is_asked_through_its_node() {
    let webhook = webhook();
    let c = cluster_with(Arc::new(Node(webhook.clone()))).await;
    serve_behind_a_service(&c, "converter").await;
    let hook = json!({"name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"name": "converter", "namespace": "default", "path": "/label"}, "caBundle": webhook.ca},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]});
    c.make(
        &format!("{GROUP}/mutatingwebhookconfigurations"),
        json!({"metadata": {"name": "m"}, "webhooks": [hook]}),
    )
    .await;
    let made = c.make(MAPS, json!({"metadata": {"name": "a"}})).await;
    assert_eq!(made["metadata"]["labels"]["labelled"], "yes");
}
