//! `nodes/x/proxy/...`: the node's own HTTP service, streamed both ways.

use http::{Request, Uri};

use crate::config::{BoxBody, DialError};
use crate::failure::{Failure, Result};
use crate::reply::Reply;
use crate::server::Call;

/// Headers that concern the client's connection or its identity, and so are not the node's business.
const WITHHELD: [http::HeaderName; 5] = [
    http::header::AUTHORIZATION,
    http::header::CONNECTION,
    http::header::HOST,
    http::header::TRANSFER_ENCODING,
    http::header::COOKIE,
];

pub async fn start(call: Call, request: Request<BoxBody>) -> Result<Reply> {
    let node = call.name().to_owned();
    let (head, body) = request.into_parts();
    let mut inner = Request::builder().method(head.method).uri(inside(&head.uri)?);
    for (name, value) in head.headers.iter().filter(|(name, _)| !WITHHELD.contains(*name)) {
        inner = inner.header(name, value);
    }
    let inner = inner.body(body).map_err(Failure::internal)?;
    call.server.config.dialer.call(&node, inner).await.map_err(|error| match &error {
        DialError::NotConnected(node) => {
            Failure::unavailable(format!("node {node:?} is not connected to this server"))
        }
        DialError::Call { .. } => Failure::new(502, "ServiceUnavailable", dunlin_base::error::chain(&error)),
    })
}

/// What follows `/proxy` in the path, with the query.
fn inside(uri: &Uri) -> Result<String> {
    let mut parts = uri.path().splitn(6, '/').skip(5);
    let rest = parts.next().and_then(|rest| rest.strip_prefix("proxy")).unwrap_or_default();
    let rest = if rest.is_empty() { "/" } else { rest };
    if !rest.starts_with('/') {
        return Err(Failure::no_path());
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Ok(format!("http://node{rest}{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_path_is_what_follows() {
        let check = |path: &str| inside(&path.parse().unwrap()).map_err(|e| e.code);
        assert_eq!(check("/api/v1/nodes/a/proxy/healthz"), Ok("http://node/healthz".to_owned()));
        assert_eq!(check("/api/v1/nodes/a/proxy"), Ok("http://node/".to_owned()));
        assert_eq!(check("/api/v1/nodes/a/proxy/v1/x?y=%20z"), Ok("http://node/v1/x?y=%20z".to_owned()));
    }
}
