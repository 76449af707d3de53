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

use crate::body::BoxBody;
use crate::portforward::connection::Pod;
use crate::refusal::Result;
use crate::{Far, Started, over_spdy, upgrade, websocket};

/// The name of the protocol over SPDY.
const PORTFORWARD: &str = "portforward.k8s.io";
/// The same inside of a WebSocket.
const TUNNELLED: &str = "SPDY/3.1+portforward.k8s.io";
/// What we speak over a WebSocket, best first.
const WEBSOCKET: [&str; 3] = [TUNNELLED, "v4.channel.k8s.io", PORTFORWARD];

/// The pod whose ports are asked for, and those that the query names.
pub struct Asked<'a, P> {
    /// The pod's name, for messages.
    pub name: &'a str,
    /// Its uid, for messages.
    pub uid: &'a str,
    /// The values of the query's parameter for ports; each may list several.
    pub ports: P,
}

/// Answers the client; the node is called with each connection.
///
/// # Errors
/// When the client speaks nothing that we do, or names no ports where it must.
pub fn start<'a, P: Iterator<Item = &'a str>>(
    asked: Asked<'a, P>,
    far: Arc<dyn Far>,
    request: &mut Request<BoxBody>,
) -> Result<Started> {
    let raw = over_spdy::wanted(request.headers());
    let (answer, protocol) = match raw {
        true => over_spdy::accept(request.headers(), &[PORTFORWARD])?,
        false => websocket::accept(request.headers(), &WEBSOCKET)?,
    };
    let over_streams = raw || protocol == TUNNELLED;
    let ports = if over_streams { Vec::new() } else { channels::ports(asked.ports)? };
    let upgrade = upgrade::below(request)?;
    let (name, uid) = (asked.name.to_owned(), asked.uid.to_owned());
    let pod = Arc::new(Pod { name, uid, far, half_close: over_streams });
    let session = async move {
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
    };
    Ok(Started { answer, session: Box::pin(session) })
}
