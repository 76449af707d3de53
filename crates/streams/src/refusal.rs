//! Why a request did not become a stream.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue};

/// The header that lists what would have been accepted.
const ACCEPTED: &str = "X-Accepted-Stream-Protocol-Versions";

/// A refusal; whoever answers puts it into the form that its clients read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// HTTP status code.
    pub code: u16,
    /// `metav1.StatusReason`.
    pub reason: Cow<'static, str>,
    /// For people.
    pub message: String,
    /// The protocols that are spoken, if the client offered none of them.
    pub accepted: &'static [&'static str],
}

/// What a request for a stream gives.
pub type Result<T, E = Refusal> = std::result::Result<T, E>;

impl Refusal {
    /// Any refusal.
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), message: message.into(), accepted: &[] }
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 500.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(500, "InternalError", format!("Internal error occurred: {message}"))
    }

    /// Adds what else a client has to know to the answer's headers.
    pub fn mark(&self, headers: &mut HeaderMap) {
        for protocol in self.accepted {
            headers.append(ACCEPTED, HeaderValue::from_static(protocol));
        }
    }
}
