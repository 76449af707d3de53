//! Conversion by a webhook, at a URL and behind a Service.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::{Cluster, cluster_with};
use crate::webhook::{Node, Webhook, serve_behind_a_service};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const THINGS: &str = "/apis/example.com/v1/things";

/// A webhook that calls the size a length from `v2` on.
fn webhook() -> Arc<Webhook> {
    Webhook::new(|_, review| convert(review))
}

fn convert(review: &Value) -> Value {
    let request = &review["request"];
    let mut objects = request["objects"].clone();
    for object in objects.as_array_mut().unwrap() {
        if object["spec"]["size"] == 13 {
            return json!({"kind": "ConversionReview", "response": {"uid": request["uid"],
                "result": {"status": "Failure", "message": "13 cannot be converted"}}});
        }
        object["apiVersion"] = request["desiredAPIVersion"].clone();
        let (from, to) =
            if object["apiVersion"] == "example.com/v2" { ("size", "length") } else { ("length", "size") };
        let value = object["spec"].as_object_mut().unwrap().remove(from).unwrap();
        object["spec"][to] = value;
    }
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "response": {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": objects}})
}

fn definition(client: Value) -> Value {
    let version = |name: &str, field: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {"type": "object",
            "properties": {"spec": {"type": "object", "properties": {field: {"type": "integer"}}}}}}})
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Cluster", "names": {"plural": "things", "kind": "Thing"},
            "conversion": {"strategy": "Webhook",
                "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": client}},
            "versions": [version("v1", "size", true), version("v2", "length", false)]}})
}

/// Makes objects of both versions, and reads them in the other.
async fn converts(c: &Cluster) {
    let v2 = THINGS.replace("/v1/", "/v2/");
    c.make(THINGS, json!({"metadata": {"name": "a", "labels": {"l": "1"}}, "spec": {"size": 1}})).await;
    let made = c.make(&v2, json!({"metadata": {"name": "b"}, "spec": {"length": 2}})).await;
    assert_eq!((&made["apiVersion"], &made["spec"]), (&json!("example.com/v2"), &json!({"length": 2})));
    let (_, seen) = c.ask("GET", &format!("{THINGS}/b"), Value::Null).await;
    assert_eq!((&seen["apiVersion"], &seen["spec"]), (&json!("example.com/v1"), &json!({"size": 2})));
    let (_, list) = c.ask("GET", &v2, Value::Null).await;
    let lengths: Vec<&Value> =
        list["items"].as_array().unwrap().iter().map(|i| &i["spec"]["length"]).collect();
    assert_eq!(lengths, [&json!(1), &json!(2)]);
    assert_eq!(list["items"][0]["metadata"]["labels"]["l"], "1");
    c.make(THINGS, json!({"metadata": {"name": "c"}, "spec": {"size": 13}})).await;
    let (code, status) = c.ask("GET", &format!("{v2}/c"), Value::Null).await;
    assert_eq!(code, 500);
    assert_eq!(
        status["message"],
        "Internal error occurred: conversion webhook for things.example.com failed: 13 cannot be converted"
    );
}

#[tokio::test]
async fn a_webhook_at_a_url_converts() {
    let c = crate::support::cluster().await;
    let webhook = webhook();
    let url = webhook.listen("convert").await;
    c.make(CRDS, definition(json!({"url": url, "caBundle": webhook.ca}))).await;
    converts(&c).await;
}

#[tokio::test]
async fn a_webhook_that_is_not_trusted_or_not_there_is_named() {
    let c = crate::support::cluster().await;
    c.make(CRDS, definition(json!({"service": {"name": "converter", "namespace": "default"}}))).await;
    c.make(THINGS, json!({"metadata": {"name": "a"}, "spec": {"size": 1}})).await;
    let (code, status) = c.ask("GET", &THINGS.replace("/v1/", "/v2/"), Value::Null).await;
    assert_eq!(code, 500);
    let message = status["message"].as_str().unwrap();
    assert!(message.ends_with("service \"converter\" not found"), "{message}");
}

#[tokio::test]
async fn a_webhook_behind_a_service_is_reached_through_its_node() {
    let webhook = webhook();
    let c = cluster_with(Arc::new(Node(webhook.clone()))).await;
    serve_behind_a_service(&c, "converter").await;
    let service = json!({"name": "converter", "namespace": "default", "path": "/convert"});
    c.make(CRDS, definition(json!({"service": service, "caBundle": webhook.ca}))).await;
    converts(&c).await;
}
