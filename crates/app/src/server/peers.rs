//! Calls to nodes whose tunnel another server holds: over the API's port, with a certificate that only servers have.
//!
//! Who holds a tunnel stands in the node's Lease, which that server renews anyway. A call is handed on once: the server
//! that gets it has the tunnel, or says that the node is not connected.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dunlin_apiserver::{BoxBody, DialError, PEER_ALPN, TunnelHook};
use dunlin_base::error::chain;
use dunlin_pki::tls::ClientIdentity;
use dunlin_pki::{Authority, Identity};
use dunlin_tunnel::dial;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;

use super::dialer::Dialer;
use super::rotation;
use super::servers::{HELD_BY, Servers};
use crate::error::{Doing, Error};

/// The group of servers' own certificates.
const GROUP: &str = "dunlin:servers";
/// Which node a call is for.
const NODE: HeaderName = HeaderName::from_static("dunlin-node");
/// Says that the answer is not the node's: the node is not connected there.
const AWAY: HeaderName = HeaderName::from_static("dunlin-node-away");
/// A connection that is silent for so long is asked whether the other side lives.
const PING: Duration = Duration::from_secs(10);
/// Calls at once from one server.
const CALLS: u32 = 1024;

/// The way to the other servers.
pub struct Peers {
    pub servers: Servers,
    tls: Arc<rustls::ClientConfig>,
    /// One connection to each, by its address.
    open: Mutex<HashMap<String, SendRequest<BoxBody>>>,
}

impl Peers {
    /// With a certificate of this server's own, and what renews it while it is polled.
    pub fn new(
        servers: Servers,
        authority: Arc<Authority>,
        life: Duration,
    ) -> Result<(Arc<Self>, impl Future<Output = ()>), Error> {
        let doing = "issuing this server's certificate for the other servers";
        let user = format!("dunlin:server:{}", servers.id);
        let issue = move |authority: &Authority| {
            authority.issue_client(&user, &[GROUP.to_owned()], life).doing(doing)
        };
        let first: Identity = issue(&authority)?;
        let identity = ClientIdentity::new(&first).doing(doing)?;
        let tls =
            dunlin_pki::tls::client_config_with(authority.ca_pem(), Some(identity.clone()), &[PEER_ALPN]);
        let tls = Arc::new(tls.doing(doing)?);
        let rotate = async move {
            rotation::run("this server's for others", first, || {
                let fresh = issue(&authority)?;
                identity.replace(&fresh).doing(doing)?;
                Ok(fresh)
            })
            .await;
        };
        Ok((Arc::new(Self { servers, tls, open: Mutex::default() }), rotate))
    }

    /// Hands a call to the server that holds the tunnel `through`, which leads to `node`.
    pub async fn call(
        &self,
        node: &str,
        through: &str,
        mut request: Request<BoxBody>,
    ) -> Result<Response<BoxBody>, DialError> {
        let away = || DialError::NotConnected(node.to_owned());
        let failed = |source| DialError::Call { node: node.to_owned(), source };
        let leases: Api<Lease> = Api::namespaced(self.servers.client.clone(), "kube-node-lease");
        let lease = leases.get_opt(through).await.map_err(|e| failed(e.into()))?;
        let holder = lease.and_then(|lease| lease.metadata.annotations?.remove(HELD_BY));
        let holder = holder.filter(|holder| *holder != self.servers.id).ok_or_else(away)?;
        let address =
            self.servers.address_of(&holder).await.map_err(|e| failed(e.into()))?.ok_or_else(away)?;
        let mut sender = self.sender(&address).await.map_err(|e| failed(e.into()))?;
        request.headers_mut().insert(NODE, HeaderValue::from_str(node).map_err(|e| failed(e.into()))?);
        sender.ready().await.map_err(|e| failed(e.into()))?;
        let response = sender.send_request(request).await.map_err(|e| failed(e.into()))?;
        if response.headers().contains_key(AWAY) {
            return Err(away());
        }
        Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
    }

    async fn sender(&self, address: &str) -> Result<SendRequest<BoxBody>, std::io::Error> {
        let kept = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(address).cloned();
        if let Some(kept) = kept.filter(|kept| !kept.is_closed()) {
            return Ok(kept);
        }
        let (host, port) =
            crate::join::endpoint(&format!("https://{address}")).map_err(std::io::Error::other)?;
        let target = dial::Target { host, port, tls: self.tls.clone() };
        let options =
            dial::Options { connect: Duration::from_secs(5), silence: PING, ..dial::Options::default() };
        let stream = dial::connect(&target, &options).await.map_err(std::io::Error::other)?;
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
        // It ends by itself when the last call and the sender are gone.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = chain(&error), "a connection to another server ended");
            }
        });
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(address.to_owned(), sender.clone());
        Ok(sender)
    }
}

/// Takes calls of other servers; whoever is none is turned away.
pub fn hook(dialer: Arc<Dialer>) -> TunnelHook {
    Arc::new(move |subject, stream, peer| {
        let dialer = dialer.clone();
        Box::pin(async move {
            if !subject.groups.iter().any(|group| group == GROUP) {
                tracing::warn!(user = subject.user, %peer, "a call was refused: not a server's certificate");
                return;
            }
            let service = service_fn(move |request: Request<Incoming>| {
                let dialer = dialer.clone();
                async move { Ok::<_, Infallible>(answer(&dialer, request).await) }
            });
            let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(PING)
                .keep_alive_timeout(PING)
                .max_concurrent_streams(CALLS)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%peer, error = chain(&error), "a connection of another server ended");
            }
        })
    })
}

async fn answer(dialer: &Dialer, request: Request<Incoming>) -> Response<BoxBody> {
    let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
    let node = request.headers_mut().remove(NODE);
    let node = node.as_ref().and_then(|node| node.to_str().ok()).unwrap_or_default().to_owned();
    match dialer.here(&node, request).await {
        Ok(response) => response,
        Err(error) => {
            let away = matches!(error, DialError::NotConnected(_));
            let text = Full::from(chain(&error).to_string()).map_err(|never| match never {}).boxed_unsync();
            let mut response = Response::new(text);
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            if away {
                response.headers_mut().insert(AWAY, HeaderValue::from_static("true"));
            }
            response
        }
    }
}
