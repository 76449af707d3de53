//! Sessions over an upgraded connection, with a node that is made up: whatever kubectl itself does not do.

use std::sync::Arc;

use bytes::Bytes;
use dunlin_api::stream::{Channel, encode};
use dunlin_apiserver::{BoxBody, DialError, NodeDialer, User};
use dunlin_streams::spdy::{Decoder, Encoder, Frame, Headers};
use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::{Cluster, PODS, cluster_with, pod};

/// Ports send back what they get, but 81 refuses and 82 says `bye` and ends; a process says `hi` and is never heard of again.
struct Node;

impl NodeDialer for Node {
    fn call(
        &self,
        _node: &str,
        request: http::Request<BoxBody>,
    ) -> BoxFuture<'static, Result<http::Response<BoxBody>, DialError>> {
        let full = |bytes: Vec<u8>| Full::from(bytes).map_err(|never| match never {}).boxed_unsync();
        let path = request.uri().path().to_owned();
        let response = match path.rsplit('/').next() {
            Some("81") => {
                let body = full(json!({"message": "connection refused"}).to_string().into_bytes());
                http::Response::builder().status(500).body(body).unwrap()
            }
            Some("82") => http::Response::new(full(b"bye".to_vec())),
            Some("exec") => {
                let mut frames = Vec::new();
                encode(Channel::Stdout, b"hi", &mut frames);
                http::Response::new(full(frames))
            }
            _ => http::Response::new(request.into_body()),
        };
        Box::pin(async move { Ok(response) })
    }
}

async fn with_pod() -> Cluster {
    let c = cluster_with(Arc::new(Node)).await;
    c.make(PODS, pod("a")).await;
    c.ask("POST", &format!("{PODS}/a/binding"), json!({"target": {"name": "n"}})).await;
    c
}

type Socket = WebSocketStream<DuplexStream>;

async fn connect(c: &Cluster, tail: &str, protocol: &'static str) -> Result<Socket, Error> {
    connect_as(User::in_process("test"), c, tail, protocol).await
}

async fn connect_as(user: User, c: &Cluster, tail: &str, protocol: &'static str) -> Result<Socket, Error> {
    let (near, far) = tokio::io::duplex(64 << 10);
    let service = TowerToHyperService::new(c.api.clone().as_user(user));
    let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service);
    tokio::spawn(serving.with_upgrades());
    let mut request = format!("ws://api{PODS}/a/{tail}").into_client_request()?;
    request.headers_mut().insert("sec-websocket-protocol", http::HeaderValue::from_static(protocol));
    let (socket, response) = tokio_tungstenite::client_async(request, near).await?;
    assert_eq!(response.headers()["sec-websocket-protocol"], protocol);
    Ok(socket)
}

/// The next message with bytes; nothing at the end.
async fn next(socket: &mut Socket) -> Option<Bytes> {
    loop {
        match socket.next().await?.unwrap() {
            Message::Binary(bytes) => return Some(bytes),
            Message::Close(frame) => assert_eq!(u16::from(frame.unwrap().code), 1000),
            _ => {}
        }
    }
}

async fn refused(c: &Cluster, tail: &str, protocol: &'static str) -> String {
    reason(connect(c, tail, protocol).await)
}

/// Why a connection was refused.
fn reason(result: Result<Socket, Error>) -> String {
    let Err(Error::Http(response)) = result else { panic!("it was not refused") };
    let status: Value = serde_json::from_slice(response.body().as_deref().unwrap_or_default()).unwrap();
    status["message"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn ports_of_the_query_have_channels() {
    let c = with_pod().await;
    let uid = c.ask("GET", &format!("{PODS}/a"), Value::Null).await.1["metadata"]["uid"].clone();
    let refusal =
        format!("error forwarding port 81 to pod a, uid {}: connection refused", uid.as_str().unwrap());
    let mut socket = connect(&c, "portforward?ports=80,81", "v4.channel.k8s.io").await.unwrap();
    let mut seen: Vec<(u8, Vec<u8>)> = Vec::new();
    // Half as bytes and half as text, as clients differ in it.
    socket.send(Message::Binary(Bytes::from_static(b"\0pi"))).await.unwrap();
    socket.send(Message::text("\0ng")).await.unwrap();
    while seen.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() < 12 + refusal.len() {
        let message = next(&mut socket).await.unwrap();
        seen.push((message[0], message[1..].to_vec()));
    }
    // The echo may come in one piece or in two.
    let echo: Vec<u8> = seen.iter().filter(|s| s.0 == 0).flat_map(|s| s.1.clone()).skip(2).collect();
    assert_eq!(echo, b"ping");
    seen.retain(|(channel, bytes)| *channel != 0 || bytes == &[80, 0]);
    seen.sort();
    assert_eq!(
        seen,
        [(0, vec![80, 0]), (1, vec![80, 0]), (2, vec![81, 0]), (3, vec![81, 0]), (3, refusal.into_bytes()),]
    );
}

#[tokio::test]
async fn channels_end_when_every_pod_has() {
    let c = with_pod().await;
    let mut socket = connect(&c, "portforward?ports=82&ports=81", "v4.channel.k8s.io").await.unwrap();
    let mut said = Vec::new();
    while let Some(message) = next(&mut socket).await {
        said.push(message);
    }
    assert!(said.contains(&Bytes::from_static(b"\0bye")), "{said:?}");
}

#[tokio::test]
async fn spdy_travels_inside_of_messages() {
    let c = with_pod().await;
    let mut socket = connect(&c, "portforward", "SPDY/3.1+portforward.k8s.io").await.unwrap();
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let mut out = Vec::new();
    for (stream, kind) in [(1, "error"), (3, "data")] {
        let pairs = [("streamtype", kind), ("port", "80"), ("requestid", "0")];
        let headers = Headers(pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec());
        let (associated, priority, fin, unidirectional) = (0, 0, kind == "error", false);
        encoder.encode(
            &Frame::SynStream { stream, associated, priority, fin, unidirectional, headers },
            &mut out,
        );
    }
    encoder.encode(&Frame::Data { stream: 3, fin: true, payload: Bytes::from_static(b"ping") }, &mut out);
    // However the bytes are cut into messages.
    for piece in out.chunks(7) {
        socket.send(Message::Binary(Bytes::copy_from_slice(piece))).await.unwrap();
    }
    let mut got = Vec::new();
    let mut ended = Vec::new();
    while ended.len() < 2 {
        decoder.push(&next(&mut socket).await.unwrap());
        while let Some(frame) = decoder.next_frame().unwrap() {
            let Frame::Data { stream, fin, payload } = frame else { continue };
            got.extend(payload);
            ended.extend(fin.then_some(stream));
        }
    }
    assert_eq!((got.as_slice(), ended), (&b"ping"[..], vec![3, 1]));
}

#[tokio::test]
async fn a_node_that_is_lost_is_no_success() {
    let c = with_pod().await;
    let mut socket = connect(&c, "exec?command=x&stdout=true", "v4.channel.k8s.io").await.unwrap();
    assert_eq!(next(&mut socket).await.unwrap(), b"\x01hi"[..]);
    let last = next(&mut socket).await.unwrap();
    let status: Value = serde_json::from_slice(&last[1..]).unwrap();
    assert_eq!((last[0], &status["status"]), (3, &json!("Failure")));
    assert!(status["message"].as_str().unwrap().contains("\"n\" was lost"), "{status}");
    assert_eq!(next(&mut socket).await, None);
}

#[tokio::test]
async fn what_cannot_be_agreed_on_is_refused_in_words() {
    let c = with_pod().await;
    let message = refused(&c, "portforward?ports=80", "v9.channel.k8s.io").await;
    assert!(message.contains("unable to negotiate protocol"), "{message}");
    let message = refused(&c, "portforward?ports=http", "v4.channel.k8s.io").await;
    assert_eq!(message, "ports=\"http\" is no number between 1 and 65535");
    let message = refused(&c, "exec?stdout=true", "v5.channel.k8s.io").await;
    assert_eq!(message, "you must specify at least 1 command for the container");
}

#[tokio::test]
async fn the_right_to_get_is_not_enough_to_run_commands() {
    let c = with_pod().await;
    let tail = "exec?command=x&stdout=true";
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let grant = async |name: &str, verbs: Value| {
        let rules = json!([{"apiGroups": [""], "resources": ["pods/exec"], "verbs": verbs}]);
        c.make(&format!("{roles}/roles"), json!({"metadata": {"name": name}, "rules": rules})).await;
        let group = "rbac.authorization.k8s.io";
        let binding = json!({"metadata": {"name": name}, "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": "jane"}]});
        c.make(&format!("{roles}/rolebindings"), binding).await;
    };
    let jane = || User::new("jane", &[]);
    grant("looks", json!(["get"])).await;
    let message = reason(connect_as(jane(), &c, tail, "v5.channel.k8s.io").await);
    assert!(message.contains("cannot create resource \"pods/exec\""), "{message}");
    grant("runs", json!(["create"])).await;
    assert!(connect_as(jane(), &c, tail, "v5.channel.k8s.io").await.is_ok());
}
