//! Reading a document at a URL of somebody else, over HTTPS.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;

use super::{dial, trust};

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
    let name =
        ServerName::try_from(host.clone()).map_err(|e| format!("{host:?} is no name of a host: {e}"))?;
    let wire = dial(&host, uri.port_u16().unwrap_or(443)).await?;
    let tls = tokio_rustls::TlsConnector::from(Arc::new(trust(ca)?));
    let stream = tls.connect(name, wire).await.map_err(|e| format!("TLS with {host}: {e}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| format!("HTTP with {host}: {e}"))?;
    // Ends with the exchange, which drops it.
    let _connection = dunlin_base::task::Task::spawn("fetch connection", async move {
        let _ = connection.await;
    });
    let request = http::Request::get(uri.path_and_query().map_or("/", |p| p.as_str()))
        .header(http::header::HOST, uri.authority().map_or("", |a| a.as_str()))
        .header(http::header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(|e| format!("HTTP with {host}: {e}"))?;
    let status = response.status();
    let read = Limited::new(response.into_body(), LARGEST).collect().await;
    let bytes = read.map_err(|e| format!("reading {url}: {e}"))?.to_bytes();
    if !status.is_success() {
        return Err(format!("{url} answered {status}"));
    }
    Ok(bytes)
}
