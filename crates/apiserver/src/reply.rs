//! Answers: objects already encoded, values still to encode, streams, and failures.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde_json::Value;

use crate::config::{BoxBody, BoxError};
use crate::failure::{Failure, Result};
use crate::handlers::protobuf::encode;
use crate::negotiate::{Form, Syntax};

/// The media type of Kubernetes' protobuf form.
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The answer of a handler.
pub type Reply = Response<BoxBody>;

/// A body of known bytes.
pub fn full(bytes: impl Into<Bytes>) -> BoxBody {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A body of pieces as they come.
pub fn stream<S>(stream: S) -> BoxBody
where
    S: futures_util::Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
{
    use futures_util::StreamExt;
    StreamBody::new(stream.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

/// An answer with any content type.
pub fn with_type(code: u16, content_type: &'static str, body: BoxBody) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    reply
}

/// Plain text.
pub fn text(code: u16, text: impl Into<String>) -> Reply {
    let mut reply = with_type(code, "text/plain; charset=utf-8", full(text.into()));
    reply.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// JSON that is encoded already.
pub fn encoded(code: u16, bytes: impl Into<Bytes>) -> Reply {
    with_type(code, "application/json", full(bytes))
}

/// A value, as JSON.
pub fn json(code: u16, value: &Value) -> Reply {
    encoded(code, serde_json::to_vec(value).unwrap_or_default())
}

/// JSON bytes in the wanted syntax.
pub fn bytes(code: u16, json: Bytes, form: Form) -> Result<Reply> {
    match form.syntax {
        Syntax::Json => Ok(encoded(code, json)),
        Syntax::Yaml | Syntax::Protobuf => {
            let value: Value = serde_json::from_slice(&json).map_err(Failure::internal)?;
            value_in(code, &value, form)
        }
    }
}

/// A value in the wanted syntax.
pub fn value_in(code: u16, value: &Value, form: Form) -> Result<Reply> {
    match form.syntax {
        Syntax::Json => Ok(json(code, value)),
        Syntax::Yaml => {
            let text = serde_saphyr::to_string(value).map_err(Failure::internal)?;
            Ok(with_type(code, "application/yaml", full(text)))
        }
        Syntax::Protobuf => {
            let bytes = encode::encode(value)
                .ok_or_else(|| Failure::internal(format!("{} has no protobuf form", value["kind"])))?;
            Ok(with_type(code, PROTOBUF, full(bytes)))
        }
    }
}

/// A failure as its `metav1.Status`.
pub fn failure(failure: &Failure, syntax: Syntax) -> Reply {
    if failure.is_page() {
        return text(failure.code, failure.message.clone());
    }
    let form = Form { syntax, ..Form::JSON };
    let status = failure.status();
    let mut reply = value_in(failure.code, &status, form).unwrap_or_else(|_| json(failure.code, &status));
    if let Some(seconds) =
        failure.details.as_deref().and_then(|d| d.get("retryAfterSeconds")).and_then(Value::as_u64)
    {
        reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if failure.code == 401 {
        reply.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    reply
}

/// Warnings as they are sent: many of them, or long ones, are cut as Kubernetes cuts them, lest headers become too large
/// for clients. Pure.
pub fn shortened(warnings: &[String]) -> Vec<String> {
    /// In characters: of all together, and of each when they are more than that.
    const MOST: usize = 4096;
    const EACH: usize = 256;
    let length = |text: &String| text.chars().count();
    if warnings.iter().map(length).sum::<usize>() <= MOST {
        return warnings.to_vec();
    }
    let mut sent = 0;
    let cut = warnings.iter().map(|text| text.chars().take(EACH).collect::<String>());
    cut.take_while(|text| {
        let before = sent;
        sent += length(text);
        before < MOST
    })
    .collect()
}

/// Adds a warning that kubectl shows.
pub fn warn(reply: &mut Reply, text: &str) {
    let clean: String = text.chars().filter(|c| !c.is_control()).collect();
    let quoted = clean.replace('\\', "\\\\").replace('"', "\\\"");
    if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
        reply.headers_mut().append(header::WARNING, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_that_are_too_much_are_cut() {
        let few = vec!["a".repeat(4000), "b".to_owned()];
        assert_eq!(shortened(&few), few);
        let many = vec!["a".repeat(300); 40];
        let cut = shortened(&many);
        assert_eq!((cut.len(), cut[0].len()), (16, 256));
    }
}
