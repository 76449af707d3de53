//! Calls that the server makes on behalf of a configuration: webhooks, at a URL or behind a Service.
//!
//! The server is on no pod network. A Service is reached as `kubectl port-forward` reaches a pod: through the tunnel of
//! the node that runs one of its ready pods. A Service without pods of its own (an `ExternalName`, or endpoints made by
//! hand) is dialled where it points to.
//!
//! Connections are kept for the next call to the same target, because a webhook of admission is asked with every write.

mod connection;
mod fetch;
pub mod service;
pub mod tls;

pub use fetch::fetch;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Limited};
use serde_json::Value;

use crate::object::{at, text};
use crate::server::Inner;
use connection::Connection;

/// The largest answer that is read.
const LARGEST: usize = 3 << 20;
/// Idle connections that one target keeps; more calls at once open theirs and close them again.
const KEPT: usize = 8;

/// Where a webhook is (`WebhookClientConfig`). Clones share connections.
#[derive(Debug, Clone)]
pub struct Target {
    place: Place,
    /// PEM; the system's certificate authorities if there is none.
    ca: Option<Arc<[u8]>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Clone)]
enum Place {
    Url(Box<str>),
    Service { namespace: Box<str>, name: Box<str>, path: Box<str>, port: u16 },
}

/// What is made once for all calls of a target.
#[derive(Debug, Default)]
struct Shared {
    trust: OnceLock<Result<Arc<rustls::ClientConfig>, String>>,
    idle: Mutex<Vec<Connection>>,
}

/// What came back, whatever it says.
#[derive(Debug)]
pub struct Answer {
    pub status: http::StatusCode,
    /// Its content type, JSON if it says none.
    pub media: String,
    pub body: Bytes,
}

/// Why nothing came back.
#[derive(Debug)]
pub enum Silence {
    /// Not in time.
    Late,
    /// In words.
    Failed(String),
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
        Self { place, ca: ca.map(Into::into), shared: Arc::default() }
    }

    /// What is asked, with a query, as errors name it.
    pub fn url(&self, query: &str) -> String {
        let end = if query.is_empty() { String::new() } else { format!("?{query}") };
        match &self.place {
            Place::Url(url) => format!("{url}{end}"),
            Place::Service { namespace, name, path, port } => {
                format!("https://{name}.{namespace}.svc:{port}{path}{end}")
            }
        }
    }

    fn trust(&self) -> Result<Arc<rustls::ClientConfig>, String> {
        let made =
            self.shared.trust.get_or_init(|| tls::config(self.ca.as_deref(), false, None).map(Arc::new));
        made.clone()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that is free and still open.
    fn kept(&self) -> Option<Connection> {
        let mut idle = self.idle();
        while let Some(connection) = idle.pop() {
            if connection.is_open() {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle();
        if idle.len() < KEPT {
            idle.push(connection);
        }
    }

    /// Opens a connection.
    async fn open(&self, server: &Inner) -> Result<Connection, String> {
        let trust = self.trust()?;
        match &self.place {
            Place::Url(url) => {
                let uri: http::Uri = url.parse().map_err(|e| format!("the URL {url:?} is not one: {e}"))?;
                let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
                let port = uri.port_u16().unwrap_or(443);
                Connection::open(&host, connection::dial(&host, port).await?, trust).await
            }
            Place::Service { namespace, name, port, .. } => {
                let wire = service::connect(server, namespace, name, *port).await?;
                Connection::open(&format!("{name}.{namespace}.svc"), wire, trust).await
            }
        }
    }

    /// The path of a request, and the host that its header names.
    fn request(&self, query: &str, body: Bytes) -> Result<connection::Request, String> {
        let url = self.url(query);
        let uri: http::Uri = url.parse().map_err(|e| format!("the URL {url:?} is not one: {e}"))?;
        let host = uri.authority().map_or("", |a| a.as_str());
        http::Request::post(uri.path_and_query().map_or("/", |p| p.as_str()))
            .header(http::header::HOST, host)
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::ACCEPT, "application/json, */*")
            .header(http::header::USER_AGENT, "kube-apiserver-admission")
            .body(body.into())
            .map_err(|e| e.to_string())
    }
}

/// Posts JSON and reads what comes back.
pub fn send<'a>(
    server: &'a Inner,
    target: &'a Target,
    query: &'a str,
    body: Bytes,
    patience: Duration,
) -> BoxFuture<'a, Result<Answer, Silence>> {
    Box::pin(async move {
        match tokio::time::timeout(patience, exchange(server, target, query, body)).await {
            Ok(result) => result.map_err(Silence::Failed),
            Err(_) => Err(Silence::Late),
        }
    })
}

/// Posts JSON and reads the JSON of a successful answer.
///
/// # Errors
/// What went wrong, in words.
pub async fn post(
    server: &Inner,
    target: &Target,
    body: &Value,
    patience: Duration,
) -> Result<Value, String> {
    let answer = send(server, target, "", Bytes::from(body.to_string()), patience).await;
    let answer = answer.map_err(|silence| match silence {
        Silence::Late => format!("no answer within {} s", patience.as_secs()),
        Silence::Failed(why) => why,
    })?;
    let url = target.url("");
    if !answer.status.is_success() {
        let start = String::from_utf8_lossy(&answer.body[..answer.body.len().min(200)]).into_owned();
        return Err(format!("{url} answered {}: {start}", answer.status));
    }
    serde_json::from_slice(&answer.body).map_err(|e| format!("the answer of {url} is not JSON: {e}"))
}

async fn exchange(server: &Inner, target: &Target, query: &str, body: Bytes) -> Result<Answer, String> {
    let mut request = target.request(query, body)?;
    // A kept connection may have been closed by the other side just now. What was not sent can be sent again.
    let mut kept = target.kept();
    let (connection, response) = loop {
        let fresh = kept.is_none();
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => target.open(server).await?,
        };
        match connection.send(request).await {
            Ok(response) => break (connection, response),
            Err((_, Some(unsent))) if !fresh => request = unsent,
            Err((why, _)) => return Err(why),
        }
    };
    let status = response.status();
    let media = response.headers().get(http::header::CONTENT_TYPE).and_then(|m| m.to_str().ok());
    let media = media.unwrap_or("application/json").to_owned();
    let read = Limited::new(response.into_body(), LARGEST).collect().await;
    let body = read.map_err(|e| format!("reading the answer: {e}"))?.to_bytes();
    target.keep(connection);
    Ok(Answer { status, media, body })
}
