//! Clients of an API from a machine whose link may be cut at any time, and whose certificate may change.

use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use kube::client::{Body, ConfigExt};
use rustls::pki_types::ServerName;
use tower::BoxError;

/// How long a connection to the API may take to be made.
const CONNECT: Duration = Duration::from_secs(20);
/// How long nothing may be heard on a connection to the API before the kernel asks whether the other side still lives,
/// and how often it asks. Whoever waits for events on it would otherwise wait forever when a link is cut.
const QUIET: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(15));
/// How long what was sent may stay unacknowledged.
const UNHEARD: Duration = Duration::from_secs(60);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is none.
    #[error("the server's URL {url:?} is wrong")]
    Url {
        /// What was given.
        url: String,
        /// Why.
        #[source]
        source: http::uri::InvalidUri,
    },
    /// The name that the server's certificate is to have is none.
    #[error("the server's name {0:?} is wrong")]
    Name(String),
    /// The credentials cannot be used.
    #[error("setting up the credentials for {0}")]
    Credentials(String, #[source] Box<kube::Error>),
}

type Hyper = legacy::Client<HttpsConnector<HttpConnector>, Body>;

/// The connections of a client.
#[derive(Clone)]
pub struct Connections {
    tls: rustls::ClientConfig,
    name: Option<ServerName<'static>>,
    present: Arc<RwLock<Hyper>>,
}

impl Connections {
    fn new(tls: rustls::ClientConfig, name: Option<ServerName<'static>>) -> Self {
        let present = Arc::new(RwLock::new(hyper(&tls, name.as_ref())));
        Self { tls, name, present }
    }

    /// What is asked from now on goes over new connections, which show the certificate that is the present one then. What
    /// was asked before is answered on the old ones.
    pub fn renew(&self) {
        *self.present.write().unwrap_or_else(PoisonError::into_inner) = hyper(&self.tls, self.name.as_ref());
    }
}

fn hyper(tls: &rustls::ClientConfig, name: Option<&ServerName<'static>>) -> Hyper {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT));
    http.set_keepalive(Some(QUIET.0));
    http.set_keepalive_interval(Some(QUIET.1));
    http.set_keepalive_retries(Some(3));
    http.set_tcp_user_timeout(Some(UNHEARD));
    let https = match name {
        None => HttpsConnector::from((http, tls.clone())),
        Some(name) => {
            // The builder insists on choosing the protocols itself.
            let mut tls = tls.clone();
            tls.alpn_protocols.clear();
            let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_only();
            builder
                .with_server_name_resolver(FixedServerNameResolver::new(name.clone()))
                .enable_all_versions()
                .wrap_connector(http)
        }
    };
    legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .timer(hyper_util::rt::TokioTimer::new())
        // A connection that carries watches only would count as idle, and every watch would begin with a handshake.
        .pool_idle_timeout(None)
        .build(https)
}

impl tower::Service<Request<Body>> for Connections {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Incoming>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let hyper = self.present.read().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move { Ok(hyper.request(request).await?) })
    }
}

/// A client of the API at `server` by this TLS configuration, whose certificate may change while it is used.
///
/// # Errors
/// When the URL or the token cannot be used.
pub fn client(
    server: &str,
    tls: rustls::ClientConfig,
    bearer: Option<String>,
) -> Result<kube::Client, Error> {
    let url = server.parse().map_err(|source| Error::Url { url: server.to_owned(), source })?;
    let mut config = kube::Config::new(url);
    config.auth_info.token = bearer.map(Into::into);
    Ok(client_of(&config, tls)?.0)
}

/// The same for what a kubeconfig says: the URL, the name in the server's certificate, and tokens, also such as a file
/// or a program gives. Certificates, the CA among them, are those of `tls`.
///
/// # Errors
/// When what it says cannot be used.
pub fn client_of(
    config: &kube::Config,
    tls: rustls::ClientConfig,
) -> Result<(kube::Client, Connections), Error> {
    let name = config
        .tls_server_name
        .as_ref()
        .map(|name| ServerName::try_from(name.clone()).map_err(|_| Error::Name(name.clone())));
    let connections = Connections::new(tls, name.transpose()?);
    let auth =
        config.auth_layer().map_err(|e| Error::Credentials(config.cluster_url.to_string(), Box::new(e)))?;
    let service = tower::ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(auth)
        .service(connections.clone());
    Ok((kube::client::ClientBuilder::new(service, "default").build(), connections))
}
