//! One TLS connection to a webhook, for one request after the other.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_base::task::Task;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection that was not used for this long is not used again: many servers and tunnels close theirs about then.
const IDLE: Duration = Duration::from_secs(30);

/// A two-way connection of any kind.
pub trait Wire: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Wire for T {}
pub type Raw = Pin<Box<dyn Wire>>;
pub(super) type Request = http::Request<Full<Bytes>>;

#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    used: Instant,
    /// Ends with the connection, which it drives.
    _task: Task,
}

impl Connection {
    pub(super) async fn open(
        host: &str,
        wire: Raw,
        trust: Arc<rustls::ClientConfig>,
    ) -> Result<Self, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|e| format!("{host:?} is no name of a host: {e}"))?;
        let tls = tokio_rustls::TlsConnector::from(trust);
        let stream = tls.connect(name, wire).await.map_err(|e| untrusted(&e))?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| format!("HTTP with {host}: {e}"))?;
        let task = Task::spawn("webhook connection", async move {
            let _ = connection.await;
        });
        Ok(Self { sender, used: Instant::now(), _task: task })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed() && self.used.elapsed() < IDLE
    }

    /// Sends a request; gives it back if nothing of it was sent.
    pub(super) async fn send(
        &mut self,
        request: Request,
    ) -> Result<http::Response<hyper::body::Incoming>, (String, Option<Request>)> {
        // A connection that was just used may not have noticed yet that it is free.
        if self.sender.ready().await.is_err() {
            return Err(("EOF".to_owned(), Some(request)));
        }
        let sent = self.sender.try_send_request(request).await;
        self.used = Instant::now();
        sent.map_err(|mut error| {
            let unsent = error.take_message();
            // As Go says of a connection that ends without an answer.
            let why = if error.error().is_incomplete_message()
                || error.error().is_canceled()
                || is_end(error.error())
            {
                "EOF".to_owned()
            } else {
                dunlin_base::error::chain(error.error()).to_string()
            };
            (why, unsent)
        })
    }
}

/// Whether the other side ended the connection in the middle of TLS.
fn is_end(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::UnexpectedEof;
        }
        source = cause.source();
    }
    false
}

/// Why there is no TLS, as Kubernetes says it where it is about trust.
fn untrusted(error: &std::io::Error) -> String {
    use rustls::{CertificateError, Error};
    let found = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match found {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority".to_owned()
        }
        _ => format!("tls: {error}"),
    }
}

pub(super) async fn dial(host: &str, port: u16) -> Result<Raw, String> {
    let stream = tokio::net::TcpStream::connect((host, port)).await.map_err(|e| match e.kind() {
        std::io::ErrorKind::ConnectionRefused => {
            format!("dial tcp {host}:{port}: connect: connection refused")
        }
        _ => format!("dial tcp {host}:{port}: {e}"),
    })?;
    // A small request waits for nothing.
    let _ = stream.set_nodelay(true);
    Ok(Box::pin(stream))
}
