//! The kernel, in the few calls that agent, monitor and client need. With `sys/*` and the places that fork the only
//! module of the program that holds `unsafe`.

#[path = "sys/net.rs"]
pub mod net;
#[path = "sys/user.rs"]
pub mod user;

use std::io::{Error, Result};
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::ptr::{null, null_mut};

pub use dunlin_shim::sys::*;

/// Whether a failed call may be tried again later.
pub fn later(error: &Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR))
}

/// Keeps the descriptor open over an execution, or not.
pub fn inherited(fd: RawFd, kept: bool) -> Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, if kept { 0 } else { libc::FD_CLOEXEC }) }).map(drop)
}

/// Makes `fd` the descriptor `at`, open over an execution.
pub fn place(fd: RawFd, at: RawFd) -> Result<()> {
    if fd == at {
        return inherited(fd, true);
    }
    // SAFETY: no memory is involved; whatever was at that number is closed by the one who planned the numbers.
    check(unsafe { libc::dup2(fd, at) }).map(drop)
}

/// A copy of a descriptor with a number of at least `least`, closed on execution.
pub fn moved_up(fd: RawFd, least: RawFd) -> Result<OwnedFd> {
    // SAFETY: no memory is involved, and the new descriptor is owned by nobody else.
    unsafe { Ok(OwnedFd::from_raw_fd(check(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least))?)) }
}

/// Blocks these signals, and gives a descriptor that tells of them.
pub fn signals(wanted: impl IntoIterator<Item = i32>) -> Result<OwnedFd> {
    // SAFETY: the set is initialised before use, and the new descriptor is owned by nobody else.
    unsafe {
        let mut set: libc::sigset_t = zeroed();
        libc::sigemptyset(&mut set);
        for signal in wanted {
            libc::sigaddset(&mut set, signal);
        }
        check(libc::sigprocmask(libc::SIG_SETMASK, &set, null_mut()))?;
        let fd = check(libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// The next signal of such a descriptor.
pub fn next_signal(fd: RawFd) -> Option<i32> {
    const SIZE: usize = size_of::<libc::signalfd_siginfo>();
    let mut bytes = [0u8; SIZE];
    (read(fd, &mut bytes).ok()? == SIZE).then(|| i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Exit code and signal of a wait status; the code is 128 + signal for a signal.
pub fn ended(status: i32) -> (i32, i32) {
    if libc::WIFSIGNALED(status) {
        (128 + libc::WTERMSIG(status), libc::WTERMSIG(status))
    } else {
        (libc::WEXITSTATUS(status), 0)
    }
}

/// Sends a signal to a process, or to a group by its negative number.
pub fn kill(pid: i32, signal: i32) {
    // SAFETY: no memory is involved. One that has gone needs no signal.
    unsafe { libc::kill(pid, signal) };
}

/// Ends this process as another one ended: with its code, or by its signal.
pub fn end_as(code: i32, signal: i32) -> ! {
    // A guest may say what cannot be: no process ends by a signal that stops it.
    let stops = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(&signal);
    if signal != 0 && !stops {
        default_signals();
        // SAFETY: setrlimit reads the limit only; no core is written of a process whose own memory is not at fault.
        unsafe {
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::setrlimit(libc::RLIMIT_CORE, &none);
        }
        kill(std::process::id() as i32, signal);
    }
    std::process::exit(code)
}

/// This process is killed when its parent ends.
pub fn end_with_parent() -> Result<()> {
    // SAFETY: prctl with integers only.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) }).map(drop)
}

/// Nanoseconds since 1970.
pub fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| d.as_nanos() as u64)
}

/// Sets the clock.
pub fn set_clock(nanoseconds: u64) -> Result<()> {
    let time = libc::timespec {
        tv_sec: (nanoseconds / 1_000_000_000) as libc::time_t,
        tv_nsec: (nanoseconds % 1_000_000_000) as libc::c_long,
    };
    // SAFETY: the time is a live value that is only read.
    check(unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &time) }).map(drop)
}

/// Mounts; an empty type or option is none.
pub fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong, options: &str) -> Result<()> {
    let (source, target, kind, options) = (c(source)?, c(target)?, c(kind)?, c(options)?);
    let given = |text: &std::ffi::CString| if text.is_empty() { null() } else { text.as_ptr() };
    // SAFETY: all strings are NUL-terminated and live during the call; null is what mount(2) allows for "none".
    check(unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), given(&kind), flags, given(&options).cast())
    })
    .map(drop)
}

/// A terminal's size: columns, rows.
pub fn terminal_size(fd: RawFd) -> Option<(u16, u16)> {
    // SAFETY: winsize is plain data, which the ioctl fills.
    unsafe {
        let mut size: libc::winsize = zeroed();
        let known = libc::ioctl(fd, libc::TIOCGWINSZ as _, &mut size) == 0 && size.ws_col > 0;
        known.then_some((size.ws_col, size.ws_row))
    }
}

/// Tells a terminal its size.
pub fn resize(fd: RawFd, width: u16, height: u16) {
    let size = libc::winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the ioctl reads the size only. A terminal that is gone has none.
    unsafe { libc::ioctl(fd, libc::TIOCSWINSZ as _, &size) };
}

/// A terminal passes every byte as it is: the one in the guest does what terminals do.
pub fn raw_terminal(fd: RawFd) {
    // SAFETY: termios is plain data, which the calls read and write. What is no terminal stays as it is.
    unsafe {
        let mut settings: libc::termios = zeroed();
        if libc::tcgetattr(fd, &mut settings) == 0 {
            libc::cfmakeraw(&mut settings);
            libc::tcsetattr(fd, libc::TCSANOW, &settings);
        }
    }
}

/// Opens a new terminal of the file system mounted at `pts`: its master, and its number there.
pub fn terminal(pts: &str) -> Result<(OwnedFd, u32)> {
    let master = open_terminal(&format!("{pts}/ptmx"))?;
    let (mut number, unlocked) = (0u32, 0i32);
    // SAFETY: the calls write and read the one integer that they are given.
    unsafe {
        check(libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN as _, &mut number))?;
        check(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK as _, &unlocked))?;
    }
    Ok((master, number))
}

/// Opens a terminal without making it the session's.
pub fn open_terminal(path: &str) -> Result<OwnedFd> {
    let mut options = std::fs::File::options();
    Ok(options.read(true).write(true).custom_flags(libc::O_NOCTTY).open(path)?.into())
}
