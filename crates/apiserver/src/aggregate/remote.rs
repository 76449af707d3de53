//! The way to one extension server: who it is, how it is trusted, and connections to it that are used again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;

use crate::config::BoxBody;
use crate::object::text;
use crate::outgoing::{self, service};
use crate::server::Inner;

/// Connections without work that are kept for each extension server.
const IDLE: usize = 4;
/// How long making a connection may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of the documents of an extension server.
#[derive(Debug, Default, Clone)]
pub struct Found {
    /// Its resources as aggregated discovery has them; none before it was asked.
    pub resources: Option<Arc<Vec<Value>>>,
    /// Whether they are from the last check.
    pub current: bool,
    /// The query under which it offers its OpenAPI document.
    pub openapi: Option<String>,
}

/// An extension server.
pub struct Remote {
    /// What `spec` said when this was made.
    pub spec: Value,
    pub namespace: String,
    pub name: String,
    pub port: u16,
    idle: Mutex<Vec<SendRequest<BoxBody>>>,
    found: Mutex<Found>,
}

impl Remote {
    /// From the specification of an `APIService` that names a service.
    pub fn new(spec: &Value) -> Self {
        Self {
            spec: spec.clone(),
            namespace: text(spec, &["service", "namespace"]).to_owned(),
            name: text(spec, &["service", "name"]).to_owned(),
            port: spec["service"]["port"].as_u64().and_then(|p| p.try_into().ok()).unwrap_or(443),
            idle: Mutex::default(),
            found: Mutex::default(),
        }
    }

    /// The name that its certificate is for.
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }

    pub fn found(&self) -> Found {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn note(&self, found: Found) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// The last check failed: what was found before may no longer be true, and connections may be dead.
    pub fn doubt(&self) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).current = false;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Sends one request and gives the head of its answer, whose body comes as it is read.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub async fn send(
        self: &Arc<Self>,
        server: &Inner,
        request: Request<BoxBody>,
    ) -> Result<Response<Incoming>, String> {
        let mut request = request;
        while let Some(mut sender) = self.take() {
            // A connection that was closed meanwhile gives the request back.
            match sender.try_send_request(request).await {
                Ok(response) => {
                    self.keep(server, sender);
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().to_string()),
                },
            }
        }
        let connect = tokio::time::timeout(PATIENCE, self.connect(server));
        let mut sender = connect.await.map_err(|_| format!("no connection within {PATIENCE:?}"))??;
        let response = sender.send_request(request).await.map_err(|e| chain(&e))?;
        self.keep(server, sender);
        Ok(response)
    }

    fn take(&self) -> Option<SendRequest<BoxBody>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Puts a connection by once its answer was read. One that was upgraded or closed never gets there.
    fn keep(self: &Arc<Self>, server: &Inner, mut sender: SendRequest<BoxBody>) {
        let remote = Arc::downgrade(self);
        server.run(async move {
            if sender.ready().await.is_ok()
                && let Some(remote) = remote.upgrade()
            {
                let mut idle = remote.idle.lock().unwrap_or_else(PoisonError::into_inner);
                if idle.len() < IDLE {
                    idle.push(sender);
                }
            }
        });
    }

    async fn connect(&self, server: &Inner) -> Result<SendRequest<BoxBody>, String> {
        let wire = service::connect(server, &self.namespace, &self.name, self.port).await?;
        let host = self.host();
        let bundle = text(&self.spec, &["caBundle"]);
        let bundle = base64::engine::general_purpose::STANDARD.decode(bundle).unwrap_or_default();
        let authorities = Some(bundle.as_slice()).filter(|b| !b.is_empty());
        let unchecked = self.spec["insecureSkipTLSVerify"] == true;
        let identity = server.aggregate.identity(server)?;
        let config = outgoing::tls::config(authorities, unchecked, identity.as_ref())?;
        let name = ServerName::try_from(host.clone()).map_err(|e| format!("{host:?} is no name: {e}"))?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, wire).await.map_err(|e| format!("TLS with {host}: {e}"))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| chain(&e))?;
        server.run(async move {
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }
}

fn chain(error: &hyper::Error) -> String {
    dunlin_base::error::chain(error).to_string()
}
