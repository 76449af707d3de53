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
use tokio::io::AsyncWriteExt;
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

type Pending = Option<HashMap<u32, oneshot::Sender<Reply>>>;

/// What the reader and the askers share.
struct Line {
    /// Who waits for which answer; `None` when the connection is over.
    pending: Mutex<Pending>,
    notice: Box<dyn Fn(Notice) + Send + Sync>,
}

impl Line {
    /// Ends the connection; askers that wait see their sender dropped. Tells of it once.
    fn lose(&self) {
        if lock(&self.pending).take().is_some() {
            (self.notice)(Notice::Lost);
        }
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

/// A connection on which requests are asked.
#[derive(Debug)]
pub struct Connection {
    sandbox: SandboxId,
    /// The shim's pid.
    pub pid: u32,
    /// Process 1 of the shared PID namespace; 0 for none.
    pub reaper: u32,
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    line: Arc<Line>,
    next: AtomicU32,
    _reader: Task,
}

impl Connection {
    /// Connects to the shim in a sandbox's directory. `notice` is called for exits, and once when the shim is lost.
    pub async fn open(
        sandbox: &SandboxId,
        directory: &Path,
        notice: impl Fn(Notice) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let failed = |reason: String| Error::Shim { sandbox: sandbox.clone(), reason };
        let raw = Raw::open(directory, true).await.map_err(|e| failed(format!("connecting: {e}")))?;
        let Reply::Hello { pid, reaper, .. } = raw.hello else { return Err(failed("no greeting".into())) };
        let line = Arc::new(Line { pending: Mutex::new(Some(HashMap::new())), notice: Box::new(notice) });
        let theirs = line.clone();
        let Raw { mut read, write, mut decoder, .. } = raw;
        let reader = Task::spawn("shim connection", async move {
            while let Ok(frame) = next_frame(&mut read, &mut decoder).await {
                match Reply::decode(frame.kind, &frame.payload) {
                    Ok(Reply::Exited { container, .. }) => (theirs.notice)(Notice::Exited(container)),
                    Ok(reply) => {
                        let asker = lock(&theirs.pending).as_mut().and_then(|p| p.remove(&frame.id));
                        // Whoever asked may have given up.
                        let _ = asker.map(|asker| asker.send(reply));
                    }
                    Err(_) => break,
                }
            }
            theirs.lose();
        });
        Ok(Self {
            sandbox: sandbox.clone(),
            pid,
            reaper,
            writer: tokio::sync::Mutex::new(write),
            line,
            next: AtomicU32::new(1),
            _reader: reader,
        })
    }

    /// Whether the shim still holds its end.
    pub fn alive(&self) -> bool {
        lock(&self.line.pending).is_some()
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
        match lock(&self.line.pending).as_mut() {
            Some(pending) => drop(pending.insert(id, asker)),
            None => return Err(failed("the shim is gone")),
        }
        let (kind, payload) = request.encode();
        let mut bytes = Vec::with_capacity(payload.len() + 16);
        put_frame(&mut bytes, kind, id, &payload);
        let exchange = async {
            self.writer
                .lock()
                .await
                .write_all(&bytes)
                .await
                .map_err(|_| failed("the shim does not listen"))?;
            answer.await.map_err(|_| failed("the shim ended before it answered"))
        };
        match tokio::time::timeout(patience, exchange).await {
            Ok(result) => result,
            Err(_) => {
                // One that hangs is as good as dead; its sandbox can only be removed.
                self.line.lose();
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
    /// From the shim.
    pub read: OwnedReadHalf,
    /// To the shim.
    pub write: OwnedWriteHalf,
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
        let (read, write) = stream.into_split();
        let mut raw = Self { read, write, decoder: Decoder::default(), hello: Reply::Done };
        raw.send(&Request::Hello { version: VERSION, events }).await?;
        raw.hello = raw.reply().await?;
        match raw.hello {
            Reply::Hello { version, .. } if version == VERSION => Ok(raw),
            Reply::Hello { version, .. } => {
                let text =
                    format!("the shim speaks version {version} of the protocol, this program {VERSION}");
                Err(io::Error::other(text))
            }
            _ => Err(io::Error::other("the shim did not greet")),
        }
    }

    /// Sends a request.
    pub async fn send(&mut self, request: &Request) -> io::Result<()> {
        let (kind, payload) = request.encode();
        let mut bytes = Vec::with_capacity(payload.len() + 16);
        put_frame(&mut bytes, kind, 1, &payload);
        self.write.write_all(&bytes).await
    }

    /// The next reply.
    pub async fn reply(&mut self) -> io::Result<Reply> {
        let frame = next_frame(&mut self.read, &mut self.decoder).await?;
        Reply::decode(frame.kind, &frame.payload).map_err(io::Error::other)
    }
}

/// The next frame; an end of the stream is an error. May be dropped at any point without losing bytes.
pub async fn next_frame(stream: &mut OwnedReadHalf, decoder: &mut Decoder) -> io::Result<Frame> {
    loop {
        if let Some(frame) = decoder.next_frame().map_err(io::Error::other)? {
            return Ok(frame);
        }
        stream.readable().await?;
        // Not alive over an await: every idle connection would hold it.
        let mut bytes = [0u8; 8192];
        match stream.try_read(&mut bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => decoder.push(&bytes[..n]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
