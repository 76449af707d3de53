//! Whole requests: to the API server, and through the tunnel to a node.
//!
//! The first line is the method and the path with its query, the second the content type, the rest the body.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use dunlin_apiserver::{ApiServer, Config, NoNodes, User};
use dunlin_node::{
    Connection, ContainerRef, ExecOptions, LogOptions, NodeService, PodBackend, PodEvent, PodRef, ServeError,
    Session,
};
use dunlin_pki::jwt::Issuer;
use dunlin_store::memory::MemoryStore;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::sync::mpsc;
use tower::ServiceExt;

fn parse(data: &[u8]) -> Option<Request<Full<Bytes>>> {
    let mut parts = data.splitn(3, |b| *b == b'\n');
    let (method, uri) = std::str::from_utf8(parts.next()?).ok()?.split_once(' ')?;
    let content_type = std::str::from_utf8(parts.next()?).ok()?;
    let body = Full::from(parts.next()?.to_vec());
    Request::builder().method(method).uri(uri).header("content-type", content_type).body(body).ok()
}

/// A fresh server with one ConfigMap and one Deployment, so that every input means the same each time.
async fn server() -> ApiServer {
    static ISSUER: OnceLock<Arc<Issuer>> = OnceLock::new();
    let issuer = ISSUER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        Arc::new(Issuer::open_or_create(folder.path(), "https://issuer").expect("an issuer"))
    });
    let store = Arc::new(MemoryStore::new());
    let api = ApiServer::new(Config::new(store, issuer.clone(), "https://issuer", "CA", Arc::new(NoNodes)));
    api.bootstrap().await.expect("an empty store takes the first objects");
    for (path, body) in [
        ("/api/v1/namespaces/default/configmaps", r#"{"metadata":{"name":"m"},"data":{"a":"1"}}"#),
        (
            "/apis/apps/v1/namespaces/default/deployments",
            r#"{"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}"#,
        ),
    ] {
        let text = format!("POST {path}\napplication/json\n{body}");
        let made = send(&api, parse(text.as_bytes()).expect("a request")).await;
        assert_eq!(made, StatusCode::CREATED, "{path}");
    }
    api
}

async fn send(api: &ApiServer, mut request: Request<Full<Bytes>>) -> StatusCode {
    request.extensions_mut().insert(User::in_process("fuzz"));
    let Ok(reply) = api.clone().oneshot(request).await;
    let status = reply.status();
    let mut body = reply.into_body();
    // A watch has no end: what is there at once is enough.
    while let Some(Some(Ok(_))) = body.frame().now_or_never() {}
    status
}

/// No request of a client is an internal error of the server.
pub fn api(data: &[u8]) {
    let Some(request) = parse(data) else { return };
    crate::wait_for(async {
        let status = send(&server().await, request).await;
        assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR);
    });
}

/// A node's pods, none of which has anything to say.
struct Silent;

fn session() -> Session {
    let (input, _) = mpsc::channel(1);
    let (_, output) = mpsc::channel(1);
    Session { input, output }
}

impl PodBackend for Silent {
    fn pod_event(&self, _: PodEvent) {}

    fn logs(
        &self,
        _: ContainerRef,
        _: LogOptions,
    ) -> BoxFuture<'_, Result<mpsc::Receiver<Bytes>, ServeError>> {
        ready(Ok(mpsc::channel(1).1)).boxed()
    }

    fn exec(&self, _: ContainerRef, options: ExecOptions) -> BoxFuture<'_, Result<Session, ServeError>> {
        assert!(!options.command.is_empty(), "an exec has a command");
        ready(Ok(session())).boxed()
    }

    fn attach(&self, _: ContainerRef, _: ExecOptions) -> BoxFuture<'_, Result<Session, ServeError>> {
        ready(Ok(session())).boxed()
    }

    fn port_forward(&self, _: PodRef, _: u16) -> BoxFuture<'_, Result<Connection, ServeError>> {
        let (ours, _) = tokio::io::duplex(64);
        ready(Ok(Box::new(ours) as Connection)).boxed()
    }
}

/// The node's service, as the server's end of the tunnel calls it.
pub fn node(data: &[u8]) {
    let Some(request) = parse(data) else { return };
    crate::wait_for(async {
        let request = request.map(|body| body.map_err(|never| match never {}).boxed_unsync());
        let reply = NodeService::new(Arc::new(Silent)).handle(request).await;
        assert_ne!(reply.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = tokio::time::timeout(std::time::Duration::from_secs(5), reply.into_body().collect());
        assert!(body.await.is_ok(), "a session whose process is gone ends");
    });
}
