//! The connection to one of etcd's members: gRPC over HTTP/2, and another member when this one does not answer.
//!
//! gRPC itself is in `dunlin_grpc`; here are calls with one message each way, and one call with a stream of messages.
//!
//! It must be told apart whether a call surely did nothing or may have been carried out; see [`Failure`].

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dunlin_base::error::chain;
use dunlin_base::task::Task;
use dunlin_grpc::{Body, Failure, Messages, code, frame};
use futures_util::stream;
use http::Request;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::{Options, message};

/// How long reaching one member may take, TLS included.
const CONNECT: Duration = Duration::from_secs(2);
/// A member that is silent for so long is asked whether it is there, and given up when it does not say so in time.
const PING: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(4));
/// The longest answer that is read. The longest that etcd gives us is a page of a list, of objects that are as large as
/// they may be.
const LONGEST: usize = 256 << 20;
/// Flow control windows: large enough for a list to come at the speed of the network.
const WINDOW: u32 = 4 << 20;

fn is_unauthenticated(failure: &Failure) -> bool {
    match failure {
        Failure::Refused { code: code::UNAUTHENTICATED, .. } => true,
        Failure::Refused { message, .. } => {
            message.contains("invalid auth token") || message.contains("auth revision")
        }
        _ => false,
    }
}

/// Whether etcd refused a request for its size.
pub fn is_too_large(failure: &Failure) -> bool {
    // The limit of a request; and that of gRPC itself, which is a little higher.
    matches!(failure, Failure::Refused { code: code::INVALID | code::EXHAUSTED, message } if message.contains("large"))
}

/// A connection. Dropping the last copy closes it.
#[derive(Clone)]
struct Connection {
    id: u64,
    authority: Arc<str>,
    secure: bool,
    token: Option<Arc<str>>,
    sender: SendRequest<Body>,
    _task: Arc<Task>,
}

#[derive(Default)]
struct Current {
    connection: Option<Connection>,
    /// The member that is tried first, and how often one was reached.
    next: usize,
    made: u64,
}

/// The way to the cluster.
pub struct Link {
    options: Options,
    current: Mutex<Current>,
}

impl Link {
    pub fn new(options: Options) -> Self {
        Self { options, current: Mutex::default() }
    }

    /// Calls once. `path` is `/service/method`.
    pub async fn call(&self, path: &'static str, message: Bytes) -> Result<Bytes, Failure> {
        let mut renewed = false;
        loop {
            let connection = self.connection().await?;
            let answer = timeout(self.options.request, call(&connection, path, message.clone())).await;
            let failure = match answer {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Lost(format!(
                    "{} did not answer within {} s",
                    connection.authority,
                    self.options.request.as_secs_f32()
                )),
            };
            // A token that has expired did nothing, so that the call can be made again by the next one.
            let again = is_unauthenticated(&failure) && self.options.user.is_some() && !renewed;
            if again || matches!(failure, Failure::Lost(_)) {
                self.leave(connection.id).await;
            }
            if !again {
                return Err(failure);
            }
            renewed = true;
        }
    }

    /// Calls something that only reads, at another member, too, until `patience` is over.
    pub async fn read(
        &self,
        path: &'static str,
        message: Bytes,
        patience: Duration,
    ) -> Result<Bytes, Failure> {
        let begun = tokio::time::Instant::now();
        loop {
            let failure = match self.call(path, message.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(failure @ Failure::Refused { .. }) => return Err(failure),
                Err(failure) => failure,
            };
            if begun.elapsed() >= patience {
                return Err(failure);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Opens a call in which both sides speak for as long as they like.
    pub async fn open(&self, path: &'static str, first: Bytes) -> Result<Stream, Failure> {
        let connection = self.connection().await?;
        let (requests, waiting) = mpsc::channel::<Bytes>(16);
        let body = stream::unfold(waiting, |mut waiting| async {
            let message = waiting.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(frame(&message))), waiting))
        });
        // It never fails: the channel has just been made and has room.
        let _ = requests.try_send(first);
        let request = request(&connection, path, StreamBody::new(body).boxed_unsync());
        let mut sender = connection.sender.clone();
        let opened = match timeout(self.options.request, sender.send_request(request)).await {
            Ok(answer) => dunlin_grpc::opened(answer, LONGEST),
            Err(_) => Err(Failure::Lost(format!("{} did not answer", connection.authority))),
        };
        match opened {
            Ok(answers) => Ok(Stream { id: connection.id, requests, answers, _connection: connection }),
            Err(failure) => {
                self.leave(connection.id).await;
                Err(failure)
            }
        }
    }

    /// Goes to another member, unless that has happened since the connection `id` was made.
    pub async fn leave(&self, id: u64) {
        let mut current = self.current.lock().await;
        if current.connection.as_ref().is_some_and(|c| c.id == id) {
            current.connection = None;
            current.next += 1;
        }
    }

    async fn connection(&self) -> Result<Connection, Failure> {
        let mut current = self.current.lock().await;
        if let Some(connection) = current.connection.as_ref().filter(|c| !c.sender.is_closed()) {
            return Ok(connection.clone());
        }
        let mut why = String::new();
        for _ in 0..self.options.endpoints.len() {
            let endpoint = &self.options.endpoints[current.next % self.options.endpoints.len()];
            current.made += 1;
            let connected = match timeout(CONNECT, self.connect(endpoint, current.made)).await {
                Ok(connected) => connected,
                Err(_) => Err(format!("{endpoint}: no answer within {} s", CONNECT.as_secs())),
            };
            match connected {
                Ok(connection) => {
                    current.connection = Some(connection.clone());
                    return Ok(connection);
                }
                Err(error) => {
                    if !why.is_empty() {
                        why.push_str("; ");
                    }
                    why.push_str(&error);
                    current.next += 1;
                }
            }
        }
        Err(Failure::Unreached(format!("no member can be reached: {why}")))
    }

    async fn connect(&self, endpoint: &str, id: u64) -> Result<Connection, String> {
        fn told<E: std::error::Error + 'static>(endpoint: &str, error: E) -> String {
            format!("{endpoint}: {}", chain(&error))
        }
        let tcp = TcpStream::connect(endpoint).await.map_err(|e| told(endpoint, e))?;
        tcp.set_nodelay(true).map_err(|e| told(endpoint, e))?;
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        let (sender, task) = match &self.options.tls {
            Some(tls) => {
                let host =
                    endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host).trim_matches(['[', ']']);
                let name = rustls::pki_types::ServerName::try_from(host.to_owned())
                    .map_err(|e| told(endpoint, e))?;
                let connector = tokio_rustls::TlsConnector::from(tls.clone());
                let stream = connector.connect(name, tcp).await.map_err(|e| told(endpoint, e))?;
                let (sender, driver) =
                    builder.handshake(TokioIo::new(stream)).await.map_err(|e| told(endpoint, e))?;
                (sender, Task::spawn("etcd connection", async { ended(driver.await) }))
            }
            None => {
                let (sender, driver) =
                    builder.handshake(TokioIo::new(tcp)).await.map_err(|e| told(endpoint, e))?;
                (sender, Task::spawn("etcd connection", async { ended(driver.await) }))
            }
        };
        let secure = self.options.tls.is_some();
        let mut connection =
            Connection { id, authority: endpoint.into(), secure, token: None, sender, _task: Arc::new(task) };
        if let Some((name, password)) = &self.options.user {
            let answer =
                call(&connection, "/etcdserverpb.Auth/Authenticate", message::authenticate(name, password));
            let answer = answer.await.map_err(|e| format!("{endpoint}: signing in as {name:?}: {e}"))?;
            let token = message::text(answer, 2).map_err(|e| told(endpoint, e))?;
            connection.token = Some(token.into());
        }
        Ok(connection)
    }
}

fn ended(outcome: Result<(), hyper::Error>) {
    if let Err(error) = outcome {
        tracing::debug!(error = chain(&error), "a connection to etcd ended");
    }
}

async fn call(connection: &Connection, path: &'static str, message: Bytes) -> Result<Bytes, Failure> {
    let request = request(connection, path, Full::new(frame(&message)).boxed_unsync());
    let answer = dunlin_grpc::unary(&mut connection.sender.clone(), request, LONGEST).await;
    answer.map_err(|failure| match failure {
        Failure::Lost(why) => Failure::Lost(format!("{}: {why}", connection.authority)),
        other => other,
    })
}

fn request(connection: &Connection, path: &'static str, body: Body) -> Request<Body> {
    let scheme = if connection.secure { "https" } else { "http" };
    let mut request = Request::post(format!("{scheme}://{}{path}", connection.authority))
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .header(http::header::TE, "trailers")
        // A member that has lost the others must say so, and not let a watch wait for ever.
        .header("hasleader", "true");
    if let Some(token) = &connection.token {
        request = request.header("token", &**token);
    }
    // Path and headers are fixed, and the endpoint was checked when it was configured.
    request.body(body).unwrap_or_else(|error| {
        tracing::error!(%error, "a call to etcd could not be put together");
        Request::new(Full::new(Bytes::new()).boxed_unsync())
    })
}

/// A call with messages both ways.
pub struct Stream {
    /// The connection's number, for [`Link::leave`].
    pub id: u64,
    requests: mpsc::Sender<Bytes>,
    answers: Messages,
    _connection: Connection,
}

impl Stream {
    /// Sends a message; one that finds no room is left out, since it asks what the one before has asked.
    pub fn send(&self, message: Bytes) {
        let _ = self.requests.try_send(message);
    }

    /// The next answer. Safe to drop and call again.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        self.answers.next().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_known() {
        let refused = |code, message: &str| Failure::Refused { code, message: message.to_owned() };
        assert!(is_too_large(&refused(code::INVALID, "etcdserver: request is too large")));
        assert!(!is_too_large(&refused(code::INVALID, "etcdserver: duplicate key")));
        assert!(is_unauthenticated(&refused(code::UNAUTHENTICATED, "etcdserver: invalid auth token")));
    }
}
