//! Frames, calls, and what headers and trailers say against them.

use std::convert::Infallible;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use dunlin_base::error::chain;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;

/// What a call sends.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Frames of gRPC begin with a flag (compressed or not) and a length.
const PREFIX: usize = 5;

/// gRPC's codes, as far as they are told apart.
pub mod code {
    /// What stands for an answer without a code.
    pub const UNKNOWN: u16 = 2;
    /// The request is wrong.
    pub const INVALID: u16 = 3;
    /// It took too long.
    pub const DEADLINE: u16 = 4;
    /// There is no such thing.
    pub const NOT_FOUND: u16 = 5;
    /// Something is used up, or the message too large.
    pub const EXHAUSTED: u16 = 8;
    /// There is no such method.
    pub const UNIMPLEMENTED: u16 = 12;
    /// Nobody can answer now.
    pub const UNAVAILABLE: u16 = 14;
    /// Who calls is not known.
    pub const UNAUTHENTICATED: u16 = 16;
}

/// Why a call has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// Nobody could be reached; nothing was done.
    #[error("{0}")]
    Unreached(String),
    /// The answer did not come; what was asked may have been done.
    #[error("{0}")]
    Lost(String),
    /// The other side said no.
    #[error("{message}")]
    Refused {
        /// One of [`code`], or another.
        code: u16,
        /// Why.
        message: String,
    },
}

/// Makes a call with one message each way; an answer longer than `longest` bytes is not read.
///
/// # Errors
/// When it was refused, or no answer came.
pub async fn unary(
    sender: &mut SendRequest<Body>,
    request: Request<Body>,
    longest: usize,
) -> Result<Bytes, Failure> {
    let mut answers = opened(sender.send_request(request).await, longest)?;
    let answer = answers.next().await?;
    // The trailers say whether it counts.
    answers.next().await?;
    answer.ok_or_else(|| Failure::Lost("no answer".to_owned()))
}

/// The answers of a call that was sent.
///
/// # Errors
/// When it was not heard, or refused.
pub fn opened(answer: hyper::Result<Response<Incoming>>, longest: usize) -> Result<Messages, Failure> {
    let response = answer.map_err(|e| Failure::Lost(chain(&e)))?;
    match refused(response.headers(), response.status()) {
        Some(failure) => Err(failure),
        None => Ok(Messages { body: response.into_body(), buffer: BytesMut::new(), longest }),
    }
}

/// A message as it is sent.
pub fn frame(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(PREFIX + message.len());
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    out.put_slice(message);
    out.freeze()
}

/// What headers or trailers say against a call.
fn refused(headers: &HeaderMap, status: StatusCode) -> Option<Failure> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let code: u16 = match text("grpc-status") {
        Some(code) => code.parse().unwrap_or(code::UNKNOWN),
        None if status.is_success() => return None,
        None => return Some(Failure::Lost(format!("HTTP status {status}; this does not speak gRPC"))),
    };
    let message = unescaped(text("grpc-message").unwrap_or("no reason was given"));
    match code {
        0 => None,
        code::UNAVAILABLE | code::DEADLINE => Some(Failure::Lost(message)),
        code => Some(Failure::Refused { code, message }),
    }
}

/// gRPC's messages are percent-encoded.
fn unescaped(text: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, tail @ ..] = rest {
        let escaped =
            tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, escaped) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &tail[2..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The messages of an answer.
pub struct Messages {
    body: Incoming,
    buffer: BytesMut,
    longest: usize,
}

impl Messages {
    /// The next message; `None` at an end that is in order. Safe to drop and call again.
    ///
    /// # Errors
    /// When the trailers refuse the call, the connection breaks, or a message is too long.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(mut head) = self.buffer.get(..PREFIX) {
                let (compressed, length) = (head.get_u8(), head.get_u32() as usize);
                if compressed != 0 || length > self.longest {
                    return Err(Failure::Lost(format!("an answer of {length} bytes cannot be read")));
                }
                if self.buffer.len() >= PREFIX + length {
                    self.buffer.advance(PREFIX);
                    return Ok(Some(self.buffer.split_to(length).freeze()));
                }
            }
            let frame = match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => frame.map_err(|e| Failure::Lost(chain(&e)))?,
            };
            match frame.into_data() {
                Ok(data) => self.buffer.extend_from_slice(&data),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return match refused(&trailers, StatusCode::OK) {
                        Some(failure) => Err(failure),
                        None => Ok(None),
                    };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_from_lost_answers() {
        let headers = |status: &str, message: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", status.parse().unwrap());
            headers.insert("grpc-message", message.parse().unwrap());
            refused(&headers, StatusCode::OK)
        };
        assert!(headers("0", "").is_none());
        assert!(
            matches!(headers("5", "no such thing"), Some(Failure::Refused { code: code::NOT_FOUND, message }) if message.starts_with("no such"))
        );
        assert!(matches!(headers("14", "it timed out"), Some(Failure::Lost(m)) if m.ends_with("out")));
        assert!(refused(&HeaderMap::new(), StatusCode::OK).is_none());
        assert!(matches!(refused(&HeaderMap::new(), StatusCode::NOT_FOUND), Some(Failure::Lost(_))));
        assert_eq!(unescaped("a%20b%c3%a9%"), "a bé%");
    }
}
