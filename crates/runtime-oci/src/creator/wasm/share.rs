//! Handing a guest over to the process that runs the guests of its tenant.
//!
//! The process is found, or started, before the container is made. From inside the container it gets what the guest has of
//! its place: the listening sockets, the root directory, the streams. What stays in the container is a small program that
//! stands for the guest (`dunlin_shim::hold`).

use std::ffi::CString;
use std::fs::File;
use std::io::{self, IoSlice, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use std::time::Duration;

use dunlin_shim::hold::{FAILED, HOLD, HOST_FD, SERVES, USED_FD};
use dunlin_shim::message::Failure;
use dunlin_wasm::Guest;
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, memfd_create, open, openat};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::{Failed, HOST};
use super::failed;
use crate::bundle::{Bundle, SHARED, Share, USED};

/// Raised when what is handed over changes, so that no host is asked for what it does not know.
const PROTOCOL: u32 = 1;
/// The socket, in a host's directory.
pub const SOCKET: &str = "socket";
/// Whoever starts or asks a host, and a host that wants to end, holds it.
pub const LOCK: &str = "lock";
/// The most listening sockets of a guest.
pub const PORTS: usize = 64;
/// How long a host may take to begin to serve for a guest.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the host is told of a guest, beside the descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    pub guest: Guest,
    pub terms: Terms,
}

/// As whom a guest runs, and how fast.
#[derive(Debug, Serialize, Deserialize)]
pub struct Terms {
    /// The most of the processor, thousandths.
    pub cpu: Option<u64>,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub capabilities: Vec<String>,
    /// Apply the default filter.
    pub seccomp: bool,
}

/// A host that waits for the guest, and what is needed to hand it over.
pub struct Handover {
    host: UnixStream,
    code: File,
    holder: OwnedFd,
    memory: Option<u64>,
    terms: Terms,
}

impl Handover {
    /// Finds or starts the host of a tenant. `version` is that of the engine.
    pub fn prepare(bundle: &Bundle, share: &Share, version: &str, code: File) -> Result<Self, Failed> {
        let failed = |what: &'static str| move |error: io::Error| Failed::create(what, error);
        let name =
            Sha256::digest(&share.tenant).iter().take(12).map(|b| format!("{b:02x}")).collect::<String>();
        let directory = share.hosts.join(format!("{name}-{version}-{PROTOCOL}"));
        std::fs::create_dir_all(&directory).map_err(failed("making the directory of a shared process"))?;
        let host = connect_or_start(&directory, share).map_err(failed("reaching the shared process"))?;
        let holder = open(&share.holder, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let holder = holder.map_err(|e| failed("opening the shim")(e.into()))?;
        let terms = Terms {
            cpu: share.cpu,
            uid: bundle.uid,
            gid: bundle.gid,
            groups: share.groups.clone(),
            capabilities: bundle.capabilities.clone(),
            seccomp: bundle.seccomp,
        };
        Ok(Self { host, code, holder, memory: share.memory, terms })
    }

    /// Hands the guest over, from its place; becomes the program that stands for it. Returns only with the reason why not.
    pub fn hand_over(self, guest: Guest, name: &str) -> Failed {
        let Self { host, code, holder, memory, terms } = self;
        // Nothing of the engine is in the container, so the guest has all of its memory.
        let order = Order { guest: Guest { memory, ..guest }, terms };
        match try_hand_over(&host, &code, &order) {
            Ok(used) => become_holder(&host, &used, &holder, name),
            Err(text) => Failed { failure: Failure::Command, text },
        }
    }
}

/// What is left is the memory in which the host tells what the guest has used.
fn try_hand_over(host: &UnixStream, code: &File, order: &Order) -> Result<OwnedFd, String> {
    let listeners = dunlin_wasm::listen(&order.guest.ports)?;
    if listeners.len() > PORTS {
        return Err(format!("it has more than {PORTS} ports"));
    }
    let text = serde_json::to_vec(order).map_err(failed("telling what to run"))?;
    let memory = |name| memfd_create(name, MemfdFlags::CLOEXEC).map_err(failed("making a file in memory"));
    let mut order = File::from(memory("dunlin-order")?);
    order.write_all(&text).and_then(|()| order.rewind()).map_err(failed("telling what to run"))?;
    let used = memory(USED)?;
    let root = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("opening the root directory"))?;
    let (out, err) = (io::stdout(), io::stderr());
    let mut all = vec![order.as_fd(), root.as_fd(), out.as_fd(), err.as_fd(), code.as_fd(), used.as_fd()];
    all.extend(listeners.iter().map(AsFd::as_fd));
    send(host, &all).map_err(failed("handing the guest over"))?;
    host.set_read_timeout(Some(PATIENCE)).map_err(failed("waiting"))?;
    let mut answer = [0];
    let mut told = host;
    told.read_exact(&mut answer).map_err(failed("the process that should serve for it has ended"))?;
    match answer[0] {
        SERVES => Ok(used),
        FAILED => {
            let mut text = String::new();
            let _ = told.take(4096).read_to_string(&mut text);
            Err(text)
        }
        other => Err(format!("the process that should serve for it answered {other}")),
    }
}

/// Executes the holder with the connection and the memory on the descriptors where it expects them.
fn become_holder(host: &UnixStream, used: &OwnedFd, holder: &OwnedFd, name: &str) -> Failed {
    let become_it = || -> io::Result<()> {
        let moved = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 10).map_err(io::Error::from);
        let (host, used, holder) = (moved(host.as_fd())?, moved(used.as_fd())?, moved(holder.as_fd())?);
        let put = |from: &OwnedFd, to: RawFd| {
            // SAFETY: dup2 with numbers; what was there before is closed at the execution in any case.
            let done = unsafe { libc::dup2(from.as_raw_fd(), to) };
            if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        };
        put(&host, HOST_FD)?;
        put(&used, USED_FD)?;
        let args = ["dunlin-shim", HOLD, name].map(CString::new);
        let [Ok(program), Ok(hold), Ok(name)] = args else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let argv = [program.as_ptr(), hold.as_ptr(), name.as_ptr(), std::ptr::null()];
        let envp = [std::ptr::null::<libc::c_char>()];
        let (fd, empty) = (holder.as_raw_fd(), c"".as_ptr());
        // SAFETY: the strings are NUL-terminated and alive; the lists end with a null pointer.
        unsafe {
            libc::syscall(libc::SYS_execveat, fd, empty, argv.as_ptr(), envp.as_ptr(), libc::AT_EMPTY_PATH)
        };
        Err(io::Error::last_os_error())
    };
    let error = become_it().err().unwrap_or_else(io::Error::last_os_error);
    Failed::create("executing the program that stands for the guest", error)
}

/// Notes that a container's guest runs in a shared process.
pub fn note(directory: &Path) {
    // Only what people are told depends on it.
    let _ = File::create(directory.join(SHARED));
}

fn send(host: &UnixStream, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PORTS + 6))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    sendmsg(host, &[IoSlice::new(b"g")], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Connects to the host of a directory, which begins if it does not run. Nobody else does the same meanwhile, and the host
/// does not end.
fn connect_or_start(directory: &Path, share: &Share) -> io::Result<UnixStream> {
    let lock = File::create(directory.join(LOCK))?;
    lock.lock()?;
    match connect(directory) {
        Ok(host) => return Ok(host),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
        Err(error) => return Err(error),
    }
    start(directory, &share.cgroups)?;
    connect(directory)
}

fn connect(directory: &Path) -> io::Result<UnixStream> {
    // A socket's path has to be short.
    let directory = open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    UnixStream::connect(PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(SOCKET))
}

/// Starts a host and waits until it listens.
fn start(directory: &Path, cgroups: &[PathBuf]) -> io::Result<()> {
    let mut program = Program::new("/proc/self/exe");
    program.arg(HOST).arg(directory).env_clear().current_dir("/");
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let cgroups: Vec<PathBuf> = cgroups.to_vec();
    let enter = move || {
        for procs in &cgroups {
            std::fs::write(procs, "0")?;
        }
        // SAFETY: this process has one thread; it leaves this creator's session, and its parent ends at once.
        unsafe {
            libc::setsid();
            match libc::fork() {
                -1 => Err(io::Error::last_os_error()),
                0 => Ok(()),
                _ => libc::_exit(0),
            }
        }
    };
    // SAFETY: this process has one thread, so the child may do whatever a process may.
    unsafe { program.pre_exec(enter) };
    let mut child = program.spawn()?;
    let mut told = String::new();
    let read = child.stdout.take().map(|mut out| out.read_to_string(&mut told));
    let _ = child.wait();
    read.transpose()?;
    if told.is_empty() { Ok(()) } else { Err(io::Error::other(told)) }
}
