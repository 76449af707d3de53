//! A server with everything bootstrapped, and a few words for asking it.

use std::sync::Arc;

use dunlin_apiserver::{ApiServer, BoxBody, BoxError, Config, NoNodes, NodeDialer, StaticToken, User};
use dunlin_pki::jwt::Issuer;
use dunlin_store::memory::MemoryStore;
use futures_util::{StreamExt, TryStreamExt};
use http_body_util::{BodyDataStream, BodyExt, Full, StreamBody};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_util::io::{ReaderStream, StreamReader};
use tower::ServiceExt;

pub struct Cluster {
    pub api: ApiServer,
    _dir: tempfile::TempDir,
}

pub async fn cluster() -> Cluster {
    cluster_with(Arc::new(NoNodes)).await
}

/// One whose nodes are reached by `dialer`.
pub async fn cluster_with(dialer: Arc<dyn NodeDialer>) -> Cluster {
    cluster_of(|config| config.dialer = dialer).await
}

/// One that is made as `change` wants it.
pub async fn cluster_of(change: impl FnOnce(&mut Config)) -> Cluster {
    let dir = tempfile::tempdir().unwrap();
    let issuer = Arc::new(Issuer::open_or_create(dir.path(), "https://issuer").unwrap());
    let mut config =
        Config::new(Arc::new(MemoryStore::new()), issuer, "https://issuer", "CA", Arc::new(NoNodes));
    config.tokens.push(StaticToken { token: "janes-token".into(), user: User::new("jane", &["people"]) });
    change(&mut config);
    let api = ApiServer::new(config);
    api.bootstrap().await.unwrap();
    Cluster { api, _dir: dir }
}

impl Cluster {
    pub async fn send(&self, request: http::Request<Full<bytes::Bytes>>) -> http::Response<BoxBody> {
        self.api.clone().oneshot(request).await.unwrap()
    }

    /// Asks as an administrator.
    pub async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.ask_as(Some(User::in_process("test")), method, path, body, "application/json").await
    }

    pub async fn ask_as(
        &self,
        user: Option<User>,
        method: &str,
        path: &str,
        body: Value,
        content_type: &str,
    ) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .body(Full::from(body))
            .unwrap();
        if let Some(user) = user {
            request.extensions_mut().insert(user);
        }
        let reply = self.send(request).await;
        let code = reply.status().as_u16();
        let bytes = reply.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes))))
    }

    pub async fn make(&self, path: &str, body: Value) -> Value {
        let (code, value) = self.ask("POST", path, body).await;
        assert_eq!(code, 201, "{value}");
        value
    }
}

/// A forwarded port as a node answers for it: the answer, and the end of the connection that the pod would have.
pub fn forwarded(request: http::Request<BoxBody>) -> (http::Response<BoxBody>, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(4096);
    let (from, mut to) = tokio::io::split(ours);
    let body = BodyDataStream::new(request.into_body()).map_err(std::io::Error::other);
    tokio::spawn(async move {
        let mut body = StreamReader::new(body);
        let mut piece = [0; 1024];
        while let Ok(n @ 1..) = body.read(&mut piece).await {
            if to.write_all(&piece[..n]).await.is_err() {
                return;
            }
        }
    });
    let answer =
        ReaderStream::new(from).map(|piece| piece.map(hyper::body::Frame::data).map_err(BoxError::from));
    (http::Response::new(StreamBody::new(answer).boxed_unsync()), theirs)
}

pub fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

pub const PODS: &str = "/api/v1/namespaces/default/pods";
