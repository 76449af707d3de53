//! `exec` and `attach`: streams towards the client, framed bytes towards the node, and a pump between them.
//!
//! The node is called before the client's connection is switched, so that a refusal is an ordinary answer that kubectl
//! prints.

mod gather;
mod pump;
mod resize;

use bytes::Bytes;
use dunlin_api::stream::Channel;
use http::{Method, Request};
use tokio::sync::mpsc;

use crate::config::{BoxBody, BoxError};
use crate::failure::{Failure, Result};
use crate::query;
use crate::reply::{self, Reply};
use crate::server::Call;
use crate::subresource::exec::gather::Wanted;
use crate::subresource::exec::pump::{Ends, Session};
use crate::subresource::streams::{Sending, WAITING};
use crate::subresource::target::Target;
use crate::subresource::{spdy, upgrade, websocket};

/// What we speak over a WebSocket, best first.
const CHANNELS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// What we speak over SPDY.
const SPDY: [&str; 5] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
/// Pieces on their way to the node; a node that does not read slows the client down.
const PIECES: usize = 16;

pub async fn start(call: Call, mut request: Request<BoxBody>) -> Result<Reply> {
    let target = Target::of(&call).await?;
    let over_spdy = spdy::wanted(request.headers());
    let (answer, protocol) = match over_spdy {
        true => spdy::accept(request.headers(), &SPDY)?,
        false => websocket::accept(request.headers(), &CHANNELS)?,
    };
    if answer.status() != http::StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer);
    }
    let upgrade = upgrade::below(&mut request)?;
    let wanted = Wanted {
        stdin: call.query.flag("stdin"),
        stdout: call.query.flag("stdout"),
        stderr: call.query.flag("stderr") && !call.query.flag("tty"),
        resize: call.query.flag("tty") && !matches!(protocol, "v2.channel.k8s.io" | "channel.k8s.io"),
    };
    let (to_node, from_client) = mpsc::channel::<Bytes>(PIECES);
    let body = reply::stream(futures_util::stream::unfold(from_client, |mut receiver| async move {
        receiver.recv().await.map(|piece| (Ok::<_, BoxError>(piece), receiver))
    }));
    let response = target.call(&call, Method::POST, &tail(&call)?, body).await?;
    let session = Session {
        to_node,
        from_node: response.into_body(),
        node: target.node,
        // Before version 4 the error stream is text for people.
        status: matches!(protocol, "v5.channel.k8s.io" | "v4.channel.k8s.io"),
    };
    let trail = call.trail.clone();
    call.server.run(async move {
        let _held = trail;
        match upgrade.await {
            Ok(upgraded) if over_spdy => {
                let (input, output) = upgrade::bytes(upgraded);
                spdy::serve(input, output, async |mut opened| match gather::all(wanted, &mut opened).await {
                    Some(ends) => session.run(ends).await,
                    None => tracing::debug!("a client did not open the streams of its session"),
                })
                .await;
            }
            Ok(upgraded) => {
                over_channels(websocket::socket(upgraded).await, session, protocol == CHANNELS[0]).await;
            }
            Err(error) => tracing::debug!(%error, "upgrading a connection failed"),
        }
    });
    Ok(answer)
}

/// What the node is asked: the rest of its path, and the query.
fn tail(call: &Call) -> Result<String> {
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
    Ok(format!("{sub}?{}", parts.join("&")))
}

/// The channels are the same numbers towards the client and the node.
async fn over_channels(socket: websocket::Socket, session: Session, ends: bool) {
    let (stdin, from_stdin) = mpsc::channel(WAITING);
    let (resize, from_resize) = mpsc::channel(WAITING);
    let inputs = vec![Some(stdin), None, None, None, Some(resize)];
    websocket::channels(socket, inputs, ends, async |out| {
        let sending = |channel: Channel| Sending::new(u32::from(channel.byte()), out.clone());
        let ends = Ends {
            stdin: Some(from_stdin),
            resize: Some(from_resize),
            stdout: Some(sending(Channel::Stdout)),
            stderr: Some(sending(Channel::Stderr)),
            error: sending(Channel::Status),
        };
        drop(out);
        session.run(ends).await;
    })
    .await;
}
