//! Running one more process in a container, and telling how it ended.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use dunlin_shim::message::{Failure, Report};
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpid};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::create::{pipe, read_outcome};
use super::executor::Command;
use super::terminal::Console;
use super::{Failed, microvm, native, prepare, reasons, send, wasm};
use crate::bundle::{self, Bundle};

/// What to run: the first datagram on the control socket.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// The command.
    pub args: Vec<String>,
    /// Give it a terminal.
    pub tty: bool,
}

/// Runs the process and stays until it has ended, or until nobody holds the other end of the control socket.
pub fn run(directory: &Path, control: BorrowedFd<'_>) -> Result<(), Failed> {
    let signals = child_signals().map_err(|e| Failed::create("preparing for signals", e))?;
    let mut datagram = vec![0u8; 256 * 1024];
    let length =
        rustix::io::read(control, &mut datagram).map_err(|e| Failed::create("reading the request", e))?;
    let request: Request =
        serde_json::from_slice(&datagram[..length]).map_err(|e| Failed::create("reading the request", e))?;
    let bundle = Bundle::read(directory).map_err(|e| Failed::create("reading the bundle", e))?;
    prepare(&bundle);
    let native::Started { pid, master } = match (&bundle.native, &bundle.microvm) {
        (Some(native), _) => native::exec(directory, &bundle, native, &request.args, request.tty)?,
        (None, Some(machine)) => microvm::exec(directory, &bundle, machine, &request.args, request.tty)?,
        (None, None) => join(directory, &bundle, &request)?,
    };
    send(control, &Report::Started { pid: pid as u32 }, master.as_ref().map(|m| m.as_fd()))
        .map_err(|e| Failed::create("reporting", e))?;
    drop(master);
    let status = wait(pid, control, signals.as_fd());
    let _ = send(control, &status, None);
    Ok(())
}

/// Starts the process in the container.
fn join(directory: &Path, bundle: &Bundle, request: &Request) -> Result<native::Started, Failed> {
    let private = Private::make(directory, bundle, request)?;
    let program = wasm::program(bundle, None, || {
        Ok((PathBuf::from(format!("/proc/{}/root", first(bundle)?)), request.args.clone()))
    })?;
    let (outcome, told_here) = pipe()?;
    let command = Command::new(bundle, told_here.as_raw_fd()).with_guest(program);
    let console = if request.tty { Some(Console::listen(&private.directory)?) } else { None };
    let built = ContainerBuilder::new(bundle.container.clone(), SyscallType::default())
        .with_executor(command)
        .with_root_path(&private.directory)
        .map_err(|e| Failed::create("preparing the process", reasons(&e)))?
        .with_console_socket(console.as_ref().map(|c| c.path().to_owned()))
        .as_tenant()
        .with_process(Some(private.directory.join("process.json")))
        // A terminal needs it; nothing else depends on it.
        .with_detach(request.tty)
        .as_sibling(false)
        .build();
    drop(told_here);
    let told = read_outcome(outcome);
    let pid = match (built, told) {
        (Ok(pid), None) => pid.as_raw(),
        (_, Some(failed)) => return Err(failed),
        (Err(error), None) => return Err(Failed { failure: Failure::Create, text: reasons(&error) }),
    };
    let master = console.map(Console::receive).transpose()?;
    Ok(native::Started { pid, master })
}

/// The first process of a container, as the host numbers it.
fn first(bundle: &Bundle) -> Result<i32, Failed> {
    let state = std::fs::read(bundle.state.join(&bundle.container).join("state.json"))
        .and_then(|bytes| Ok(serde_json::from_slice::<Value>(&bytes)?))
        .map_err(|e| Failed::create("reading the container's state", e))?;
    let pid = state["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    pid.ok_or_else(|| Failed { failure: Failure::NotRunning, text: "it has no process".into() })
}

/// Waits for the process; kills it and all of its group when the control socket's other end is closed.
fn wait(pid: i32, control: BorrowedFd<'_>, signals: BorrowedFd<'_>) -> Report {
    let pid = Pid::from_raw(pid);
    let mut killed = false;
    loop {
        match waitpid(pid, WaitOptions::NOHANG) {
            Ok(Some((_, status))) => {
                let signal = status.terminating_signal().unwrap_or(0);
                let code = status.exit_status().unwrap_or(128 + signal);
                return Report::Exited { code, signal };
            }
            Ok(None) => {}
            Err(_) => return Report::Exited { code: 255, signal: 0 },
        }
        let mut fds = [PollFd::new(&signals, PollFlags::IN), PollFd::new(&control, PollFlags::empty())];
        let watched = if killed { 1 } else { 2 };
        if poll(&mut fds[..watched], None).is_err() {
            continue;
        }
        let mut notices = [0u8; 1024];
        if !fds[0].revents().is_empty() {
            let _ = rustix::io::read(signals, &mut notices);
        }
        if !killed && !fds[1].revents().is_empty() {
            killed = true;
            if let Some(pid) = pid {
                // It leads a session, and so a group, of its own.
                let _ = kill_process_group(pid, Signal::KILL);
            }
        }
    }
}

/// A descriptor that tells of ended children. The mask is inherited by the process, whose executor clears it.
fn child_signals() -> std::io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: the set is initialised before use; a descriptor that signalfd returns is owned by nobody else.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        match libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            fd if fd >= 0 => Ok(std::os::fd::OwnedFd::from_raw_fd(fd)),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}

/// A directory that only this exec uses: libcontainer leaves sockets in the state directory, which probes would fill.
struct Private {
    directory: PathBuf,
}

impl Private {
    fn make(bundle_dir: &Path, bundle: &Bundle, request: &Request) -> Result<Self, Failed> {
        let failed = |error: std::io::Error| Failed::create("preparing the process", error);
        let directory = bundle_dir.join(format!("exec-{}", std::process::id()));
        let state = directory.join(&bundle.container);
        std::fs::create_dir_all(&state).map_err(failed)?;
        let private = Self { directory };
        std::fs::copy(bundle.state.join(&bundle.container).join("state.json"), state.join("state.json"))
            .map_err(failed)?;
        let config = std::fs::read(bundle_dir.join(bundle::CONFIG)).map_err(failed)?;
        let mut config: Value = serde_json::from_slice(&config).map_err(|e| failed(e.into()))?;
        let mut process = config["process"].take();
        process["args"] = Value::from(request.args.clone());
        process["terminal"] = Value::from(request.tty);
        std::fs::write(private.directory.join("process.json"), process.to_string()).map_err(failed)?;
        Ok(private)
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
