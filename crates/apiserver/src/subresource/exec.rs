//! `exec` and `attach`: a WebSocket towards the client, framed bytes towards the node, and a pump between them.
//!
//! The node is called before the client's connection is switched, so that a refusal is an ordinary answer that kubectl
//! prints. Channels are the same numbers on both sides; only the framing differs.

use bytes::Bytes;
use dunlin_api::stream::{Channel, Decoder, encode, encode_close};
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use crate::config::{BoxBody, BoxError};
use crate::failure::{Failure, Result};
use crate::query;
use crate::reply::{self, Reply};
use crate::server::Call;
use crate::subresource::target::Target;
use crate::subresource::websocket;

/// Pieces on their way to the node; a node that does not read slows the client down.
const PIECES: usize = 16;
/// The largest payload of one frame towards the node.
const FRAME: usize = 32 << 10;
/// The largest message that a client may send.
const MESSAGE: usize = 1 << 20;

pub async fn start(call: Call, mut request: Request<BoxBody>) -> Result<Reply> {
    let target = Target::of(&call).await?;
    let (answer, protocol) = websocket::accept(request.headers())?;
    let sub = call.sub.as_deref().unwrap_or("exec");
    let mut parts: Vec<String> = ["stdin", "stdout", "stderr", "tty"]
        .iter()
        .map(|flag| format!("{flag}={}", call.query.flag(flag)))
        .collect();
    if sub == "exec" {
        let words: Vec<String> =
            call.query.all("command").map(|w| format!("command={}", query::encode(w))).collect();
        if words.is_empty() {
            return Err(Failure::bad_request("you must specify at least 1 command for the container"));
        }
        parts.extend(words);
    }
    let upgrade = request
        .extensions_mut()
        .remove::<OnUpgrade>()
        .ok_or_else(|| Failure::bad_request("this connection cannot be upgraded; streams need HTTP/1.1"))?;
    let (to_node, from_client) = mpsc::channel::<Bytes>(PIECES);
    let body = reply::stream(futures_util::stream::unfold(from_client, |mut receiver| async move {
        receiver.recv().await.map(|piece| (Ok::<_, BoxError>(piece), receiver))
    }));
    let response = target.call(&call, Method::POST, &format!("{sub}?{}", parts.join("&")), body).await?;
    call.server.run(async move {
        match upgrade.await {
            Ok(upgraded) => {
                let config =
                    WebSocketConfig::default().max_message_size(Some(MESSAGE)).max_frame_size(Some(MESSAGE));
                let socket =
                    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config))
                        .await;
                pump(socket, to_node, response.into_body(), protocol == "v5.channel.k8s.io").await;
            }
            Err(error) => tracing::debug!(%error, "upgrading a connection failed"),
        }
    });
    Ok(answer)
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

async fn pump(socket: Socket, to_node: mpsc::Sender<Bytes>, mut from_node: BoxBody, v5: bool) {
    let (mut sink, mut source) = socket.split();
    let upstream = async {
        while let Some(Ok(message)) = source.next().await {
            let data = match message {
                Message::Binary(data) => data,
                Message::Close(_) => break,
                _ => continue,
            };
            let Some((channel, payload)) = data.split_first() else { continue };
            let mut out = Vec::with_capacity(payload.len() + 16);
            match Channel::from_byte(*channel) {
                Some(Channel::Stdin) => {
                    payload.chunks(FRAME).for_each(|p| encode(Channel::Stdin, p, &mut out))
                }
                Some(Channel::Resize) => encode(Channel::Resize, payload, &mut out),
                Some(Channel::Close) if v5 && payload.first() == Some(&Channel::Stdin.byte()) => {
                    encode_close(Channel::Stdin, &mut out);
                }
                _ => continue,
            }
            if out.is_empty() {
                continue;
            }
            if to_node.send(Bytes::from(out)).await.is_err() {
                // The process has ended; its last words are still on their way to the client.
                std::future::pending::<()>().await;
            }
        }
    };
    let downstream = async {
        let mut decoder = Decoder::new();
        while let Some(Ok(piece)) = from_node.frame().await {
            let Ok(data) = piece.into_data() else { continue };
            decoder.push(&data);
            while let Ok(Some(frame)) = decoder.next_frame() {
                let channel = frame.channel;
                if !matches!(channel, Channel::Stdout | Channel::Stderr | Channel::Status) {
                    continue;
                }
                let mut message = Vec::with_capacity(frame.payload.len() + 1);
                message.push(channel.byte());
                message.extend_from_slice(&frame.payload);
                if sink.send(Message::Binary(message.into())).await.is_err() {
                    return;
                }
            }
        }
        // Anything but a normal closure is an error to kubectl, even after the status.
        let end = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let _ = sink.send(Message::Close(Some(end))).await;
        let _ = sink.close().await;
    };
    tokio::select! {
        () = upstream => {}
        () = downstream => {}
    }
}
