//! A webhook over TLS, at a URL and behind a Service.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
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

use crate::support::{Cluster, forwarded, pod};

/// Answers by path and review.
type Answer = dyn Fn(&str, &Value) -> Value + Send + Sync;

pub struct Webhook {
    tls: TlsAcceptor,
    /// Its authority as a `caBundle`.
    pub ca: String,
    answer: Box<Answer>,
    /// How many connections were made to it.
    pub connections: AtomicUsize,
    /// What it was asked: path, and `request` of the review.
    pub heard: Mutex<Vec<(String, Value)>>,
}

impl Webhook {
    pub fn new(answer: impl Fn(&str, &Value) -> Value + Send + Sync + 'static) -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(folder.path(), "webhooks").unwrap();
        let names = ["127.0.0.1".to_owned(), "converter.default.svc".to_owned()];
        let identity = authority.issue_server(&names, Duration::from_secs(3600)).unwrap();
        let config = dunlin_pki::tls::server_config(authority.ca_pem(), &identity, &[b"http/1.1"]).unwrap();
        let ca = base64::engine::general_purpose::STANDARD.encode(authority.ca_pem());
        Arc::new(Self {
            tls: TlsAcceptor::from(Arc::new(config)),
            ca,
            answer: Box::new(answer),
            connections: AtomicUsize::new(0),
            heard: Mutex::default(),
        })
    }

    /// Listens; gives back the URL of a path.
    pub async fn listen(self: &Arc<Self>, path: &str) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/{path}", listener.local_addr().unwrap());
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let server = server.clone();
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        url
    }

    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        self.connections.fetch_add(1, Ordering::SeqCst);
        let Ok(stream) = self.tls.accept(stream).await else { return };
        let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async {
            let path = request.uri().path().trim_start_matches('/').to_owned();
            let bytes = request.into_body().collect().await?.to_bytes();
            let review: Value = serde_json::from_slice(&bytes).unwrap();
            self.heard.lock().unwrap().push((path.clone(), review["request"].clone()));
            if path == "slow" {
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
            let body = Full::<bytes::Bytes>::from((self.answer)(&path, &review).to_string());
            Ok::<_, hyper::Error>(http::Response::new(body))
        });
        let _ =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }
}

/// A node that forwards port 8443 of every pod to the webhook.
pub struct Node(pub Arc<Webhook>);

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

/// A service that leads to port 8443 of a pod.
pub async fn serve_behind_a_service(c: &Cluster, name: &str) {
    let core = "/api/v1/namespaces/default";
    c.make(&format!("{core}/pods"), pod("w")).await;
    c.ask("POST", &format!("{core}/pods/w/binding"), json!({"target": {"name": "n"}})).await;
    c.make(
        &format!("{core}/services"),
        json!({"metadata": {"name": name}, "spec": {"selector": {"app": "w"},
            "ports": [{"name": "https", "port": 443, "targetPort": 8443}]}}),
    )
    .await;
    c.make(
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        json!({"metadata": {"name": "slice-1", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "ports": [{"name": "https", "port": 8443}],
            "endpoints": [{"addresses": ["10.1.0.5"], "conditions": {"ready": true},
                "targetRef": {"kind": "Pod", "name": "w", "namespace": "default"}}]}),
    )
    .await;
}
