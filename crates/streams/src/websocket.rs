//! WebSockets (RFC 6455) towards a client: the handshake over HTTP/1.1, and the two ways in which Kubernetes uses them.
//!
//! Either the first byte of a message is a channel (`v4.channel.k8s.io` and its kin), or the messages carry the bytes of
//! a SPDY connection (`SPDY/3.1+...`).

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::body::{self, BoxBody};
use crate::refusal::{Refusal, Result};
use crate::stream::{self, Piece, Sent, UNSENT};
use crate::upgrade;

/// The largest message that a client may send, in bytes.
const MESSAGE: usize = 1 << 20;
/// The largest piece that is passed on, in bytes.
const PIECE: usize = 32 << 10;
/// The channel of a message that ends another channel (version 5).
const CLOSE: u8 = 255;
/// How long nothing is said on a new connection. client-go before 1.34 throws away what comes before it has made its
/// streams (kubernetes/kubernetes#131189), and a short command has said everything by then.
const HEAD_START: Duration = Duration::from_millis(50);

/// A connection that speaks WebSocket.
pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Whether the client asks for it.
pub fn wanted(headers: &HeaderMap) -> bool {
    upgrade::has(headers, header::UPGRADE, "websocket")
        && upgrade::has(headers, header::CONNECTION, "upgrade")
}

/// Chooses the first of `ours` that the client offers; gives back our answer and the protocol.
pub fn accept(headers: &HeaderMap, ours: &[&'static str]) -> Result<(Response<BoxBody>, &'static str)> {
    let offered = upgrade::words(headers, header::SEC_WEBSOCKET_PROTOCOL);
    let chosen = ours.iter().find(|p| offered.contains(p)).ok_or_else(|| {
        Refusal::bad_request(format!(
            "unable to negotiate protocol: client supports {offered:?}, server supports {ours:?}"
        ))
    })?;
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or_else(|| Refusal::bad_request("Sec-WebSocket-Key is missing"))?;
    let accept = derive_accept_key(key.as_bytes());
    let mut response = Response::new(body::full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(chosen));
    out.insert(header::SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&accept).map_err(Refusal::internal)?);
    Ok((response, chosen))
}

/// The server's end of an upgraded connection.
pub async fn socket(upgraded: Upgraded) -> Socket {
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE)).max_frame_size(Some(MESSAGE));
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await
}

/// The bytes that travel inside of messages.
pub fn tunnel(
    socket: Socket,
) -> (impl Stream<Item = std::result::Result<Bytes, Error>>, impl Sink<Bytes, Error = Error>) {
    let (sink, source) = socket.split();
    let source = source.filter_map(async |message| match message {
        Ok(Message::Binary(data)) => Some(Ok(data)),
        // The end of the stream follows.
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    });
    (Box::pin(source), sink.with(async |bytes| Ok(Message::Binary(bytes))))
}

/// Serves channels until the client is gone or the handler is done. `inputs` are those that the client may write to, by
/// number; with `ends` it may end one (version 5), else only the whole.
pub async fn channels<S, H, F>(
    socket: WebSocketStream<S>,
    inputs: Vec<Option<mpsc::Sender<Piece>>>,
    ends: bool,
    handler: H,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    H: FnOnce(mpsc::Sender<Sent>) -> F,
    F: Future<Output = ()>,
{
    let (mut sink, mut source) = socket.split();
    let (out, mut unsent) = mpsc::channel(UNSENT);
    let reading = async move {
        let mut inputs = inputs;
        while let Some(Ok(message)) = source.next().await {
            let mut data = match message {
                Message::Binary(data) => data,
                // The Python client sends what is typed as text.
                Message::Text(text) => Bytes::from(text),
                Message::Close(_) => break,
                _ => continue,
            };
            if data.is_empty() {
                continue;
            }
            let channel = data.split_to(1)[0];
            if ends && channel == CLOSE {
                let ended = data.first().and_then(|n| inputs.get_mut(usize::from(*n))).and_then(Option::take);
                if let Some(ended) = ended {
                    let _ = ended.send(Piece::Fin).await;
                }
                continue;
            }
            let Some(Some(input)) = inputs.get(usize::from(channel)) else { continue };
            while !data.is_empty() {
                let piece = data.split_to(data.len().min(PIECE));
                if input.send(Piece::Data(piece)).await.is_err() {
                    // Nobody wants it any more; the client may still be listening.
                    break;
                }
            }
        }
    };
    let writing = async move {
        tokio::time::sleep(HEAD_START).await;
        while let Some(sent) = unsent.recv().await {
            let Sent::Data(channel, bytes) = sent else { continue };
            let mut message = Vec::with_capacity(bytes.len() + 1);
            message.push(u8::try_from(channel).expect("channels are numbered in one byte"));
            message.extend_from_slice(&bytes);
            if sink.send(Message::Binary(message.into())).await.is_err() {
                return;
            }
        }
        // Anything but a normal closure is an error to kubectl, even after the status.
        let end = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let _ = sink.send(Message::Close(Some(end))).await;
    };
    stream::run(reading, writing, handler(out)).await;
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::stream::Sending;

    #[tokio::test(start_paused = true)]
    async fn a_client_has_a_moment_to_get_ready_and_then_hears_everything() {
        let (near, far) = tokio::io::duplex(4096);
        let server = WebSocketStream::from_raw_socket(near, Role::Server, None).await;
        let mut client = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
        let begun = Instant::now();
        let session = channels(server, Vec::new(), true, async |out| {
            let _ = Sending::new(1, out).data(Bytes::from_static(b"said at once")).await;
        });
        let listening = async {
            let first = client.next().await.expect("a message").expect("a good one");
            assert!(begun.elapsed() >= HEAD_START, "said after {:?}", begun.elapsed());
            assert_eq!(first.into_data(), "\x01said at once");
            let last = client.next().await.expect("a message").expect("a good one");
            assert!(last.is_close());
        };
        tokio::join!(session, listening);
    }
}
