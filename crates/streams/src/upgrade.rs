//! From an HTTP request to a connection of bytes.

use bytes::Bytes;
use futures_util::{Sink, Stream};
use http::{HeaderMap, Request, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_util::codec::{BytesCodec, FramedWrite};
use tokio_util::io::ReaderStream;

use crate::body::BoxBody;
use crate::refusal::{Refusal, Result};

/// The most that is read from a client at once, in bytes.
const READ: usize = 32 << 10;

/// Every word of a header that is a list, in the client's order.
pub fn words(headers: &HeaderMap, name: impl header::AsHeaderName) -> Vec<&str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .filter(|v| !v.is_empty())
        .collect()
}

/// Whether a header that is a list has `word`, in any case.
pub fn has(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    words(headers, name).iter().any(|w| w.eq_ignore_ascii_case(word))
}

/// The connection below a request, once our answer to it was sent.
pub fn below(request: &mut Request<BoxBody>) -> Result<OnUpgrade> {
    request
        .extensions_mut()
        .remove::<OnUpgrade>()
        .ok_or_else(|| Refusal::bad_request("this connection cannot be upgraded; streams need HTTP/1.1"))
}

/// The connection as bytes that come and bytes that go.
pub fn bytes(
    upgraded: Upgraded,
) -> (impl Stream<Item = std::io::Result<Bytes>>, impl Sink<Bytes, Error = std::io::Error>) {
    let (read, write) = tokio::io::split(TokioIo::new(upgraded));
    (ReaderStream::with_capacity(read, READ), FramedWrite::new(write, BytesCodec::new()))
}
