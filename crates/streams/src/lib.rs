//! Kubernetes' streams into pods: `exec`, `attach` and `port-forward`, as clients speak them over SPDY/3.1 and WebSockets.
//!
//! Both who serves them use this: the API server towards kubectl, and an agent that plays kubelet towards a real API
//! server. What is at the other end is behind [`Far`], a node's own HTTP paths with framed bytes
//! (`dunlin_api::stream`). Who may open a stream is decided before; nothing here knows users, pods or objects.

pub mod body;
pub mod exec;
pub mod over_spdy;
pub mod portforward;
mod refusal;
pub mod spdy;
pub mod stream;
pub mod upgrade;
pub mod websocket;

use futures_util::future::BoxFuture;
use http::Response;

pub use body::{BoxBody, BoxError};
pub use refusal::{Refusal, Result};

/// What a session leads to: the node's paths of one pod or container.
pub trait Far: Send + Sync + 'static {
    /// Posts `body` to what follows the pod's or container's path, `exec?command=ls` for example.
    fn call(&self, tail: String, body: BoxBody) -> BoxFuture<'_, Result<Response<BoxBody>>>;
    /// The node's name, for messages.
    fn node(&self) -> &str;
}

/// The answer to a request, and what is to be run once it was sent.
pub struct Started {
    /// The answer.
    pub answer: Response<BoxBody>,
    /// The session on the upgraded connection; it ends by itself.
    pub session: BoxFuture<'static, ()>,
}

/// Whether the client asks for a stream of either kind.
pub fn wanted(headers: &http::HeaderMap) -> bool {
    over_spdy::wanted(headers) || websocket::wanted(headers)
}
