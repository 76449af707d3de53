//! The side that dials and answers: connects again and again, and serves what it is asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin_base::backoff::Backoff;
use dunlin_base::error::chain;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http2;
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use crate::alive::{Alive, Guarded};
use crate::tasks::Tasks;
use crate::{CONNECTION_WINDOW, SEND_BUFFER, STREAM_WINDOW, STREAMS};

/// Whom to dial.
#[derive(Clone)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Our certificate, their CA, and the one protocol that is to be spoken: [`crate::ALPN`] for a tunnel.
    pub tls: Arc<ClientConfig>,
}

/// Whether the tunnel is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It is.
    Up,
    /// It is not; it is being dialled.
    Down,
}

/// How to dial, and what to tell.
#[derive(Clone)]
pub struct Options {
    /// The first wait between tries; each further one is twice as long, with jitter.
    pub first_delay: Duration,
    /// The longest wait between tries: what a healed link costs at most.
    pub longest_delay: Duration,
    /// A connection that lived this long was a success: the next try comes soon. A shorter one counts as a failure, or
    /// a server that ends each connection at once would be dialled without end.
    pub lived: Duration,
    /// How long connecting and the TLS handshake may take together.
    pub connect: Duration,
    /// The dialled side pings. When nothing at all has come for this long we ask ourselves, and when no answer comes
    /// for half as long, the link is dead though nobody has said so. Also how long the kernel tries to send.
    pub silence: Duration,
    /// Told whenever the tunnel opens or is lost.
    pub link: Option<watch::Sender<Link>>,
    /// Asked before dialling and whenever something arrives; while it says no, there is no tunnel.
    pub alive: Option<Alive>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            first_delay: Duration::from_millis(500),
            longest_delay: Duration::from_secs(30),
            lived: Duration::from_secs(30),
            connect: Duration::from_secs(20),
            silence: Duration::from_secs(40),
            link: None,
            alive: None,
        }
    }
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
    /// The other side does not speak what is to be spoken: a server of ours that takes no tunnels, say.
    #[error("{host}:{port} does not speak the protocol that was asked for")]
    Protocol {
        /// The host.
        host: String,
        /// The port.
        port: u16,
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
    run_with(target, service, Options::default()).await;
}

/// The same with other than the usual times, and with news of the link.
pub async fn run_with<S, B>(target: Target, service: S, options: Options)
where
    S: HttpService<Incoming, ResBody = B> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut backoff = Backoff::new(options.first_delay, options.longest_delay);
    let tell = |link| {
        if let Some(told) = &options.link {
            told.send_replace(link);
        }
    };
    loop {
        let begun = Instant::now();
        if options.alive.as_ref().is_some_and(|alive| !alive()) {
            tracing::debug!("tunnel not dialled, this side makes no progress");
        } else {
            match connect(&target, &options).await {
                Ok(stream) => {
                    tracing::info!(host = target.host, port = target.port, "tunnel open");
                    tell(Link::Up);
                    let stream = Guarded { stream, alive: options.alive.clone() };
                    serve_with(stream, service.clone(), options.silence).await;
                    tell(Link::Down);
                    tracing::info!(host = target.host, port = target.port, "tunnel lost, dialling again");
                    if begun.elapsed() >= options.lived {
                        backoff.reset();
                    }
                }
                Err(error) if backoff.failures() == 0 => {
                    tracing::warn!(error = chain(&error), "tunnel not open, trying on");
                }
                Err(error) => tracing::debug!(error = chain(&error), "tunnel not open"),
            }
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// One TLS connection to `target` that has agreed on its protocol.
///
/// # Errors
/// When TCP or TLS fails, or the other side does not speak the protocol.
pub async fn connect(
    target: &Target,
    options: &Options,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Error> {
    let failed = |source| Error::Connect { host: target.host.clone(), port: target.port, source };
    let name = ServerName::try_from(target.host.clone()).map_err(|_| Error::Name(target.host.clone()))?;
    let attempt = async {
        let tcp = TcpStream::connect((target.host.as_str(), target.port)).await?;
        tcp.set_nodelay(true)?;
        watched(&tcp, options.silence)?;
        TlsConnector::from(target.tls.clone()).connect(name, tcp).await
    };
    let stream = match tokio::time::timeout(options.connect, attempt).await {
        Ok(result) => result.map_err(failed)?,
        Err(_) => return Err(failed(std::io::ErrorKind::TimedOut.into())),
    };
    if stream.get_ref().1.alpn_protocol() != target.tls.alpn_protocols.first().map(Vec::as_slice) {
        return Err(Error::Protocol { host: target.host.clone(), port: target.port });
    }
    Ok(stream)
}

/// Lets the kernel give up on what nobody acknowledges, instead of after a quarter of an hour.
fn watched(tcp: &TcpStream, silence: Duration) -> std::io::Result<()> {
    sockopt::set_tcp_user_timeout(tcp, u32::try_from(silence.as_millis()).unwrap_or(u32::MAX))?;
    sockopt::set_socket_keepalive(tcp, true)?;
    // Later than our own pings, which are enough while this process runs; whole seconds, one at least.
    sockopt::set_tcp_keepidle(tcp, (silence * 2).max(Duration::from_secs(1)))?;
    sockopt::set_tcp_keepintvl(tcp, (silence / 2).max(Duration::from_secs(1)))?;
    Ok(())
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
    serve_with(stream, service, Options::default().silence).await;
}

async fn serve_with<S, B, T>(stream: T, service: S, silence: Duration)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = B> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Owned here: requests that are still being answered end with their connection.
    let tasks = Tasks::default();
    let served = http2::Builder::new(tasks.spawner())
        .timer(TokioTimer::new())
        .keep_alive_interval(silence)
        .keep_alive_timeout(silence / 2)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_send_buf_size(SEND_BUFFER)
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
