//! `exec` and `attach`: streams towards the client, framed bytes towards the node, and a pump between them.
//!
//! The node is called before the client's connection is switched, so that a refusal is an ordinary answer that kubectl
//! prints.

mod gather;
mod pump;
mod resize;

use std::sync::Arc;

use bytes::Bytes;
use dunlin_api::query::encode;
use dunlin_api::stream::Channel;
use http::Request;
use tokio::sync::mpsc;

use crate::body::{self, BoxBody};
use crate::exec::gather::Wanted;
use crate::exec::pump::{Ends, Session};
use crate::refusal::{Refusal, Result};
use crate::stream::{Sending, WAITING};
use crate::{Far, Started, over_spdy, upgrade, websocket};

/// What we speak over a WebSocket, best first.
const CHANNELS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// What we speak over SPDY.
const SPDY: [&str; 5] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
/// Pieces on their way to the node; a node that does not read slows the client down.
const PIECES: usize = 16;

/// What the client asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// `None` attaches to the container's first process.
    pub command: Option<Vec<String>>,
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error; a terminal has none of its own.
    pub stderr: bool,
    /// With a terminal.
    pub tty: bool,
}

/// Calls the node and answers the client.
///
/// # Errors
/// When the client speaks nothing that we do, asks for what cannot be, or the node refuses.
pub async fn start(asked: Asked, far: Arc<dyn Far>, request: &mut Request<BoxBody>) -> Result<Started> {
    let over_spdy = over_spdy::wanted(request.headers());
    let (answer, protocol) = match over_spdy {
        true => over_spdy::accept(request.headers(), &SPDY)?,
        false => websocket::accept(request.headers(), &CHANNELS)?,
    };
    let upgrade = upgrade::below(request)?;
    let wanted = Wanted {
        stdin: asked.stdin,
        stdout: asked.stdout,
        stderr: asked.stderr && !asked.tty,
        resize: asked.tty && !matches!(protocol, "v2.channel.k8s.io" | "channel.k8s.io"),
    };
    let (to_node, from_client) = mpsc::channel::<Bytes>(PIECES);
    let response = far.call(tail(&asked)?, body::channel(from_client)).await?;
    let session = Session {
        to_node,
        from_node: response.into_body(),
        node: far.node().to_owned(),
        // Before version 4 the error stream is text for people.
        status: matches!(protocol, "v5.channel.k8s.io" | "v4.channel.k8s.io"),
    };
    let session = async move {
        match upgrade.await {
            Ok(upgraded) if over_spdy => {
                let (input, output) = upgrade::bytes(upgraded);
                over_spdy::serve(input, output, async |mut opened| {
                    match gather::all(wanted, &mut opened).await {
                        Some(ends) => session.run(ends).await,
                        None => tracing::debug!("a client did not open the streams of its session"),
                    }
                })
                .await;
            }
            Ok(upgraded) => {
                over_channels(websocket::socket(upgraded).await, session, protocol == CHANNELS[0]).await;
            }
            Err(error) => tracing::debug!(%error, "upgrading a connection failed"),
        }
    };
    Ok(Started { answer, session: Box::pin(session) })
}

/// What the node is asked: the rest of its path, and the query.
fn tail(asked: &Asked) -> Result<String> {
    let Asked { command, stdin, stdout, stderr, tty } = asked;
    let flags = format!("stdin={stdin}&stdout={stdout}&stderr={stderr}&tty={tty}");
    match command {
        None => Ok(format!("attach?{flags}")),
        Some(words) if words.is_empty() => {
            Err(Refusal::bad_request("you must specify at least 1 command for the container"))
        }
        Some(words) => {
            let words: String = words.iter().map(|word| format!("&command={}", encode(word))).collect();
            Ok(format!("exec?{flags}{words}"))
        }
    }
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
