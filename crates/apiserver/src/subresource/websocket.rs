//! The server's half of a WebSocket handshake (RFC 6455) over HTTP/1.1.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::failure::{Failure, Result};
use crate::reply::{self, Reply};

/// The protocols that we speak, best first.
const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// Checks the client's half; gives back our answer and the chosen protocol.
pub fn accept(headers: &HeaderMap) -> Result<(Reply, &'static str)> {
    let has = |name: header::HeaderName, wanted: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .any(|v| v.to_ascii_lowercase().contains(wanted))
    };
    if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") {
        if has(header::UPGRADE, "spdy/3.1") {
            return Err(Failure::bad_request(
                "the SPDY/3.1 protocol is not supported; use a client that streams over WebSocket (kubectl 1.30 or newer)",
            ));
        }
        return Err(Failure::bad_request("Upgrade request required"));
    }
    let offered: Vec<&str> = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .collect();
    let chosen = PROTOCOLS.iter().find(|p| offered.contains(p)).ok_or_else(|| {
        Failure::bad_request(format!(
            "unable to negotiate protocol: client supports {offered:?}, server supports {PROTOCOLS:?}"
        ))
    })?;
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or_else(|| Failure::bad_request("Sec-WebSocket-Key is missing"))?;
    let accept = derive_accept_key(key.as_bytes());
    let mut response = Response::new(reply::full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(chosen));
    out.insert(header::SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&accept).map_err(Failure::internal)?);
    Ok((response, chosen))
}
