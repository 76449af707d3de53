//! One more process in a container: the creator is started by this process, not by the shim.
//!
//! A probe costs one short-lived process this way and the shim nothing, and an exec that hangs harms nobody else. The
//! control socket is the life line: when this side closes it, the creator kills the process.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use dunlin_runtime::{Error, ExecSpec, ExitStatus, Session, SessionInput, SessionOutput};
use dunlin_shim::CONTROL_FD;
use dunlin_shim::message::{Failure, Report};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags, SocketType,
    recvmsg, send, socketpair,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

use crate::attach::PIECES;
use crate::creator::{EXEC, exec_request};

/// How long the creator may take to start the process.
const START: Duration = Duration::from_secs(60);
/// How long others that hold a process's pipes may be silent after its end before they are cut off.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// One piece of output.
const PIECE: usize = 32 * 1024;

/// Why there is no process.
#[derive(Debug)]
pub enum Failed {
    /// The creator says so.
    Told(Failure, String),
    /// Nothing could be started, or it ended without a word.
    Broken(String),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Failed::Broken(error.to_string())
    }
}

impl Failed {
    /// As the trait tells it.
    pub fn into_error(self, command: &str, container: &dunlin_runtime::ContainerId) -> Error {
        match self {
            Failed::Told(Failure::Command, reason) => Error::Command { command: command.to_owned(), reason },
            Failed::Told(Failure::NotRunning, _) => Error::NotRunning(container.clone()),
            Failed::Told(_, reason) | Failed::Broken(reason) => {
                Error::Create { container: container.clone(), reason }
            }
        }
    }
}

/// The running process's streams.
struct Process {
    control: AsyncFd<OwnedFd>,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    terminal: Option<AsyncFd<OwnedFd>>,
    started: SystemTime,
}

/// Starts the process. Returns the session and the future that moves its bytes, which its owner must run.
pub async fn exec(
    executable: &Path,
    bundle: &Path,
    spec: &ExecSpec,
) -> Result<(Session, impl Future<Output = ()> + Send + 'static), Failed> {
    let process = start(executable, bundle, spec).await?;
    let (input, from_client) = mpsc::channel(PIECES);
    let (to_client, output) = mpsc::channel(PIECES);
    Ok((Session { input, output }, run(process, from_client, to_client)))
}

async fn start(executable: &Path, bundle: &Path, spec: &ExecSpec) -> Result<Process, Failed> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(io::Error::from)?;
    // The creator reads and writes it in the plain, waiting way.
    rustix::io::ioctl_fionbio(&theirs, false).map_err(io::Error::from)?;
    let request = exec_request(&spec.args, spec.tty);
    send(&ours, &request, SendFlags::NOSIGNAL)
        .map_err(|e| Failed::Broken(format!("the command is too long: {e}")))?;
    let pipe = |wanted: bool| if wanted && !spec.tty { Stdio::piped() } else { Stdio::null() };
    let mut command = Command::new(executable);
    command.arg(EXEC).arg(bundle).env_clear().current_dir("/");
    command.stdin(pipe(spec.stdin)).stdout(pipe(true)).stderr(pipe(true));
    let raw = theirs.as_raw_fd();
    // SAFETY: between fork and exec only dup2 and fcntl are called, which are async-signal-safe; the descriptor is open.
    unsafe {
        command.pre_exec(move || {
            let result = if raw == CONTROL_FD {
                libc::fcntl(raw, libc::F_SETFD, 0)
            } else {
                libc::dup2(raw, CONTROL_FD)
            };
            if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        });
    }
    // Not killed on drop: the creator has to live long enough to end the process it started. tokio reaps it.
    let mut child = command.spawn()?;
    drop(theirs);
    let control = watch(ours)?;
    let (report, descriptor) = tokio::time::timeout(START, receive(&control))
        .await
        .map_err(|_| Failed::Broken("the process could not be started in time".into()))??;
    match report {
        Report::Started { .. } => {}
        Report::Failed { failure, text } => return Err(Failed::Told(failure, text)),
        Report::Exited { .. } => return Err(Failed::Broken("the creator spoke nonsense".into())),
    }
    let terminal = match descriptor {
        Some(master) if spec.tty => {
            rustix::io::ioctl_fionbio(&master, true).map_err(io::Error::from)?;
            Some(watch(master)?)
        }
        _ => None,
    };
    Ok(Process {
        control,
        stdin: child.stdin.take(),
        stdout: child.stdout.take(),
        stderr: child.stderr.take(),
        terminal,
        started: SystemTime::now(),
    })
}

fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open and stays the same until it is dropped, which happens with the AsyncFd.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}

/// The creator's next report.
async fn receive(control: &AsyncFd<OwnedFd>) -> io::Result<(Report, Option<OwnedFd>)> {
    loop {
        let mut ready = control.readable().await?;
        let received = ready.try_io(|control| {
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut bytes = [0u8; 4096];
            let mut part = [io::IoSliceMut::new(&mut bytes)];
            let message = recvmsg(control.as_fd(), &mut part, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
            let descriptor = ancillary.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
                _ => None,
            });
            let report = Report::decode(&bytes[..message.bytes])
                .map_err(|_| io::Error::other("the creator ended without a word"))?;
            Ok((report, descriptor))
        });
        match received {
            Ok(result) => return result,
            Err(_would_block) => continue,
        }
    }
}

async fn run(
    process: Process,
    mut from_client: mpsc::Receiver<SessionInput>,
    to_client: mpsc::Sender<SessionOutput>,
) {
    let Process { control, mut stdin, stdout, stderr, terminal, started } = process;
    let way = Way { to: to_client.clone(), activity: AtomicU64::new(0), sending: AtomicU64::new(0) };
    let outputs = async {
        tokio::join!(
            copy(stdout, &way, SessionOutput::Stdout),
            copy(stderr, &way, SessionOutput::Stderr),
            copy_terminal(terminal.as_ref(), &way),
        );
    };
    let inputs = async {
        while let Some(input) = from_client.recv().await {
            match input {
                SessionInput::Stdin(bytes) => {
                    let gone = match (&mut stdin, &terminal) {
                        (Some(pipe), _) => pipe.write_all(&bytes).await.is_err(),
                        (None, Some(master)) => write_terminal(master, &bytes).await.is_err(),
                        (None, None) => false,
                    };
                    if gone {
                        stdin = None;
                    }
                }
                SessionInput::CloseStdin => stdin = None,
                SessionInput::Resize(size) => {
                    if let Some(master) = &terminal {
                        let size = rustix::termios::Winsize {
                            ws_row: size.height,
                            ws_col: size.width,
                            ws_xpixel: 0,
                            ws_ypixel: 0,
                        };
                        let _ = rustix::termios::tcsetwinsize(master, size);
                    }
                }
            }
        }
        drop(stdin.take());
        std::future::pending::<()>().await;
    };
    let whole = async {
        let mut outputs = std::pin::pin!(outputs);
        let mut drained = false;
        let end = {
            let mut ended = std::pin::pin!(receive(&control));
            loop {
                tokio::select! {
                    end = &mut ended => break end,
                    () = &mut outputs, if !drained => drained = true,
                }
            }
        };
        if !drained {
            // A client that reads slowly gets everything that was written; others that hold the pipes and are silent are
            // not waited for.
            tokio::select! {
                () = outputs => {}
                () = way.silence() => {}
            }
        }
        let last = match end {
            Ok((Report::Exited { code, signal }, _)) => SessionOutput::Exited(ExitStatus {
                code,
                signal: (signal != 0).then_some(signal),
                oom_killed: false,
                started,
                finished: SystemTime::now(),
            }),
            Ok(_) => SessionOutput::Failed("the creator spoke nonsense".into()),
            Err(error) => SessionOutput::Failed(error.to_string()),
        };
        let _ = to_client.send(last).await;
    };
    tokio::select! {
        () = whole => {}
        () = inputs => {}
        // The control socket goes with this future, and with it the process.
        () = to_client.closed() => {}
    }
}

/// The way of output to the client.
struct Way {
    to: mpsc::Sender<SessionOutput>,
    activity: AtomicU64,
    sending: AtomicU64,
}

impl Way {
    /// Sends a piece; `false` when nobody takes it.
    async fn send(&self, output: SessionOutput) -> bool {
        self.activity.fetch_add(1, Ordering::Relaxed);
        self.sending.fetch_add(1, Ordering::Relaxed);
        let sent = self.to.send(output).await.is_ok();
        self.sending.fetch_sub(1, Ordering::Relaxed);
        sent
    }

    /// Waits until nothing has come for a while, and nothing waits for the client.
    async fn silence(&self) {
        loop {
            let before = self.activity.load(Ordering::Relaxed);
            tokio::time::sleep(LAST_WORDS).await;
            if self.sending.load(Ordering::Relaxed) == 0 && self.activity.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

async fn copy(from: Option<impl AsyncReadExt + Unpin>, way: &Way, wrap: impl Fn(Bytes) -> SessionOutput) {
    let Some(mut from) = from else { return };
    let mut piece = vec![0u8; PIECE];
    while let Ok(n) = from.read(&mut piece).await {
        if n == 0 || !way.send(wrap(Bytes::copy_from_slice(&piece[..n]))).await {
            return;
        }
    }
}

async fn copy_terminal(master: Option<&AsyncFd<OwnedFd>>, way: &Way) {
    let Some(master) = master else { return };
    let mut piece = vec![0u8; PIECE];
    while let Ok(mut ready) = master.readable().await {
        match ready.try_io(|fd| rustix::io::read(fd, &mut piece).map_err(io::Error::from)) {
            // EIO: the last process has closed its side.
            Ok(Err(_) | Ok(0)) => return,
            Ok(Ok(n)) => {
                if !way.send(SessionOutput::Stdout(Bytes::copy_from_slice(&piece[..n]))).await {
                    return;
                }
            }
            Err(_would_block) => {}
        }
    }
}

async fn write_terminal(master: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let mut ready = master.writable().await?;
        match ready.try_io(|fd| rustix::io::write(fd, bytes).map_err(io::Error::from)) {
            Ok(written) => bytes = &bytes[written?..],
            Err(_would_block) => {}
        }
    }
    Ok(())
}
