//! The connection to the daemon's socket: one for all calls, made anew when it is lost.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dunlin_base::error::chain;
use dunlin_base::task::Task;
use dunlin_grpc::wire::Message;
use dunlin_grpc::{Body, Failure, Messages, frame};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest answer that is read, bytes: what daemons and kubelet agree on, too.
const LONGEST: usize = 16 << 20;

#[derive(Clone)]
struct Connection {
    number: u64,
    sender: SendRequest<Body>,
    _task: Arc<Task>,
}

#[derive(Default)]
struct Current {
    connection: Option<Connection>,
    made: u64,
}

/// The way to the daemon.
pub struct Link {
    socket: PathBuf,
    current: Mutex<Current>,
}

/// Answers that come one after the other.
pub struct Stream {
    answers: Messages,
    _connection: Connection,
}

impl Stream {
    /// The next answer, `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        self.answers.next().await
    }
}

impl Link {
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, current: Mutex::default() }
    }

    /// The socket, for messages.
    pub fn name(&self) -> String {
        self.socket.display().to_string()
    }

    /// Calls once, and waits for an answer as long as `patience`. `path` is `/service/method`.
    pub async fn call(
        &self,
        path: &'static str,
        message: Message,
        patience: Duration,
    ) -> Result<Bytes, Failure> {
        let connection = self.connection().await?;
        let request = request(path, &message.done());
        let answer =
            timeout(patience, dunlin_grpc::unary(&mut connection.sender.clone(), request, LONGEST)).await;
        let answer = answer
            .unwrap_or_else(|_| Err(Failure::Lost(format!("no answer within {} s", patience.as_secs()))));
        if matches!(answer, Err(Failure::Lost(_))) {
            self.leave(connection.number).await;
        }
        answer
    }

    /// Calls what answers again and again.
    pub async fn open(&self, path: &'static str, message: Message) -> Result<Stream, Failure> {
        let connection = self.connection().await?;
        let mut sender = connection.sender.clone();
        let answer = sender.send_request(request(path, &message.done())).await;
        let answers = dunlin_grpc::opened(answer, LONGEST)?;
        Ok(Stream { answers, _connection: connection })
    }

    /// Makes the next call on a new connection. Calls under way keep the old one.
    async fn leave(&self, number: u64) {
        let mut current = self.current.lock().await;
        if current.connection.as_ref().is_some_and(|c| c.number == number) {
            current.connection = None;
        }
    }

    async fn connection(&self) -> Result<Connection, Failure> {
        let mut current = self.current.lock().await;
        if let Some(connection) = current.connection.as_ref().filter(|c| !c.sender.is_closed()) {
            return Ok(connection.clone());
        }
        let connect = async {
            let stream = UnixStream::connect(&self.socket).await.map_err(|e| chain(&e))?;
            let mut builder = Builder::new(TokioExecutor::new());
            let made = builder.timer(TokioTimer::new()).handshake(TokioIo::new(stream)).await;
            made.map_err(|e| chain(&e))
        };
        let made = timeout(CONNECT, connect)
            .await
            .unwrap_or_else(|_| Err(format!("no connection within {} s", CONNECT.as_secs())));
        let (sender, driver) =
            made.map_err(|why| Failure::Unreached(format!("it cannot be reached, is it running? {why}")))?;
        let task = Task::spawn("cri connection", async move {
            if let Err(error) = driver.await {
                tracing::debug!(error = chain(&error), "a connection to a container runtime ended");
            }
        });
        current.made += 1;
        let connection = Connection { number: current.made, sender, _task: Arc::new(task) };
        current.connection = Some(connection.clone());
        Ok(connection)
    }
}

fn request(path: &'static str, message: &[u8]) -> Request<Body> {
    let request = Request::post(format!("http://localhost{path}"))
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .header(http::header::TE, "trailers");
    let body = Full::new(frame(message)).boxed_unsync();
    request.body(body).expect("the path and the headers are constants")
}
