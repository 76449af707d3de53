//! A request for a group and version that an extension server serves: it is asked, and its answer passed on.
//!
//! Who asks and whether he may was settled before; the extension server may ask again for itself.

use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::{Entry, headers};
use crate::config::{BoxBody, BoxError, User};
use crate::failure::{Failure, Result};
use crate::negotiate::words;
use crate::reply::{self, Reply};
use crate::request::Asked;
use crate::server::Inner;

/// Requests whose answers go on as long as somebody listens.
fn is_long(asked: &Asked, upgrade: bool) -> bool {
    let streams = ["attach", "exec", "log", "portforward", "proxy"];
    upgrade || asked.verb == "watch" || asked.sub.as_deref().is_some_and(|sub| streams.contains(&sub))
}

/// Answers for an extension server.
pub async fn forward(
    server: &Inner,
    entry: &Entry,
    mut request: Request<BoxBody>,
    asked: &Asked,
    user: &User,
) -> Result<Reply> {
    let Some(remote) = entry.remote.as_ref().filter(|_| entry.available) else {
        return Ok(unavailable("service unavailable"));
    };
    let target = request.uri().path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let wants =
        words(request.headers(), header::CONNECTION).iter().any(|w| w.eq_ignore_ascii_case("upgrade"));
    let client = request.extensions_mut().remove::<OnUpgrade>().filter(|_| wants);
    let head = headers::request(
        request.method(),
        &target,
        request.headers(),
        &remote.host(),
        user,
        client.is_some(),
    )
    .map_err(Failure::internal)?;
    let (head, ()) = head.into_parts();
    let asking = remote.send(server, Request::from_parts(head, request.into_body()));
    let answer = if is_long(asked, client.is_some()) {
        asking.await
    } else {
        match tokio::time::timeout(server.config.limits.request, asking).await {
            Ok(answer) => answer,
            Err(_) => {
                let text = "Timeout: request did not complete within the requested timeout";
                return Err(Failure::new(504, "Timeout", text));
            }
        }
    };
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(why) => {
            tracing::debug!(api = entry.name, why, "an extension server was not reached");
            return Ok(unavailable(&format!("error trying to reach service: {why}")));
        }
    };
    if answer.status().is_redirection() && answer.headers().contains_key(header::LOCATION) {
        let text = "the backend attempted to redirect this request, which is not permitted";
        return Ok(reply::text(502, text));
    }
    let upgraded = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    if let (true, Some(client)) = (upgraded, client) {
        let far = hyper::upgrade::on(&mut answer);
        server.run(join(client, far));
    }
    let (mut parts, body) = answer.into_parts();
    headers::through(&mut parts.headers, upgraded);
    Ok(Reply::from_parts(parts, body.map_err(|e| Box::new(e) as BoxError).boxed_unsync()))
}

/// Carries bytes both ways until both sides are done.
async fn join(client: OnUpgrade, far: OnUpgrade) {
    let (client, far) = match tokio::try_join!(client, far) {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "an upgrade through the proxy failed"),
    };
    let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(far)).await;
}

/// As Kubernetes' proxy says it: a page, no `Status`.
fn unavailable(text: &str) -> Reply {
    let mut reply = reply::text(503, format!("{text}\n"));
    reply.headers_mut().remove(header::CACHE_CONTROL);
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    reply
}
