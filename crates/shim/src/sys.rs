//! The calls of the kernel that the small programs have in common: the shim, and the monitor and agent of virtual machines.

use std::ffi::CString;
use std::io::{Error, Result};
use std::mem::zeroed;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;

/// The result of a call that gives a negative number when it fails.
pub fn check(result: libc::c_int) -> Result<libc::c_int> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
}

/// A C string; a NUL inside ends as an invalid-input error.
pub fn c(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::from_raw_os_error(libc::EINVAL))
}

/// Waits for something to happen on the descriptors.
pub fn poll(fds: &mut [libc::pollfd], timeout_ms: i32) {
    // SAFETY: pointer and count are those of a live slice. An error (EINTR) leaves the results empty, which is harmless.
    unsafe {
        if libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) < 0 {
            fds.iter_mut().for_each(|fd| fd.revents = 0);
        }
    }
}

/// Reads.
pub fn read(fd: RawFd, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: pointer and length are those of a live slice.
    let n = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
    if n < 0 { Err(Error::last_os_error()) } else { Ok(n as usize) }
}

/// Writes.
pub fn write(fd: RawFd, bytes: &[u8]) -> Result<usize> {
    // SAFETY: pointer and length are those of a live slice.
    let n = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    if n < 0 { Err(Error::last_os_error()) } else { Ok(n as usize) }
}

/// A pipe: read end, write end.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: the array has room for two descriptors, which nobody else owns.
    unsafe {
        check(libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC))?;
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

/// Reading and writing return instead of waiting.
pub fn nonblocking(fd: RawFd) -> Result<()> {
    // SAFETY: no memory is involved.
    unsafe {
        let flags = check(libc::fcntl(fd, libc::F_GETFL))?;
        check(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK)).map(drop)
    }
}

/// No signal is blocked or handled any more, as a fresh program expects it.
pub fn default_signals() {
    // SAFETY: signal dispositions and the mask of this process, which is about to become another program. The system call
    // itself is used because the C library keeps two signals to itself; a zeroed action is the default one.
    unsafe {
        let default = [0u64; 8];
        for signal in 1..=64 {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), null_mut::<u64>(), 8);
        }
        let mut none: libc::sigset_t = zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, null_mut());
    }
}

/// An ended child: its pid and its wait status.
pub fn reap() -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: waitpid writes to the status only.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}
