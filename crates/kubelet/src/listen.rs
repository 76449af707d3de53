//! The TLS listener of the kubelet's API.
//!
//! HTTP/1.1 alone: sessions upgrade their connection, and HTTP/2 has none to upgrade. Connections are bounded in number,
//! in handshake time and in header time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dunlin_base::task::Task;
use dunlin_pki::tls::{ServerIdentity, server_config_with, server_config_without_clients};
use dunlin_pki::{Peer, Subject};
use dunlin_streams::BoxError;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::error::Error;
use crate::routes::Kubelet;

/// Connections at once; each costs a TLS session and its buffers.
const CONNECTIONS: usize = 128;
/// How long a handshake, and the head of a request, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest head of a request, bytes.
const HEAD: usize = 64 << 10;

/// A running listener; dropping it closes everything.
pub struct Listener {
    _task: Task,
}

impl Listener {
    /// Takes `port` of every address.
    ///
    /// # Errors
    /// When it is not free.
    pub async fn bind(port: u16) -> Result<TcpListener, Error> {
        let address = SocketAddr::from(([0, 0, 0, 0], port));
        let failed = |source| Error::Listen { address: address.to_string(), source };
        TcpListener::bind(address).await.map_err(failed)
    }

    /// Serves on `listener`. `clients` is the CA of client certificates, once it is known; until then callers need
    /// tokens.
    pub fn start(
        listener: TcpListener,
        identity: Arc<ServerIdentity>,
        clients: watch::Receiver<Option<String>>,
        kubelet: Kubelet,
    ) -> Self {
        Self { _task: Task::spawn("kubelet-api", accept(listener, identity, clients, kubelet)) }
    }
}

fn acceptor(identity: &Arc<ServerIdentity>, clients: Option<&str>) -> Result<TlsAcceptor, dunlin_pki::Error> {
    const PROTOCOLS: &[&[u8]] = &[b"http/1.1"];
    let config = match clients {
        Some(ca) => server_config_with(ca, identity.clone(), PROTOCOLS, Duration::ZERO)?,
        None => server_config_without_clients(identity.clone(), PROTOCOLS)?,
    };
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept(
    listener: TcpListener,
    identity: Arc<ServerIdentity>,
    mut clients: watch::Receiver<Option<String>>,
    kubelet: Kubelet,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut tls = None;
    loop {
        while connections.try_join_next().is_some() {}
        if tls.is_none() {
            let ca = clients.borrow_and_update().clone();
            match acceptor(&identity, ca.as_deref()) {
                Ok(made) => tls = Some(made),
                Err(error) => {
                    let error = dunlin_base::error::chain(&error);
                    tracing::error!(error, "the client CA cannot be used, callers need tokens");
                    tls = acceptor(&identity, None).ok();
                }
            }
        }
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Where nobody will tell any more, what is known stays.
            Ok(()) = clients.changed() => {
                tls = None;
                continue;
            }
        };
        match (accepted, &tls) {
            (Ok((stream, peer)), Some(tls)) => {
                let (tls, kubelet) = (tls.clone(), kubelet.clone());
                connections.spawn(async move {
                    connection(stream, peer, tls, kubelet).await;
                    drop(permit);
                });
            }
            (Ok(_), None) => {}
            (Err(error), _) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, tls: TlsAcceptor, kubelet: Kubelet) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "handshake failed"),
        Err(_) => return tracing::debug!(%peer, "handshake took too long"),
    };
    let leaf =
        stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.to_vec());
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (kubelet, subject) = (kubelet.clone(), leaf.as_deref().and_then(present));
        async move {
            let request = request.map(|body| body.map_err(|e| Box::new(e) as BoxError).boxed_unsync());
            Ok::<_, Infallible>(kubelet.handle(request, subject).await)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE * 12)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = serving.await {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// Whom the certificate names, if it has not expired since the connection was made.
fn present(leaf: &[u8]) -> Option<Subject> {
    Peer::read(leaf).ok().filter(|peer| peer.expired.is_zero()).map(|peer| peer.subject)
}
