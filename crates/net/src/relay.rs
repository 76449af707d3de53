//! The API inside pods: connections to the fixed link-local address are copied to the real API, byte for byte.
//!
//! TLS ends at the server, so nothing is read here. The listener belongs to the bridge alone: several nodes on one
//! machine each have their own, and nothing outside the pods reaches it.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use dunlin_base::task::Task;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::error::Error;

/// Connections at once; each costs two sockets and two small buffers.
const MOST: usize = 256;
/// A buffer per direction.
const BUFFER: usize = 8 * 1024;

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that is being made.
pub type Connecting = Pin<Box<dyn Future<Output = std::io::Result<Box<dyn Stream>>> + Send>>;

/// Another way than the usual target for connections of the pod with this address; `None`: the usual one.
pub type Detour = Arc<dyn Fn(IpAddr) -> Option<Connecting> + Send + Sync>;

/// A running relay.
pub struct Relay {
    port: u16,
    _task: Task,
}

impl Relay {
    /// Listens on `address` of the interface `bridge` and copies to `target` (`host:port`, which may change).
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(
        bridge: Option<&str>,
        address: SocketAddr,
        target: watch::Receiver<String>,
        detour: Option<Detour>,
    ) -> Result<Self, Error> {
        let failed = |e| Error::io("listening on", address.to_string(), e);
        let socket = TcpSocket::new_v4().map_err(failed)?;
        socket.set_reuseaddr(true).map_err(failed)?;
        if let Some(bridge) = bridge {
            socket.bind_device(Some(bridge.as_bytes())).map_err(failed)?;
        }
        socket.bind(address).map_err(failed)?;
        let listener = socket.listen(64).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        Ok(Self { port, _task: Task::spawn("api-relay", accept(listener, target, detour)) })
    }

    /// A relay of its own for one pod in the host's network, on a port of the loopback: that of `before` if it is free,
    /// since the pod's environment names it, else another.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn on_loopback(
        before: Option<u16>,
        target: watch::Receiver<String>,
        detour: Detour,
    ) -> Result<Self, Error> {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match before.map(|port| Self::start(None, at(port), target.clone(), Some(detour.clone()))) {
            Some(Ok(relay)) => Ok(relay),
            _ => Self::start(None, at(0), target, Some(detour)),
        }
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The relay at `api`, which is an address of `bridge`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn on_bridge(
        bridge: &str,
        api: SocketAddrV4,
        target: watch::Receiver<String>,
        detour: Option<Detour>,
    ) -> Result<Self, Error> {
        Self::start(Some(bridge), api.into(), target, detour)
    }
}

async fn accept(listener: TcpListener, target: watch::Receiver<String>, detour: Option<Detour>) {
    let room = Arc::new(Semaphore::new(MOST));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let target = target.borrow().clone();
                    let other = detour.as_ref().and_then(|detour| detour(peer.ip()));
                    connections.spawn(async move {
                        copy(stream, &target, other).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection to the API failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn copy(mut inside: TcpStream, target: &str, detour: Option<Connecting>) {
    let connecting = async {
        match detour {
            Some(detour) => detour.await,
            None => {
                let stream = TcpStream::connect(target).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream) as Box<dyn Stream>)
            }
        }
    };
    let connected = tokio::time::timeout(Duration::from_secs(10), connecting).await;
    let mut outside = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, target, "the API cannot be reached for a pod");
            return;
        }
        Err(_) => return,
    };
    let _ = inside.set_nodelay(true);
    // How a connection ends is its peers' business.
    let _ = tokio::io::copy_bidirectional_with_sizes(&mut inside, &mut outside, BUFFER, BUFFER).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn copies_both_ways() {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let target = server.local_addr().expect("address").to_string();
        let (_keep, receiver) = watch::channel(target);
        let free = TcpListener::bind("127.0.0.1:0").await.expect("listen").local_addr().expect("address");
        let _relay = Relay::start(None, free, receiver, None).expect("relay");
        let mut client = TcpStream::connect(free).await.expect("connect");
        let (mut peer, _) = server.accept().await.expect("accept");
        client.write_all(b"ping").await.expect("write");
        let mut four = [0u8; 4];
        peer.read_exact(&mut four).await.expect("read");
        peer.write_all(b"pong").await.expect("write");
        client.read_exact(&mut four).await.expect("read");
        assert_eq!(&four, b"pong");
    }
}
