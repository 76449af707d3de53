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
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, memfd_create, open, openat};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::{Failed, HOST};
use crate::bundle::{Bundle, SHARED, Share, USED};
use crate::plan::capabilities;

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
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: String,
    pub ports: Vec<u16>,
    pub memory: Option<u64>,
    pub cpu: Option<u64>,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// Bits of capabilities that the guest's thread keeps, and their names.
    pub capabilities: u64,
    pub kept: Vec<String>,
    pub seccomp: bool,
}

/// A host that waits for the guest, and what is needed to hand it over.
pub struct Handover {
    host: UnixStream,
    code: File,
    holder: OwnedFd,
    order: Order,
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
        let names: Vec<&str> = bundle.capabilities.iter().map(String::as_str).collect();
        let order = Order {
            args: Vec::new(),
            env: Vec::new(),
            cwd: String::new(),
            ports: Vec::new(),
            memory: share.memory,
            cpu: share.cpu,
            uid: bundle.uid,
            gid: bundle.gid,
            groups: share.groups.clone(),
            capabilities: capabilities::bits(&names),
            kept: bundle.capabilities.clone(),
            seccomp: bundle.seccomp,
        };
        Ok(Self { host, code, holder: holder.map_err(|e| failed("opening the shim")(e.into()))?, order })
    }

    /// Hands the guest over, from its place; becomes the program that stands for it. Returns only with the reason why not.
    pub fn hand_over(self, guest: dunlin_wasm::Guest, name: &str) -> Failed {
        let wrong = |text: String| Failed { failure: Failure::Command, text };
        match self.try_hand_over(guest) {
            Ok(used) => self.become_holder(used, name),
            Err(reason) => wrong(reason),
        }
    }

    fn try_hand_over(&self, guest: dunlin_wasm::Guest) -> Result<OwnedFd, String> {
        let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
        let listeners = dunlin_wasm::listen(&guest.ports)?;
        if listeners.len() > PORTS {
            return Err(format!("it has more than {PORTS} ports"));
        }
        let order = Order {
            args: guest.args,
            env: guest.env,
            cwd: guest.cwd,
            ports: guest.ports,
            groups: self.order.groups.clone(),
            kept: self.order.kept.clone(),
            ..self.order
        };
        let text = serde_json::to_vec(&order).map_err(|e| e.to_string())?;
        let memory = |name| {
            memfd_create(name, MemfdFlags::CLOEXEC).map_err(|e| format!("making a file in memory: {e}"))
        };
        let mut order = File::from(memory("dunlin-order")?);
        order.write_all(&text).and_then(|()| order.rewind()).map_err(failed("telling what to run"))?;
        let used = memory(USED)?;
        let root = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| format!("opening the root directory: {e}"))?;
        let (out, err) = (io::stdout(), io::stderr());
        let mut all =
            vec![order.as_fd(), root.as_fd(), out.as_fd(), err.as_fd(), self.code.as_fd(), used.as_fd()];
        all.extend(listeners.iter().map(AsFd::as_fd));
        send(&self.host, &all).map_err(failed("handing the guest over"))?;
        self.host.set_read_timeout(Some(PATIENCE)).map_err(failed("waiting"))?;
        let mut answer = [0];
        let gone = |error: io::Error| format!("the process that should serve for it has ended: {error}");
        (&self.host).read_exact(&mut answer).map_err(gone)?;
        match answer[0] {
            SERVES => Ok(used),
            FAILED => {
                let mut text = String::new();
                let _ = (&self.host).take(4096).read_to_string(&mut text);
                Err(text)
            }
            other => Err(format!("the process that should serve for it answered {other}")),
        }
    }

    /// Executes the holder with the connection and the memory on the descriptors where it expects them.
    fn become_holder(&self, used: OwnedFd, name: &str) -> Failed {
        let become_it = || -> io::Result<()> {
            let moved = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 10).map_err(io::Error::from);
            let (host, used, holder) =
                (moved(self.host.as_fd())?, moved(used.as_fd())?, moved(self.holder.as_fd())?);
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
                libc::syscall(
                    libc::SYS_execveat,
                    fd,
                    empty,
                    argv.as_ptr(),
                    envp.as_ptr(),
                    libc::AT_EMPTY_PATH,
                )
            };
            Err(io::Error::last_os_error())
        };
        let error = become_it().err().unwrap_or_else(io::Error::last_os_error);
        Failed::create("executing the program that stands for the guest", error)
    }
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
