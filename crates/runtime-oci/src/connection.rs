//! A connection to a shim: questions and answers, and the notices in between.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dunlin_base::task::Task;
use dunlin_runtime::{Error, SandboxId};
use dunlin_shim::message::{Reply, Request};
use dunlin_shim::wire::{Decoder, Frame, put_frame};
use dunlin_shim::{SOCKET, VERSION};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;

/// A shim answers at once, or it is stuck. Generous, because a machine may be swapping.
const ANSWER: Duration = Duration::from_secs(20);

/// What a shim tells unasked.
#[derive(Debug)]
pub enum Notice {
    /// A container has ended.
    Exited(String),
    /// The connection is over: the shim has died.
    Lost,
}

type Pending = Arc<Mutex<Option<HashMap<u32, oneshot::Sender<Reply>>>>>;

/// A connection on which requests are asked.
#[derive(Debug)]
pub struct Connection {
    sandbox: SandboxId,
    /// The shim's pid.
    pub pid: u32,
    /// Process 1 of the shared PID namespace; 0 for none.
    pub reaper: u32,
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    /// `None` when the connection is over.
    pending: Pending,
    next: AtomicU32,
    _reader: Task,
}

impl Connection {
    /// Connects to the shim in a sandbox's directory. `notice` is called for exits, and once when the shim is lost.
    pub async fn open(
        sandbox: &SandboxId,
        directory: &Path,
        notice: impl Fn(Notice) + Send + 'static,
    ) -> Result<Self, Error> {
        let failed = |reason: String| Error::Shim { sandbox: sandbox.clone(), reason };
        let mut raw = Raw::open(directory, true).await.map_err(|e| failed(format!("connecting: {e}")))?;
        let Reply::Hello { pid, reaper, .. } = raw.hello else { return Err(failed("no greeting".into())) };
        let (mut read, write) = raw.stream.into_split();
        let pending: Pending = Arc::new(Mutex::new(Some(HashMap::new())));
        let theirs = pending.clone();
        let reader = Task::spawn("shim connection", async move {
            while let Ok(frame) = next_frame(&mut read, &mut raw.decoder).await {
                let Ok(reply) = Reply::decode(frame.kind, &frame.payload) else { break };
                match reply {
                    Reply::Exited { container, .. } => notice(Notice::Exited(container)),
                    reply => {
                        let mut pending = lock(&theirs);
                        if let Some(asker) = pending.as_mut().and_then(|p| p.remove(&frame.id)) {
                            // Whoever asked may have given up.
                            let _ = asker.send(reply);
                        }
                    }
                }
            }
            // Askers that wait see their sender dropped.
            lock(&theirs).take();
            notice(Notice::Lost);
        });
        Ok(Self {
            sandbox: sandbox.clone(),
            pid,
            reaper,
            writer: tokio::sync::Mutex::new(write),
            pending,
            next: AtomicU32::new(1),
            _reader: reader,
        })
    }

    /// Whether the shim still holds its end.
    pub fn alive(&self) -> bool {
        lock(&self.pending).is_some()
    }

    /// Asks, and waits for the answer.
    pub async fn ask(&self, request: &Request) -> Result<Reply, Error> {
        self.ask_within(request, ANSWER).await
    }

    /// Asks, and waits for the answer as long as the request may take.
    pub async fn ask_within(&self, request: &Request, patience: Duration) -> Result<Reply, Error> {
        let failed = |reason: &str| Error::Shim { sandbox: self.sandbox.clone(), reason: reason.to_owned() };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (asker, answer) = oneshot::channel();
        match lock(&self.pending).as_mut() {
            Some(pending) => drop(pending.insert(id, asker)),
            None => return Err(failed("the shim is gone")),
        }
        let (kind, payload) = request.encode();
        let mut bytes = Vec::with_capacity(payload.len() + 16);
        put_frame(&mut bytes, kind, id, &payload);
        let exchange = async {
            self.writer.lock().await.write_all(&bytes).await.map_err(|_| failed("the shim does not listen"))?;
            answer.await.map_err(|_| failed("the shim ended before it answered"))
        };
        match tokio::time::timeout(patience, exchange).await {
            Ok(result) => result,
            Err(_) => {
                if let Some(pending) = lock(&self.pending).as_mut() {
                    pending.remove(&id);
                }
                Err(failed("the shim does not answer"))
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection that has greeted and nothing more.
#[derive(Debug)]
pub struct Raw {
    /// The socket.
    pub stream: UnixStream,
    /// What came and is not a whole frame yet.
    pub decoder: Decoder,
    hello: Reply,
}

impl Raw {
    /// Connects and agrees on the version.
    pub async fn open(directory: &Path, events: bool) -> io::Result<Self> {
        tokio::time::timeout(ANSWER, Self::greet(directory, events))
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the shim does not answer")))
    }

    async fn greet(directory: &Path, events: bool) -> io::Result<Self> {
        // A socket's path has 108 bytes at most, a sandbox's directory may have more.
        let held = std::fs::File::open(directory)?;
        let stream = UnixStream::connect(format!("/proc/self/fd/{}/{SOCKET}", held.as_raw_fd())).await?;
        let mut raw = Self { stream, decoder: Decoder::default(), hello: Reply::Done };
        raw.send(&Request::Hello { version: VERSION, events }).await?;
        let frame = next_frame(&mut raw.stream, &mut raw.decoder).await?;
        raw.hello = Reply::decode(frame.kind, &frame.payload).map_err(io::Error::other)?;
        match raw.hello {
            Reply::Hello { version, .. } if version == VERSION => Ok(raw),
            Reply::Hello { version, .. } => {
                let text = format!("the shim speaks version {version} of the protocol, this program {VERSION}");
                Err(io::Error::other(text))
            }
            _ => Err(io::Error::other("the shim did not greet")),
        }
    }

    /// Sends a request; its answer, if there is one, has the id 1.
    pub async fn send(&mut self, request: &Request) -> io::Result<()> {
        let (kind, payload) = request.encode();
        let mut bytes = Vec::with_capacity(payload.len() + 16);
        put_frame(&mut bytes, kind, 1, &payload);
        self.stream.write_all(&bytes).await
    }

    /// Both directions for themselves.
    pub fn split(self) -> (OwnedReadHalf, OwnedWriteHalf, Decoder) {
        let (read, write) = self.stream.into_split();
        (read, write, self.decoder)
    }
}

/// The next frame; an end of the stream is an error. May be dropped at any point without losing bytes.
pub async fn next_frame(stream: &mut (impl AsyncReadExt + Unpin), decoder: &mut Decoder) -> io::Result<Frame> {
    loop {
        if let Some(frame) = decoder.next_frame().map_err(io::Error::other)? {
            return Ok(frame);
        }
        let mut bytes = [0u8; 8192];
        match stream.read(&mut bytes).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => decoder.push(&bytes[..n]),
        }
    }
}
