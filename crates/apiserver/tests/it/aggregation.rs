//! An extension server: HTTPS that believes only who shows the front proxy's certificate, and serves a kind of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use dunlin_apiserver::{BoxBody, DialError, NodeDialer, User};
use dunlin_pki::{Authority, Peer};
use futures_util::future::BoxFuture;
use futures_util::stream;
use http::header;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::support::{Cluster, cluster_of, forwarded, pod};

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const FLUNDERS: &str = "/apis/wardle.example.com/v1/flunders";

type Answer = http::Response<http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>>;

struct Extension {
    tls: TlsAcceptor,
    ca: String,
    connections: AtomicUsize,
}

impl Extension {
    /// Believes clients of `proxies`.
    fn new(proxies: &str) -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(folder.path(), "extension").unwrap();
        let names = ["wardle.default.svc".to_owned()];
        let identity = authority.issue_server(&names, Duration::from_secs(3600)).unwrap();
        let config = dunlin_pki::tls::server_config(proxies, &identity, &[b"http/1.1"]).unwrap();
        let ca = base64::engine::general_purpose::STANDARD.encode(authority.ca_pem());
        let tls = TlsAcceptor::from(Arc::new(config));
        Arc::new(Self { tls, ca, connections: AtomicUsize::new(0) })
    }

    async fn serve(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Ok(stream) = self.tls.accept(stream).await else { return };
        self.connections.fetch_add(1, Ordering::SeqCst);
        let chain = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
        let believed =
            chain.first().is_some_and(|leaf| Peer::read(leaf).unwrap().subject.user == "front-proxy-client");
        let service = hyper::service::service_fn(move |request| async move {
            Ok::<_, std::io::Error>(answer(request, believed))
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let _ = connection.with_upgrades().await;
    }

    /// Listens, and gives the port.
    async fn listen(self: &Arc<Self>) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(own.clone().serve(stream));
            }
        });
        port
    }
}

fn full(code: u16, value: &Value) -> Answer {
    let body = Full::<Bytes>::from(value.to_string()).map_err(|never| match never {}).boxed_unsync();
    http::Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}

fn answer(mut request: http::Request<Incoming>, believed: bool) -> Answer {
    if !believed {
        return full(401, &json!({"message": "who are you?"}));
    }
    let told = |name: &str| -> Vec<String> {
        request.headers().get_all(name).iter().map(|v| v.to_str().unwrap().to_owned()).collect()
    };
    let (user, groups) = (told("x-remote-user"), told("x-remote-group"));
    match (request.uri().path(), request.uri().query().unwrap_or("")) {
        ("/apis/wardle.example.com/v1", _) => full(
            200,
            &json!({"kind": "APIResourceList", "groupVersion": "wardle.example.com/v1", "resources": [
                {"name": "flunders", "singularName": "flunder", "namespaced": false, "kind": "Flunder",
                 "verbs": ["get", "list", "watch"], "shortNames": ["fl"]}]}),
        ),
        ("/openapi/v3", _) => full(
            200,
            &json!({"paths": {"apis/wardle.example.com/v1":
                {"serverRelativeURL": "/openapi/v3/apis/wardle.example.com/v1?hash=ABC"}}}),
        ),
        ("/openapi/v3/apis/wardle.example.com/v1", query) => {
            full(200, &json!({"openapi": "3.0.0", "asked": query}))
        }
        (FLUNDERS, query) if query.contains("watch") => {
            let events = (0..3).map(|i| {
                let line = format!("{}\n", json!({"type": "ADDED", "object": {"n": i}}));
                Ok(Frame::data(Bytes::from(line)))
            });
            // It says three things and then nothing, without an end.
            let body = stream::StreamExt::chain(stream::iter(events), stream::pending());
            http::Response::new(StreamBody::new(body).boxed_unsync())
        }
        (FLUNDERS, _) => full(
            200,
            &json!({"kind": "FlunderList", "user": user, "groups": groups,
                "authorization": told("authorization"), "method": request.method().as_str()}),
        ),
        ("/apis/wardle.example.com/v1/flunders/x/moved", _) => {
            let mut moved = full(302, &Value::Null);
            moved.headers_mut().insert(header::LOCATION, http::HeaderValue::from_static("http://elsewhere/"));
            moved
        }
        ("/apis/wardle.example.com/v1/flunders/x/talk", _) => {
            let below = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(below.await.unwrap());
                let mut piece = [0; 4];
                stream.read_exact(&mut piece).await.unwrap();
                piece.reverse();
                stream.write_all(&piece).await.unwrap();
                stream.shutdown().await.unwrap();
            });
            let mut reply = full(101, &Value::Null);
            *reply.body_mut() = Full::<Bytes>::default().map_err(|never| match never {}).boxed_unsync();
            reply.headers_mut().insert(header::CONNECTION, http::HeaderValue::from_static("Upgrade"));
            reply.headers_mut().insert(header::UPGRADE, http::HeaderValue::from_static("talk"));
            reply
        }
        _ => full(404, &json!({"message": "not here"})),
    }
}

struct Front {
    authority: Arc<Authority>,
    _folder: tempfile::TempDir,
}

fn front() -> Front {
    let folder = tempfile::tempdir().unwrap();
    let authority = Arc::new(Authority::open_or_create(folder.path(), "front").unwrap());
    Front { authority, _folder: folder }
}

fn registration(port: u16, ca: Value) -> Value {
    json!({"metadata": {"name": "v1.wardle.example.com"},
        "spec": {"group": "wardle.example.com", "version": "v1", "groupPriorityMinimum": 17_790,
            "versionPriority": 10, "caBundle": ca,
            "service": {"name": "wardle", "namespace": "default", "port": port}}})
}

/// The condition, once it has another reason than `before`.
async fn verdict(c: &Cluster, before: &str) -> Value {
    for _ in 0..600 {
        let (_, object) = c.ask("GET", &format!("{SERVICES}/v1.wardle.example.com"), Value::Null).await;
        let found = &object["status"]["conditions"][0];
        if found["reason"].as_str().is_some_and(|reason| reason != before) {
            return found.clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the extension server was not judged anew after {before:?}");
}

/// A cluster with an extension server at a name outside.
async fn extended() -> (Cluster, Arc<Extension>, Front) {
    let front = front();
    let signer = front.authority.clone();
    let c = cluster_of(|config| config.front_proxy = Some(signer)).await;
    // What an extension server written with Kubernetes' library reads.
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let (_, told) = c.ask("GET", path, Value::Null).await;
    let extension = Extension::new(told["data"]["requestheader-client-ca-file"].as_str().unwrap());
    let port = extension.listen().await;
    let service = json!({"metadata": {"name": "wardle"}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
    c.make("/api/v1/namespaces/default/services", service).await;
    c.make(SERVICES, registration(port, json!(extension.ca))).await;
    assert_eq!(verdict(&c, "").await["message"], "all checks passed");
    (c, extension, front)
}

#[tokio::test]
async fn an_extension_server_answers_for_its_group() {
    let (c, extension, _front) = extended().await;
    let jane = Some(User::new("jane", &["system:masters"]));
    let (code, list) = c.ask_as(jane, "GET", FLUNDERS, Value::Null, "application/json").await;
    assert_eq!((code, &list["user"]), (200, &json!(["jane"])), "{list}");
    assert_eq!(list["groups"], json!(["system:masters", "system:authenticated"]));
    // Connections are used again.
    let before = extension.connections.load(Ordering::SeqCst);
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(c.ask("POST", FLUNDERS, json!({"a": "b"})).await.1["method"], "POST");
    }
    assert!(extension.connections.load(Ordering::SeqCst) < before + 20);
    // Its own refusals are its own.
    let (code, text) = c.ask("GET", "/apis/wardle.example.com/v1/nothing", Value::Null).await;
    assert_eq!((code, &text["message"]), (404, &json!("not here")));
    let (code, text) = c.ask("GET", "/apis/wardle.example.com/v1/flunders/x/moved", Value::Null).await;
    assert_eq!(code, 502);
    assert!(text.as_str().unwrap().contains("redirect"), "{text}");
}

#[tokio::test]
async fn who_asks_is_known_and_has_the_right() {
    let (c, _extension, _front) = extended().await;
    let ask = |user: Option<User>, headers: &[(&str, &str)]| {
        let mut request = http::Request::get(FLUNDERS);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Full::default()).unwrap();
        if let Some(user) = user {
            request.extensions_mut().insert(user);
        }
        c.send(request)
    };
    assert_eq!(ask(None, &[("x-remote-user", "root")]).await.status(), 401);
    assert_eq!(ask(None, &[("authorization", "Bearer janes-token")]).await.status(), 403);
    c.make(
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        json!({"metadata": {"name": "flunders"},
            "rules": [{"verbs": ["list"], "apiGroups": ["wardle.example.com"], "resources": ["flunders"]}]}),
    )
    .await;
    c.make(
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        json!({"metadata": {"name": "flunders"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "flunders"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]}),
    )
    .await;
    let reply = ask(
        None,
        &[
            ("authorization", "Bearer janes-token"),
            ("x-remote-user", "root"),
            ("x-remote-group", "system:masters"),
        ],
    )
    .await;
    assert_eq!(reply.status(), 200);
    let told: Value = serde_json::from_slice(&reply.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(told["user"], json!(["jane"]));
    assert_eq!(told["groups"], json!(["people", "system:authenticated"]));
    assert_eq!(told["authorization"], json!([]));
}

#[tokio::test]
async fn what_it_serves_is_discovered_in_its_place() {
    let (c, _extension, _front) = extended().await;
    let (_, list) = c.ask("GET", "/apis", Value::Null).await;
    let names: Vec<&str> =
        list["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
    // By priority: above events, below apps.
    assert_eq!(names[..4], ["apiregistration.k8s.io", "apps", "wardle.example.com", "events.k8s.io"]);
    let (_, group) = c.ask("GET", "/apis/wardle.example.com", Value::Null).await;
    assert_eq!(group["preferredVersion"]["groupVersion"], "wardle.example.com/v1");
    let request = http::Request::get("/apis")
        .header("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
        .extension(User::in_process("test"))
        .body(Full::default())
        .unwrap();
    let bytes = c.send(request).await.into_body().collect().await.unwrap().to_bytes();
    let all: Value = serde_json::from_slice(&bytes).unwrap();
    let own = all["items"].as_array().unwrap().iter().find(|i| i["metadata"]["name"] == "wardle.example.com");
    let version = &own.unwrap()["versions"][0];
    assert_eq!(
        (&version["freshness"], &version["resources"][0]["resource"]),
        (&json!("Current"), &json!("flunders"))
    );
    let (_, index) = c.ask("GET", "/openapi/v3", Value::Null).await;
    let url = index["paths"]["apis/wardle.example.com/v1"]["serverRelativeURL"].as_str().unwrap();
    assert_eq!(c.ask("GET", url, Value::Null).await.1["asked"], "hash=ABC");
    let (_, all) = c.ask("GET", "/apis/apiregistration.k8s.io/v1/apiservices/v1.apps", Value::Null).await;
    assert_eq!(all["status"]["conditions"][0]["reason"], "Local");
}

#[tokio::test]
async fn watches_and_upgrades_pass() {
    let (c, _extension, _front) = extended().await;
    let request = http::Request::get(format!("{FLUNDERS}?watch=true"))
        .extension(User::in_process("test"))
        .body(Full::default())
        .unwrap();
    let mut body = c.send(request).await.into_body();
    let mut seen = Vec::new();
    // The answer has no end: what was said comes all the same.
    while String::from_utf8_lossy(&seen).lines().count() < 3 {
        seen.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
    }
    drop(body);
    let (near, far) = tokio::io::duplex(64 << 10);
    let service = TowerToHyperService::new(c.api.clone().as_user(User::in_process("test")));
    let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service);
    tokio::spawn(serving.with_upgrades());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let request = http::Request::post("/apis/wardle.example.com/v1/flunders/x/talk")
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "talk")
        .body(Full::<Bytes>::default())
        .unwrap();
    let reply = sender.send_request(request).await.unwrap();
    assert_eq!((reply.status().as_u16(), reply.headers()[header::UPGRADE].to_str().unwrap()), (101, "talk"));
    let mut stream = TokioIo::new(hyper::upgrade::on(reply).await.unwrap());
    stream.write_all(b"abcd").await.unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await.unwrap();
    assert_eq!(back, b"dcba");
}

#[tokio::test]
async fn one_that_cannot_be_trusted_or_is_away_is_unavailable() {
    let (c, extension, front) = extended().await;
    let path = format!("{SERVICES}/v1.wardle.example.com");
    let merge = "application/merge-patch+json";
    let admin = || Some(User::in_process("test"));
    // Another authority than the one that signed its certificate.
    let other = Extension::new(front.authority.ca_pem());
    let patch = json!({"spec": {"caBundle": other.ca}});
    c.ask_as(admin(), "PATCH", &path, patch, merge).await;
    let found = verdict(&c, "Passed").await;
    assert_eq!((&found["status"], &found["reason"]), (&json!("False"), &json!("FailedDiscoveryCheck")));
    let (code, text) = c.ask("GET", FLUNDERS, Value::Null).await;
    assert_eq!((code, text), (503, json!("service unavailable\n")));
    // It is listed all the same, as Kubernetes does, and is back when it is trusted again.
    let patch = json!({"spec": {"caBundle": null, "insecureSkipTLSVerify": true}});
    c.ask_as(admin(), "PATCH", &path, patch, merge).await;
    assert_eq!(verdict(&c, "FailedDiscoveryCheck").await["status"], "True");
    assert_eq!(c.ask("GET", FLUNDERS, Value::Null).await.0, 200);
    drop(extension);
    c.ask("DELETE", "/api/v1/namespaces/default/services/wardle", Value::Null).await;
    let found = verdict(&c, "Passed").await;
    assert_eq!(found["message"], "service/wardle in \"default\" is not present");
    c.ask("DELETE", &path, Value::Null).await;
    assert_eq!(c.ask("GET", FLUNDERS, Value::Null).await.0, 404);
}

/// A node that forwards every port of every pod to the extension server.
struct Node(std::sync::OnceLock<Arc<Extension>>);

impl NodeDialer for Node {
    fn call(
        &self,
        node: &str,
        request: http::Request<BoxBody>,
    ) -> BoxFuture<'static, Result<http::Response<BoxBody>, DialError>> {
        assert!(node == "n" && request.uri().path().ends_with("/portforward/8443"), "{}", request.uri());
        let (response, theirs) = forwarded(request);
        tokio::spawn(self.0.get().unwrap().clone().serve(theirs));
        Box::pin(async move { Ok(response) })
    }
}

#[tokio::test]
async fn one_in_a_pod_is_reached_through_its_node() {
    let front = front();
    let node = Arc::new(Node(std::sync::OnceLock::new()));
    let signer = front.authority.clone();
    let dialer = node.clone();
    let c = cluster_of(|config| (config.dialer, config.front_proxy) = (dialer, Some(signer))).await;
    let extension = Extension::new(front.authority.ca_pem());
    let _ = node.0.set(extension.clone());
    let core = "/api/v1/namespaces/default";
    c.make(
        &format!("{core}/services"),
        json!({"metadata": {"name": "wardle"}, "spec": {"selector": {"app": "w"},
            "ports": [{"name": "https", "port": 443, "targetPort": 8443}]}}),
    )
    .await;
    c.make(SERVICES, registration(443, json!(extension.ca))).await;
    assert_eq!(verdict(&c, "").await["reason"], "EndpointsNotFound");
    c.make(&format!("{core}/pods"), pod("w")).await;
    c.ask("POST", &format!("{core}/pods/w/binding"), json!({"target": {"name": "n"}})).await;
    let slice = |ready: bool| {
        json!({"metadata": {"name": "wardle-1", "labels": {"kubernetes.io/service-name": "wardle"}},
            "addressType": "IPv4", "ports": [{"name": "https", "port": 8443}],
            "endpoints": [{"addresses": ["10.1.0.5"], "conditions": {"ready": ready},
                "targetRef": {"kind": "Pod", "name": "w", "namespace": "default"}}]})
    };
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    c.make(slices, slice(false)).await;
    assert_eq!(verdict(&c, "EndpointsNotFound").await["reason"], "MissingEndpoints");
    c.ask("PUT", &format!("{slices}/wardle-1"), slice(true)).await;
    assert_eq!(verdict(&c, "MissingEndpoints").await["reason"], "Passed");
    assert_eq!(c.ask("GET", FLUNDERS, Value::Null).await.1["kind"], "FlunderList");
}
