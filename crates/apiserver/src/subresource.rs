//! Subresources: one file each for those that do something of their own; the rest are views of their object.

pub mod approval;
pub mod binding;
pub mod connect;
pub mod eviction;
pub mod exec;
pub mod finalize;
pub mod log;
pub mod portforward;
pub mod proxy;
pub mod scale;
pub mod target;
pub mod token;

use bytes::Bytes;
use dunlin_streams::Started;
use http::Request;

use crate::config::BoxBody;
use crate::failure::{Failure, Result};
use crate::handlers;
use crate::negotiate::Syntax;
use crate::reply::{self, Reply};
use crate::server::Call;

/// Answers a request whose body has been read.
pub async fn answer(call: &mut Call, verb: &str, body: Bytes) -> Result<Reply> {
    let sub = call.sub.clone().unwrap_or_default();
    match (sub.as_str(), verb) {
        ("scale", _) => scale::answer(call, verb, body).await,
        ("binding", _) => binding::bind(call, body).await,
        ("eviction", _) => eviction::evict(call, body).await,
        ("token", _) => token::request(call, body).await,
        ("finalize", _) => finalize::update(call, body).await,
        ("log", _) => log::read(call).await,
        ("approval", "update") => {
            approval::check(call).await?;
            handlers::update::update(call, body).await
        }
        ("approval", "patch") => {
            approval::check(call).await?;
            handlers::patch::patch(call, body).await
        }
        (_, "get") => handlers::get::get(call).await,
        (_, "update") => handlers::update::update(call, body).await,
        (_, "patch") => handlers::patch::patch(call, body).await,
        _ => Err(Failure::method_not_allowed()),
    }
}

/// Answers a request that becomes a stream.
pub async fn stream(mut call: Call, request: Request<BoxBody>) -> Result<Reply> {
    connect::review(&mut call, request.uri()).await?;
    if call.sub.as_deref() == Some("proxy") {
        return proxy::start(call, request).await;
    }
    if !dunlin_streams::wanted(request.headers()) {
        return Err(Failure::bad_request("Upgrade request required"));
    }
    let (server, trail) = (call.server.clone(), call.trail.clone());
    let started = match call.sub.as_deref() {
        Some("portforward") => portforward::start(call, request).await?,
        _ => exec::start(call, request).await?,
    };
    match started {
        Ok(Started { answer, session }) => {
            server.run(async move {
                let _held = trail;
                session.await;
            });
            Ok(answer)
        }
        Err(refusal) => {
            let mut reply = reply::failure(&Failure::from(refusal.clone()), Syntax::Json);
            refusal.mark(reply.headers_mut());
            Ok(reply)
        }
    }
}
