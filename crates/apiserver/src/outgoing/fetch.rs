//! Reading a document at a URL of somebody else, over HTTPS.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};

use super::connection::{self, Connection};
use super::tls;

/// The largest document that is read.
const LARGEST: usize = 1 << 20;

/// The document at a URL. `ca` is PEM; the system's certificate authorities are trusted if there is none.
///
/// # Errors
/// What went wrong, in words.
pub async fn fetch(url: &str, ca: Option<&[u8]>, patience: Duration) -> Result<Bytes, String> {
    match tokio::time::timeout(patience, get(url, ca)).await {
        Ok(result) => result,
        Err(_) => Err(format!("{url} does not answer within {} s", patience.as_secs())),
    }
}

async fn get(url: &str, ca: Option<&[u8]>) -> Result<Bytes, String> {
    let uri: http::Uri = url.parse().map_err(|e| format!("{url:?} is no URL: {e}"))?;
    if uri.scheme() != Some(&http::uri::Scheme::HTTPS) {
        return Err(format!("{url:?} is not read: it has to begin with https://"));
    }
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let wire = connection::dial(&host, uri.port_u16().unwrap_or(443)).await?;
    let mut connection = Connection::open(&host, wire, Arc::new(tls::config(ca, false, None)?)).await?;
    let request = http::Request::get(uri.path_and_query().map_or("/", |p| p.as_str()))
        .header(http::header::HOST, uri.authority().map_or("", |a| a.as_str()))
        .header(http::header::ACCEPT, "application/json")
        .body(Bytes::new().into())
        .map_err(|e| e.to_string())?;
    let response = connection.send(request).await.map_err(|(why, _)| format!("HTTP with {host}: {why}"))?;
    let status = response.status();
    let read = Limited::new(response.into_body(), LARGEST).collect().await;
    let bytes = read.map_err(|e| format!("reading {url}: {e}"))?.to_bytes();
    if !status.is_success() {
        return Err(format!("{url} answered {status}"));
    }
    Ok(bytes)
}
