//! The kernel, in the few calls the shim needs. The only module of the shim (with `spawn`) that holds `unsafe`.

use std::io::{Error, Result};
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{null, null_mut};

pub use dunlin_shim::sys::*;

/// Nanoseconds since 1970.
pub fn now() -> u64 {
    // SAFETY: timespec is plain data and clock_gettime only writes to it; CLOCK_REALTIME always exists.
    let time = unsafe {
        let mut time: libc::timespec = zeroed();
        libc::clock_gettime(libc::CLOCK_REALTIME, &mut time);
        time
    };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// Forks. The process has one thread, so the child may do anything.
pub fn fork() -> Result<i32> {
    // SAFETY: no other thread exists whose locks the child could inherit.
    check(unsafe { libc::fork() })
}

/// Starts a new session.
pub fn setsid() -> Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::setsid() }).map(drop)
}

/// Orphans below this process become its children.
pub fn become_subreaper() -> Result<()> {
    // SAFETY: prctl with integers only.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// Leaves the given namespaces for new ones.
pub fn unshare(flags: i32) -> Result<()> {
    // SAFETY: no memory is involved; the process has one thread.
    check(unsafe { libc::unshare(flags) }).map(drop)
}

/// Mounts made outside arrive here, and mounts made here stay here.
pub fn make_root_slave() -> Result<()> {
    // SAFETY: the target is a NUL-terminated literal, the other pointers are null as mount(2) allows for this flag.
    check(unsafe { libc::mount(null(), c"/".as_ptr(), null(), libc::MS_REC | libc::MS_SLAVE, null()) })
        .map(drop)
}

/// Mounts a tmpfs.
pub fn mount_tmpfs(target: &str, options: &str) -> Result<()> {
    let (target, options) = (c(target)?, c(options)?);
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    // SAFETY: all strings are NUL-terminated and live during the call.
    check(unsafe {
        libc::mount(c"tmpfs".as_ptr(), target.as_ptr(), c"tmpfs".as_ptr(), flags, options.as_ptr().cast())
    })
    .map(drop)
}

/// Sets the host name of the own UTS namespace.
pub fn set_hostname(name: &str) -> Result<()> {
    // SAFETY: pointer and length are those of a live string.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// Brings the loopback interface of the own network namespace up.
pub fn loopback_up() -> Result<()> {
    // SAFETY: ifreq is plain data, valid when zeroed; the name is shorter than its field; the ioctls read and write only
    // the request that is passed; the descriptor is owned and closed.
    unsafe {
        let socket = OwnedFd::from_raw_fd(check(libc::socket(
            libc::AF_INET,
            libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
            0,
        ))?);
        let mut request: libc::ifreq = zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &mut request))?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &mut request)).map(drop)
    }
}

/// Starts process 1 of a new PID namespace: it reaps until it is killed, which happens when this process ends.
pub fn start_reaper() -> Result<i32> {
    // SAFETY: clone without a stack behaves as fork; the process has one thread. The child uses only system calls.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_NEWPID | libc::SIGCHLD, 0, 0, 0, 0) };
    if pid < 0 {
        return Err(Error::last_os_error());
    }
    if pid > 0 {
        return Ok(pid as i32);
    }
    // SAFETY: as above. Signals stay blocked, so sigwait gets SIGCHLD; nothing is allocated.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        libc::prctl(libc::PR_SET_NAME, c"dunlin-pause".as_ptr(), 0, 0, 0);
        libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
        let mut set: libc::sigset_t = zeroed();
        libc::sigfillset(&mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &set, null_mut());
        loop {
            let mut signal = 0;
            libc::sigwait(&set, &mut signal);
            while libc::waitpid(-1, null_mut(), libc::WNOHANG) > 0 {}
        }
    }
}

/// Blocks the signals that the shim must not die of, and gives a descriptor that tells of ended children.
pub fn child_signals() -> Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before use, and the new descriptor is owned by nobody else.
    unsafe {
        let mut set: libc::sigset_t = zeroed();
        libc::sigemptyset(&mut set);
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE, libc::SIGCHLD]
        {
            libc::sigaddset(&mut set, signal);
        }
        check(libc::sigprocmask(libc::SIG_SETMASK, &set, null_mut()))?;
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        let fd = check(libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// A descriptor from which the signals can be read that this process was started with blocked. Children that are somebody
/// else's are buried by the kernel.
pub fn held_signals() -> Result<OwnedFd> {
    // SAFETY: the set is filled in before use, and the new descriptor is owned by nobody else.
    unsafe {
        let mut set: libc::sigset_t = zeroed();
        check(libc::sigprocmask(libc::SIG_BLOCK, null(), &mut set))?;
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        let fd = check(libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// What `ps` shows; no more than 15 bytes are taken.
pub fn set_name(name: &str) {
    if let Ok(name) = c(name) {
        // SAFETY: the string is NUL-terminated and copied by the call.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    }
}

/// Sends a signal; a process that is gone is success.
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: no memory is involved.
    match check(unsafe { libc::kill(pid, signal) }) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other.map(drop),
    }
}

/// Receives one datagram and a descriptor that came with it; zero bytes are the end.
pub fn receive(fd: RawFd, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    // SAFETY: the message header points to a live buffer and to control space of the size that it names; the control
    // space is aligned as cmsghdr needs (u64); a received descriptor is owned by nobody else.
    unsafe {
        let mut control = [0u64; 8];
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of::<[u64; 8]>() as _;
        let n = libc::recvmsg(fd, &mut message, libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT);
        if n < 0 {
            return Err(Error::last_os_error());
        }
        let mut descriptor = None;
        let header = libc::CMSG_FIRSTHDR(&message);
        if !header.is_null()
            && (*header).cmsg_level == libc::SOL_SOCKET
            && (*header).cmsg_type == libc::SCM_RIGHTS
            && (*header).cmsg_len as usize >= libc::CMSG_LEN(size_of::<RawFd>() as u32) as usize
        {
            let raw = libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned();
            descriptor = Some(OwnedFd::from_raw_fd(raw));
        }
        Ok((n as usize, descriptor))
    }
}

/// Two connected sockets that keep message borders.
pub fn datagram_pair() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: the array has room for two descriptors, which nobody else owns.
    unsafe {
        check(libc::socketpair(
            libc::AF_UNIX,
            libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC,
            0,
            fds.as_mut_ptr(),
        ))?;
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

/// Tells a terminal its size.
pub fn resize(fd: RawFd, width: u16, height: u16) -> Result<()> {
    let size = libc::winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the ioctl reads the size only.
    check(unsafe { libc::ioctl(fd, libc::TIOCSWINSZ as _, &size) }).map(drop)
}

/// Standard input and output become `/dev/null`, standard error a file.
pub fn stdio_to_null(log: &str) -> Result<()> {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    let log = std::fs::File::options().create(true).append(true).open(log)?;
    // SAFETY: the sources are open; 0, 1 and 2 are owned by nobody in this process.
    unsafe {
        check(libc::dup2(null.as_raw_fd(), 0))?;
        check(libc::dup2(null.as_raw_fd(), 1))?;
        check(libc::dup2(log.as_raw_fd(), 2)).map(drop)
    }
}

/// Closes what an agent may have left open for its children by mistake.
pub fn close_inherited() {
    // SAFETY: called before the process opens anything of its own above 2.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0);
    }
}

/// The user at the other end of a socket.
pub fn peer_uid(fd: RawFd) -> Result<u32> {
    // SAFETY: ucred is plain data, and the length names its size.
    unsafe {
        let mut credentials: libc::ucred = zeroed();
        let mut length = size_of::<libc::ucred>() as libc::socklen_t;
        let place = (&raw mut credentials).cast();
        check(libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, place, &mut length))?;
        Ok(credentials.uid)
    }
}

/// The own user.
pub fn own_uid() -> u32 {
    // SAFETY: cannot fail.
    unsafe { libc::geteuid() }
}
