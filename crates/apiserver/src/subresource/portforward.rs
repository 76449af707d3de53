//! `portforward`: each of the client's connections is one call of the node, raw bytes both ways.
//!
//! kubectl opens two SPDY streams for each connection, one for the data and one for an error, by itself or inside of a
//! WebSocket. Other clients name the ports in the query and have two channels of a WebSocket for each, for one
//! connection. A connection that fails is told on its own error stream; the others go on.

mod channels;
mod connection;
mod pair;
mod spdy;

use std::sync::Arc;

use http::Request;

use crate::config::BoxBody;
use crate::failure::Result;
use crate::reply::Reply;
use crate::server::Call;
use crate::subresource::portforward::connection::Pod;
use crate::subresource::target::Target;
use crate::subresource::{spdy as over_spdy, upgrade, websocket};

/// The name of the protocol over SPDY.
const PORTFORWARD: &str = "portforward.k8s.io";
/// The same inside of a WebSocket.
const TUNNELLED: &str = "SPDY/3.1+portforward.k8s.io";
/// What we speak over a WebSocket, best first.
const WEBSOCKET: [&str; 3] = [TUNNELLED, "v4.channel.k8s.io", PORTFORWARD];

pub async fn start(call: Call, mut request: Request<BoxBody>) -> Result<Reply> {
    let target = Target::pod(&call).await?;
    let raw = over_spdy::wanted(request.headers());
    let (answer, protocol) = match raw {
        true => over_spdy::accept(request.headers(), &[PORTFORWARD])?,
        false => websocket::accept(request.headers(), &WEBSOCKET)?,
    };
    if answer.status() != http::StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer);
    }
    let over_streams = raw || protocol == TUNNELLED;
    let ports = if over_streams { Vec::new() } else { channels::ports(&call.query)? };
    let upgrade = upgrade::below(&mut request)?;
    let server = call.server.clone();
    let pod = Arc::new(Pod { call, target, half_close: over_streams });
    server.run(async move {
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => return tracing::debug!(%error, "upgrading a connection failed"),
        };
        if raw {
            let (input, output) = upgrade::bytes(upgraded);
            over_spdy::serve(input, output, |opened| spdy::forward(pod, opened)).await;
        } else if over_streams {
            let (input, output) = websocket::tunnel(websocket::socket(upgraded).await);
            over_spdy::serve(input, output, |opened| spdy::forward(pod, opened)).await;
        } else {
            channels::forward(pod, websocket::socket(upgraded).await, ports).await;
        }
    });
    Ok(answer)
}
