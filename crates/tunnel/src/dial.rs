//! The side that dials and answers: connects again and again, and serves what it is asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin_base::backoff::Backoff;
use dunlin_base::error::chain;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http2;
use hyper::service::HttpService;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{CONNECTION_WINDOW, STREAM_WINDOW};

/// The first and the longest wait between tries. The longest is what a healed link costs at most.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// A connection that lived this long was a success: the next try comes soon.
const LIVED: Duration = Duration::from_secs(30);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(20);
/// The dialled side pings; when nothing at all comes for this long, the link is dead though nobody has said so.
const SILENCE: Duration = Duration::from_secs(40);

/// Whom to dial.
#[derive(Clone)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Our certificate, their CA, and [`crate::ALPN`].
    pub tls: Arc<ClientConfig>,
}

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// TCP or TLS failed.
    #[error("connecting to {host}:{port}")]
    Connect {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// The host's name cannot stand in a certificate.
    #[error("{0:?} is no host name or address")]
    Name(String),
}

/// Keeps a tunnel to `target` and serves `service` on it, for as long as it is polled.
pub async fn run<S, B>(target: Target, service: S)
where
    S: HttpService<Incoming, ResBody = B> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut backoff = Backoff::new(FIRST, LONGEST);
    loop {
        let begun = Instant::now();
        match connect(&target).await {
            Ok(stream) => {
                tracing::info!(host = target.host, port = target.port, "tunnel open");
                serve(stream, service.clone()).await;
                tracing::info!(host = target.host, port = target.port, "tunnel lost, dialling again");
                if begun.elapsed() >= LIVED {
                    backoff.reset();
                }
            }
            Err(error) if backoff.failures() == 0 => {
                tracing::warn!(error = chain(&error), "tunnel not open, trying on")
            }
            Err(error) => tracing::debug!(error = chain(&error), "tunnel not open"),
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

async fn connect(target: &Target) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Error> {
    let failed = |source| Error::Connect { host: target.host.clone(), port: target.port, source };
    let name = ServerName::try_from(target.host.clone()).map_err(|_| Error::Name(target.host.clone()))?;
    let attempt = async {
        let tcp = TcpStream::connect((target.host.as_str(), target.port)).await?;
        tcp.set_nodelay(true)?;
        TlsConnector::from(target.tls.clone()).connect(name, tcp).await
    };
    match tokio::time::timeout(CONNECT, attempt).await {
        Ok(result) => result.map_err(failed),
        Err(_) => Err(failed(std::io::ErrorKind::TimedOut.into())),
    }
}

/// Serves `service` on a connection that we have opened, until it ends.
pub async fn serve<S, B, T>(stream: T, service: S)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = B> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(SILENCE)
        .keep_alive_timeout(SILENCE / 2)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(error = chain(&error), "tunnel broke");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::accept::{Event, Tunnels};
    use bytes::Bytes;
    use dunlin_base::task::Task;
    use http_body_util::{BodyExt, Full};
    use hyper::service::service_fn;
    use std::convert::Infallible;

    /// A node that gives back what it gets, as it gets it.
    fn echo(stream: tokio::io::DuplexStream) -> Task {
        let service = service_fn(|request: http::Request<Incoming>| async {
            Ok::<_, Infallible>(http::Response::new(request.into_body()))
        });
        Task::spawn("echo", serve(stream, service))
    }

    fn adopt(tunnels: &Arc<Tunnels>, name: &'static str) -> (Task, Task) {
        let (ours, theirs) = tokio::io::duplex(16 * 1024);
        let tunnels = tunnels.clone();
        let adopted = Task::spawn("adopt", async move { tunnels.adopt(name.to_owned(), theirs).await });
        (echo(ours), adopted)
    }

    #[tokio::test]
    async fn the_dialled_side_calls_and_both_bodies_stream() {
        let tunnels = Arc::new(Tunnels::new(Settings::default()));
        let mut events = tunnels.events();
        let (node, _adopted) = adopt(&tunnels, "a");
        assert_eq!(events.recv().await.unwrap(), Event::Connected("a".to_owned()));
        // Larger than every window, so that it only arrives if flow control lets go.
        let large = Bytes::from(vec![7u8; 1 << 20]);
        let body = Full::new(large.clone()).map_err(|never| match never {}).boxed_unsync();
        let response = tunnels.call("a", http::Request::post("/").body(body).unwrap()).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), large);

        drop(node);
        assert_eq!(events.recv().await.unwrap(), Event::Disconnected("a".to_owned()));
        let empty = Full::default().map_err(|never| match never {}).boxed_unsync();
        assert!(tunnels.call("a", http::Request::post("/").body(empty).unwrap()).await.is_err());
    }

    #[tokio::test]
    async fn a_newer_connection_replaces_the_older() {
        let tunnels = Arc::new(Tunnels::new(Settings::default()));
        let mut events = tunnels.events();
        let (_first, mut old) = adopt(&tunnels, "a");
        events.recv().await.unwrap();
        let (_second, _new) = adopt(&tunnels, "a");
        assert_eq!(events.recv().await.unwrap(), Event::Connected("a".to_owned()));
        old.finished().await;
        assert!(tunnels.is_connected("a"), "the older one's end does not take the newer one out");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_given_up() {
        let tunnels = Arc::new(Tunnels::new(Settings::default()));
        let (_held, theirs) = tokio::io::duplex(1 << 20);
        tokio::time::timeout(Duration::from_secs(60), tunnels.adopt("a".to_owned(), theirs))
            .await
            .expect("unanswered pings end it");
        assert!(tunnels.connected().is_empty());
    }
}
