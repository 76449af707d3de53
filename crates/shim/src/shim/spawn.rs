//! Starting a creator: streams made, process forked, program executed.

use std::ffi::CStr;
use std::io::{Error, Result};
use std::mem::zeroed;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;

use dunlin_shim::CONTROL_FD;
use dunlin_shim::message::{Failure, Report, Start};

use crate::sys;

/// A creator at work, and our ends of the container's streams.
pub struct Spawned {
    /// The creator.
    pub pid: i32,
    /// Where it reports.
    pub control: OwnedFd,
    /// The container's standard output and error; none with a terminal, whose master comes with the report.
    pub outputs: Option<(OwnedFd, OwnedFd)>,
    /// The container's standard input.
    pub stdin: Option<OwnedFd>,
}

/// Starts the creator for a container.
pub fn spawn(start: &Start) -> Result<Spawned> {
    let executable = sys::c(&start.executable)?;
    let bundle = sys::c(&start.bundle)?;
    let null = OwnedFd::from(std::fs::File::options().read(true).write(true).open("/dev/null")?);
    let (control, theirs) = sys::datagram_pair()?;
    sys::nonblocking(control.as_raw_fd())?;
    let mut outputs = None;
    let mut child_outputs = None;
    let mut stdin = None;
    let mut child_stdin = None;
    if !start.tty {
        let (out, child_out) = sys::pipe()?;
        let (err, child_err) = sys::pipe()?;
        sys::nonblocking(out.as_raw_fd())?;
        sys::nonblocking(err.as_raw_fd())?;
        outputs = Some((out, err));
        child_outputs = Some((child_out, child_err));
        if start.stdin {
            let (child_in, ours) = sys::pipe()?;
            sys::nonblocking(ours.as_raw_fd())?;
            stdin = Some(ours);
            child_stdin = Some(child_in);
        }
    }
    let raw = |fd: Option<&OwnedFd>| fd.unwrap_or(&null).as_raw_fd();
    let descriptors = [
        raw(child_stdin.as_ref()),
        raw(child_outputs.as_ref().map(|o| &o.0)),
        raw(child_outputs.as_ref().map(|o| &o.1)),
        theirs.as_raw_fd(),
    ];
    match sys::fork()? {
        0 => execute(&executable, &bundle, descriptors),
        pid => Ok(Spawned { pid, control, outputs, stdin }),
    }
}

/// In the child: descriptors 0 to 3 in place, signals as a fresh program expects them, then the program.
fn execute(executable: &CStr, bundle: &CStr, descriptors: [RawFd; 4]) -> ! {
    let arguments = [executable.as_ptr(), c"__create-container".as_ptr(), bundle.as_ptr(), std::ptr::null()];
    // SAFETY: the process has one thread; descriptors are open; strings and the argument array are NUL-terminated.
    unsafe {
        let mut high = [0; 4];
        for (place, fd) in high.iter_mut().zip(descriptors) {
            // First away from 0..=3, so that no copy lands on one that is still needed.
            *place = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 10);
        }
        for (n, fd) in high.into_iter().enumerate() {
            libc::dup2(fd, n as RawFd);
        }
        let mut set: libc::sigset_t = zeroed();
        libc::sigemptyset(&mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &set, null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::execv(executable.as_ptr(), arguments.as_ptr());
    }
    let text = format!("executing {}: {}", executable.to_string_lossy(), Error::last_os_error());
    let _ = sys::write(CONTROL_FD, &Report::Failed { failure: Failure::Create, text }.encode());
    // SAFETY: ends the child without running anything of the parent's.
    unsafe { libc::_exit(127) }
}
