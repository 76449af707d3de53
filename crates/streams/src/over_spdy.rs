//! SPDY/3.1 towards a client: the upgrade, and the connection as streams.

mod incoming;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use futures_util::{Sink, SinkExt};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tokio::sync::mpsc;

use crate::body::{self, BoxBody};
use crate::refusal::{Refusal, Result};
use crate::spdy::{Encoder, Frame, GoAwayStatus, Headers, RstStatus};
use crate::stream::{self, Sent, Stream, UNSENT};
use crate::upgrade;

/// Streams that may wait for the handler to take them.
const UNTAKEN: usize = 8;
/// Frames are gathered up to so many bytes before they are written.
const BATCH: usize = 64 << 10;

const VERSION: &str = "X-Stream-Protocol-Version";

/// Whether the client asks for it.
pub fn wanted(headers: &HeaderMap) -> bool {
    upgrade::has(headers, header::UPGRADE, "spdy/3.1") && upgrade::has(headers, header::CONNECTION, "upgrade")
}

/// Chooses the first of the client's protocols that is among ours; gives back our answer and the protocol.
pub fn accept(
    headers: &HeaderMap,
    ours: &'static [&'static str],
) -> Result<(Response<BoxBody>, &'static str)> {
    let offered: Vec<&str> = upgrade::words(headers, VERSION);
    if offered.is_empty() {
        return Err(Refusal::bad_request(format!("unable to upgrade: {VERSION} is required")));
    }
    let mut response = Response::new(body::full(""));
    let Some(chosen) = offered.iter().find_map(|o| ours.iter().find(|p| *p == o)) else {
        let text = format!(
            "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {ours:?}"
        );
        return Err(Refusal { accepted: ours, ..Refusal::new(403, "Forbidden", text) });
    };
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(VERSION, HeaderValue::from_static(chosen));
    Ok((response, chosen))
}

/// Serves a connection, of which `input` and `output` are the bytes, until its client is gone or `handler`, which gets
/// the streams that the client opens, is done.
pub async fn serve<I, E, O, H, F>(input: I, output: O, handler: H)
where
    I: futures_util::Stream<Item = std::result::Result<Bytes, E>>,
    O: Sink<Bytes>,
    H: FnOnce(mpsc::Receiver<Stream>) -> F,
    F: Future<Output = ()>,
{
    let (out, unsent) = mpsc::channel(UNSENT);
    let (opened, streams) = mpsc::channel(UNTAKEN);
    let handler = handler(streams);
    let last_words = out.clone();
    let handler = async move {
        handler.await;
        let _ = last_words.send(Sent::Close { broken: false }).await;
    };
    stream::run(incoming::read(input, opened, out), write(output, unsent), handler).await;
}

async fn write<O: Sink<Bytes>>(output: O, mut unsent: mpsc::Receiver<Sent>) {
    let mut output = std::pin::pin!(output);
    let mut encoder = Encoder::new();
    let mut last = 0;
    while let Some(sent) = unsent.recv().await {
        let mut out = Vec::new();
        let mut next = Some(sent);
        let mut broken = false;
        while let Some(sent) = next {
            broken |= matches!(sent, Sent::Close { broken: true });
            encoder.encode(&frame(sent, &mut last), &mut out);
            next = if out.len() < BATCH { unsent.try_recv().ok() } else { None };
        }
        if output.send(Bytes::from(out)).await.is_err() {
            return;
        }
        if broken {
            break;
        }
    }
    let _ = output.close().await;
}

/// What is sent, in SPDY's words. `last` is the highest stream that was taken.
fn frame(sent: Sent, last: &mut u32) -> Frame {
    match sent {
        Sent::Accept(stream) => {
            *last = stream.max(*last);
            Frame::SynReply { stream, fin: false, headers: Headers::default() }
        }
        Sent::Data(stream, payload) => Frame::Data { stream, fin: false, payload },
        Sent::Fin(stream) => Frame::Data { stream, fin: true, payload: Bytes::new() },
        Sent::Refuse(stream) => Frame::RstStream { stream, status: RstStatus::RefusedStream as u32 },
        Sent::Pong(id) => Frame::Ping(id),
        Sent::Close { broken } => {
            let status = if broken { GoAwayStatus::ProtocolError } else { GoAwayStatus::Ok };
            Frame::GoAway { last: *last, status: status as u32 }
        }
    }
}
