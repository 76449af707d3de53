//! Calls that the server makes on behalf of a configuration: webhooks, at a URL or behind a Service.
//!
//! The server is on no pod network. A Service is reached as `kubectl port-forward` reaches a pod: through the tunnel of
//! the node that runs one of its ready pods. A Service without pods of its own (an `ExternalName`, or endpoints made by
//! hand) is dialled where it points to.

pub mod service;
pub mod tls;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::object::{at, text};
use crate::server::Inner;

/// The largest answer that is read.
const LARGEST: usize = 3 << 20;

/// A two-way connection of any kind.
pub trait Wire: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Wire for T {}
pub type Connection = Pin<Box<dyn Wire>>;

/// Where a webhook is (`WebhookClientConfig`).
#[derive(Debug, Clone)]
pub struct Target {
    place: Place,
    /// PEM; the system's certificate authorities if there is none.
    ca: Option<Box<[u8]>>,
}

#[derive(Debug, Clone)]
enum Place {
    Url(Box<str>),
    Service { namespace: Box<str>, name: Box<str>, path: Box<str>, port: u16 },
}

impl Target {
    /// Reads a client configuration that has been checked.
    pub fn of(config: &Value) -> Self {
        let place = match at(config, &["service"]).filter(|s| s.is_object()) {
            Some(service) => Place::Service {
                namespace: text(service, &["namespace"]).into(),
                name: text(service, &["name"]).into(),
                path: format!("/{}", text(service, &["path"]).trim_start_matches('/')).into(),
                port: service["port"].as_u64().and_then(|p| u16::try_from(p).ok()).unwrap_or(443),
            },
            None => Place::Url(text(config, &["url"]).into()),
        };
        let ca = text(config, &["caBundle"]);
        let ca = base64::engine::general_purpose::STANDARD.decode(ca).ok().filter(|b| !b.is_empty());
        Self { place, ca: ca.map(Into::into) }
    }
}

/// Posts JSON and reads the JSON of a successful answer.
///
/// # Errors
/// What went wrong, in words.
pub fn post<'a>(
    server: &'a Inner,
    target: &'a Target,
    body: &'a Value,
    patience: Duration,
) -> BoxFuture<'a, Result<Value, String>> {
    Box::pin(async move {
        match tokio::time::timeout(patience, exchange(server, target, body)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {} s", patience.as_secs())),
        }
    })
}

async fn exchange(server: &Inner, target: &Target, body: &Value) -> Result<Value, String> {
    let (host, path, wire): (String, String, Connection) = match &target.place {
        Place::Url(url) => {
            let uri: http::Uri = url.parse().map_err(|e| format!("the URL {url:?} is not one: {e}"))?;
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let port = uri.port_u16().unwrap_or(443);
            let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
            (host.clone(), path, dial(&host, port).await?)
        }
        Place::Service { namespace, name, path, port } => {
            let wire = service::connect(server, namespace, name, *port).await?;
            (format!("{name}.{namespace}.svc"), path.to_string(), wire)
        }
    };
    let name =
        ServerName::try_from(host.clone()).map_err(|e| format!("{host:?} is no name of a host: {e}"))?;
    let connector =
        tokio_rustls::TlsConnector::from(Arc::new(tls::config(target.ca.as_deref(), false, None)?));
    let stream = connector.connect(name, wire).await.map_err(|e| format!("TLS with {host}: {e}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| format!("HTTP with {host}: {e}"))?;
    // Ends with the exchange, which drops it.
    let connection = dunlin_base::task::Task::spawn("webhook connection", async move {
        let _ = connection.await;
    });
    let request = http::Request::post(path)
        .header(http::header::HOST, &host)
        .header(http::header::CONTENT_TYPE, "application/json")
        .header(http::header::ACCEPT, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(|e| format!("HTTP with {host}: {e}"))?;
    let status = response.status();
    let read = Limited::new(response.into_body(), LARGEST).collect().await;
    let bytes = read.map_err(|e| format!("reading the answer of {host}: {e}"))?.to_bytes();
    drop(connection);
    if !status.is_success() {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        return Err(format!("{host} answered {status}: {start}"));
    }
    serde_json::from_slice(&bytes).map_err(|e| format!("the answer of {host} is not JSON: {e}"))
}

async fn dial(host: &str, port: u16) -> Result<Connection, String> {
    let stream = tokio::net::TcpStream::connect((host, port)).await;
    Ok(Box::pin(stream.map_err(|e| format!("dialling {host}:{port}: {e}"))?))
}
