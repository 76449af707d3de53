//! The TLS listener: certificates become users, connections become requests, tunnels go their own way.
//!
//! One task accepts; each connection is a task in a set that ends with the listener. A slow or silent client costs one
//! connection, bounded in number, in handshake time and in header time; of many clients at once few shake hands at a time.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use dunlin_base::task::Task;
use dunlin_pki::{Peer, Subject};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::audit;
use crate::config::Admitted;
use crate::handshake;
use crate::server::ApiServer;

/// The ALPN name of the tunnel protocol.
pub const TUNNEL_ALPN: &[u8] = b"dunlin-tunnel/1";
/// The ALPN name of connections that pods make to their home API through this server.
pub const HOME_ALPN: &[u8] = b"dunlin-home/1";
/// The ALPN name of what servers of one cluster ask each other.
pub const PEER_ALPN: &[u8] = b"dunlin-peer/1";
/// Headers that are larger are refused.
const HEADERS: usize = 64 << 10;
/// How long a client may be silent before the kernel asks whether it still lives, and how often it asks then.
const QUIET: (std::time::Duration, std::time::Duration) =
    (std::time::Duration::from_secs(150), std::time::Duration::from_secs(15));
/// How long open requests may take once the listener is told to stop.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(5);

/// The listener could not start.
#[derive(Debug, thiserror::Error)]
#[error("reading the listener's own address failed")]
pub struct ServeError(#[source] std::io::Error);

/// A running listener. Dropping it closes everything at once; [`Listener::stop`] lets requests finish.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: Task,
}

impl Listener {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, lets open requests finish for a few seconds, and closes.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        self.task.finished().await;
    }

    /// Waits until the listener has ended.
    pub async fn finished(&mut self) {
        self.task.finished().await;
    }
}

/// Serves the API on `listener`. The ALPN list of `tls` decides what is spoken: `h2`, `http/1.1`, and
/// `dunlin-tunnel/1`, `dunlin-home/1` and `dunlin-peer/1`, which go to the configured hooks.
///
/// # Errors
/// When the listener has no address.
pub fn serve(
    api: ApiServer,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
) -> Result<Listener, ServeError> {
    let address = listener.local_addr().map_err(ServeError)?;
    let (stop, stopped) = watch::channel(false);
    let task = Task::spawn("api listener", accept(api, listener, TlsAcceptor::from(tls), stopped));
    Ok(Listener { address, stop, task })
}

async fn accept(api: ApiServer, listener: TcpListener, tls: TlsAcceptor, mut stopped: watch::Receiver<bool>) {
    let limit = Arc::new(Semaphore::new(api.inner().config.limits.connections));
    let room = Arc::new(Semaphore::new(handshake::AT_ONCE));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = limit.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (api, tls, stopped) = (api.clone(), tls.clone(), stopped.clone());
                let room = room.clone();
                connections.spawn(async move {
                    if let Err(error) = watched(&stream) {
                        tracing::debug!(%peer, %error, "setting up a connection failed");
                    }
                    let most = api.inner().config.limits.handshake;
                    match handshake::handshake(stream, &tls, &room, most).await {
                        Some(Ok(stream)) => connection(api, stream, peer, stopped).await,
                        Some(Err(error)) => tracing::debug!(%peer, %error, "handshake failed"),
                        None => tracing::debug!(%peer, "handshake took too long"),
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
    let _ = tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
}

async fn connection(
    api: ApiServer,
    stream: TlsStream<TcpStream>,
    peer: SocketAddr,
    mut stopped: watch::Receiver<bool>,
) {
    let session = stream.get_ref().1;
    let admitted = session.peer_certificates().and_then(|chain| chain.first()).and_then(|leaf| {
        let peer = Peer::read(leaf)
            .inspect_err(|error| tracing::warn!(%peer, %error, "a client certificate has no usable subject"))
            .ok()?;
        api.inner().config.peers.admit(&peer)
    });
    let (user, may_tunnel, revoked) = match admitted {
        Some(Admitted { user, tunnel, revoked }) => (Some(user), tunnel, revoked),
        None => (None, false, Box::pin(std::future::pending()) as _),
    };
    let hook = match session.alpn_protocol() {
        Some(TUNNEL_ALPN) => Some(&api.inner().config.tunnel),
        Some(HOME_ALPN) => Some(&api.inner().config.home),
        Some(PEER_ALPN) => Some(&api.inner().config.peer),
        _ => None,
    };
    if let Some(hook) = hook {
        match (user, hook) {
            (Some(user), Some(hook)) if may_tunnel => {
                let subject = Subject { user: user.name, groups: user.groups };
                tokio::select! {
                    () = hook(subject, stream, peer) => {}
                    () = revoked => tracing::info!(%peer, "stream closed, its certificate is refused now"),
                }
            }
            _ => tracing::debug!(%peer, "a stream without an acceptable client certificate was refused"),
        }
        return;
    }
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (api, user) = (api.clone(), user.clone());
        async move {
            let mut request =
                request.map(|body| body.map_err(|e| Box::new(e) as crate::config::BoxError).boxed_unsync());
            request.extensions_mut().insert(audit::From(peer));
            if let Some(user) = user {
                request.extensions_mut().insert(user);
            }
            Ok::<_, std::convert::Infallible>(api.handle(request).await)
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(std::time::Duration::from_secs(120))
        .max_buf_size(HEADERS + (64 << 10));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(1000)
        .max_header_list_size(HEADERS as u32);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        _ = stopped.changed() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
        () = revoked => {
            tracing::info!(%peer, "connection closed, its certificate is refused now");
            return;
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// Lets the kernel notice that a client is gone. HTTP/2's pings would tell the same at twice the traffic, and a node
/// that waits for events sends nothing else for hours.
fn watched(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, QUIET.0)?;
    sockopt::set_tcp_keepintvl(stream, QUIET.1)?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    Ok(())
}

/// Keeps the body type of the crate's public surface in one place.
#[allow(dead_code, reason = "asserts at compile time that the service takes what hyper gives")]
fn takes_hyper_bodies(api: ApiServer) -> impl tower::Service<http::Request<Incoming>> {
    fn body<B: http_body::Body<Data = Bytes>>() {}
    body::<Incoming>();
    api
}
