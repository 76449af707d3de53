//! Conversion by a webhook, at a URL and behind a Service.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use dunlin_apiserver::{BoxBody, DialError, NodeDialer};
use dunlin_pki::Authority;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use crate::support::{Cluster, cluster_with, forwarded, pod};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const THINGS: &str = "/apis/example.com/v1/things";

/// A webhook that calls the size a length from `v2` on.
struct Webhook {
    tls: TlsAcceptor,
    ca: String,
}

impl Webhook {
    fn new() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(folder.path(), "webhooks").unwrap();
        let names = ["127.0.0.1".to_owned(), "converter.default.svc".to_owned()];
        let identity = authority.issue_server(&names, Duration::from_secs(3600)).unwrap();
        let config = dunlin_pki::tls::server_config(authority.ca_pem(), &identity, &[b"http/1.1"]).unwrap();
        let ca = base64::engine::general_purpose::STANDARD.encode(authority.ca_pem());
        Arc::new(Self { tls: TlsAcceptor::from(Arc::new(config)), ca })
    }

    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Ok(stream) = self.tls.accept(stream).await else { return };
        let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async {
            let bytes = request.into_body().collect().await?.to_bytes();
            let review: Value = serde_json::from_slice(&bytes).unwrap();
            let body = Full::<bytes::Bytes>::from(convert(&review).to_string());
            Ok::<_, hyper::Error>(http::Response::new(body))
        });
        let _ =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }
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
    let webhook = Webhook::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/convert", listener.local_addr().unwrap());
    let server = webhook.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move { server.serve(stream).await });
        }
    });
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
    assert!(message.ends_with("the service default/converter does not exist"), "{message}");
}

/// A node that forwards port 8443 of every pod to the webhook.
struct Node(Arc<Webhook>);

impl NodeDialer for Node {
    fn call(
        &self,
        node: &str,
        request: http::Request<BoxBody>,
    ) -> BoxFuture<'static, Result<http::Response<BoxBody>, DialError>> {
        assert_eq!(node, "n");
        assert!(request.uri().path().ends_with("/portforward/8443"), "{}", request.uri());
        let (response, theirs) = forwarded(request);
        let webhook = self.0.clone();
        tokio::spawn(async move { webhook.serve(theirs).await });
        Box::pin(async move { Ok(response) })
    }
}

#[tokio::test]
async fn a_webhook_behind_a_service_is_reached_through_its_node() {
    let webhook = Webhook::new();
    let c = cluster_with(Arc::new(Node(webhook.clone()))).await;
    let core = "/api/v1/namespaces/default";
    c.make(&format!("{core}/pods"), pod("w")).await;
    c.ask("POST", &format!("{core}/pods/w/binding"), json!({"target": {"name": "n"}})).await;
    c.make(
        &format!("{core}/services"),
        json!({"metadata": {"name": "converter"}, "spec": {"selector": {"app": "w"},
            "ports": [{"name": "https", "port": 443, "targetPort": 8443}]}}),
    )
    .await;
    c.make(
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        json!({"metadata": {"name": "converter-1", "labels": {"kubernetes.io/service-name": "converter"}},
            "addressType": "IPv4", "ports": [{"name": "https", "port": 8443}],
            "endpoints": [{"addresses": ["10.1.0.5"], "conditions": {"ready": true},
                "targetRef": {"kind": "Pod", "name": "w", "namespace": "default"}}]}),
    )
    .await;
    let service = json!({"name": "converter", "namespace": "default", "path": "/convert"});
    c.make(CRDS, definition(json!({"service": service, "caBundle": webhook.ca}))).await;
    converts(&c).await;
}
