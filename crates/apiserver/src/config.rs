//! What an API server is made of, and the two seams to the outside: the caller's identity and the way to nodes.
//!
//! A [`User`] in a request's extensions is trusted. Extensions never come over the wire, so only code of this process
//! and the TLS listener (after it has verified a certificate) can put one there.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dunlin_api::names::user::CREDENTIAL_ID;
use dunlin_pki::{Peer, Subject};
use futures_util::future::BoxFuture;

use crate::audit::Audit;
use crate::auth::oidc::OidcIssuer;

/// The body of every answer, and of every request to a node, and any error that it can end with.
pub use dunlin_streams::{BoxBody, BoxError};

/// A TLS connection that asked for the tunnel protocol.
pub type TunnelStream = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;
/// Takes over a connection that asked for the tunnel protocol, with the verified subject of its certificate.
pub type TunnelHook = Arc<dyn Fn(Subject, TunnelStream, SocketAddr) -> BoxFuture<'static, ()> + Send + Sync>;

/// A peer that was let in by its certificate.
pub struct Admitted {
    /// Who it is.
    pub user: User,
    /// Whether it may open a tunnel.
    pub tunnel: bool,
    /// Ends when the peer is not welcome any more; its connections are closed then.
    pub revoked: BoxFuture<'static, ()>,
}

/// Judges clients by certificates that TLS has verified: signed by our CA, and expired by no more than the grace.
pub trait Peers: Send + Sync + 'static {
    /// Who the peer is. `None` turns it away: its requests count as anonymous, and it gets no tunnel.
    fn admit(&self, peer: &Peer) -> Option<Admitted>;
}

/// Lets everybody in whose certificate has not expired.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unexpired;

impl Peers for Unexpired {
    fn admit(&self, peer: &Peer) -> Option<Admitted> {
        peer.expired.is_zero().then(|| Admitted {
            user: User::of(peer),
            tunnel: true,
            revoked: Box::pin(std::future::pending()),
        })
    }
}

/// Who makes a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// The name, as `system:serviceaccount:default:default` or `jane`.
    pub name: String,
    /// A stable identifier, where the way of authentication has one.
    pub uid: String,
    /// The groups, without `system:authenticated`, which the server adds.
    pub groups: Vec<String>,
    /// Further facts, as the pod that a token is bound to.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user with groups.
    pub fn new(name: impl Into<String>, groups: &[&str]) -> Self {
        Self {
            name: name.into(),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// The user that a certificate names. Which certificate it was is noted as Kubernetes notes it.
    pub fn of(peer: &Peer) -> Self {
        let credential = format!("X509SHA256={}", peer.fingerprint);
        Self {
            name: peer.subject.user.clone(),
            groups: peer.subject.groups.clone(),
            extra: BTreeMap::from([(CREDENTIAL_ID.to_owned(), vec![credential])]),
            ..Self::default()
        }
    }

    /// A component of this process, which may do everything (`system:masters`).
    pub fn in_process(name: impl Into<String>) -> Self {
        Self::new(name, &["system:masters"])
    }

    /// Whether the user is in `group`.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

/// A bearer token from configuration.
#[derive(Clone)]
pub struct StaticToken {
    /// The token itself.
    pub token: String,
    /// Whom it stands for.
    pub user: User,
}

impl std::fmt::Debug for StaticToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StaticToken").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Why a node could not be called.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No tunnel of that node is open.
    #[error("node {0} is not connected")]
    NotConnected(String),
    /// The tunnel is there, the call failed.
    #[error("calling node {node} failed")]
    Call {
        /// The node.
        node: String,
        /// Why.
        #[source]
        source: BoxError,
    },
}

/// The way to the HTTP API of a node; the paths are `/v1/pods/...`.
pub trait NodeDialer: Send + Sync + 'static {
    /// Sends a request to the node called `node`.
    fn call(
        &self,
        node: &str,
        request: http::Request<BoxBody>,
    ) -> BoxFuture<'static, Result<http::Response<BoxBody>, DialError>>;
}

/// A dialer that knows no nodes.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoNodes;

impl NodeDialer for NoNodes {
    fn call(
        &self,
        node: &str,
        _request: http::Request<BoxBody>,
    ) -> BoxFuture<'static, Result<http::Response<BoxBody>, DialError>> {
        let node = node.to_owned();
        Box::pin(async move { Err(DialError::NotConnected(node)) })
    }
}

/// What a client may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest request body, in bytes. Kubernetes' own limit is 3 MiB.
    pub body: usize,
    /// Connections at once; more wait in the kernel's backlog.
    pub connections: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long one request may take that is neither a watch nor a stream.
    pub request: Duration,
    /// Requests that run at once, in all priority levels but the exempt one together.
    pub concurrency: usize,
    /// How many Events are kept.
    pub events: usize,
    /// How long an Event is kept.
    pub event_ttl: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 3 << 20,
            connections: 8192,
            handshake: Duration::from_secs(10),
            request: Duration::from_secs(60),
            concurrency: 200,
            events: 2000,
            event_ttl: Duration::from_secs(3600),
        }
    }
}

/// What an API server is made of.
#[derive(Clone)]
pub struct Config {
    /// Where objects live.
    pub store: Arc<dyn dunlin_store::Store>,
    /// Issues and verifies service account tokens.
    pub issuer: Arc<dunlin_pki::jwt::Issuer>,
    /// The issuer's URL, also the default audience of tokens.
    pub issuer_url: String,
    /// The CA's certificate, served at `/cacerts` and put into every namespace.
    pub ca_pem: String,
    /// The way to nodes.
    pub dialer: Arc<dyn NodeDialer>,
    /// Bearer tokens known from configuration.
    pub tokens: Vec<StaticToken>,
    /// Takes connections that speak the tunnel protocol.
    pub tunnel: Option<TunnelHook>,
    /// Takes connections of pods to an API above.
    pub home: Option<TunnelHook>,
    /// Signs the certificate by which extension servers know this server.
    pub front_proxy: Option<Arc<dunlin_pki::Authority>>,
    /// Takes connections of other servers of this cluster.
    pub peer: Option<TunnelHook>,
    /// Judges client certificates.
    pub peers: Arc<dyn Peers>,
    /// The first 16 bits of service addresses: `a.b.0.0/16`.
    pub service_network: Ipv4Addr,
    /// The port that the service `kubernetes` leads to.
    pub api_port: u16,
    /// How long pods that say nothing about it stay on a node that is out of reach.
    pub eviction_toleration: Duration,
    /// Issuers of others whose tokens are accepted.
    pub oidc: Vec<OidcIssuer>,
    /// Who is told what requests do; nobody if there is none.
    pub audit: Option<Arc<Audit>>,
    /// Bounds.
    pub limits: Limits,
}

impl Config {
    /// A configuration with defaults for everything that has one.
    pub fn new(
        store: Arc<dyn dunlin_store::Store>,
        issuer: Arc<dunlin_pki::jwt::Issuer>,
        issuer_url: impl Into<String>,
        ca_pem: impl Into<String>,
        dialer: Arc<dyn NodeDialer>,
    ) -> Self {
        Self {
            store,
            issuer,
            issuer_url: issuer_url.into(),
            ca_pem: ca_pem.into(),
            dialer,
            tokens: Vec::new(),
            tunnel: None,
            home: None,
            front_proxy: None,
            peer: None,
            peers: Arc::new(Unexpired),
            service_network: Ipv4Addr::new(10, 43, 0, 0),
            api_port: 6443,
            eviction_toleration: Duration::from_secs(300),
            oidc: Vec::new(),
            audit: None,
            limits: Limits::default(),
        }
    }
}
