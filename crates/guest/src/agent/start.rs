//! From the kernel's first process to a port to the monitor.

use std::fs;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use dunlin_guest::{MODULES, PORT};

use crate::sys;

/// How long devices may take to appear. An emulated processor on a busy machine needs some of it.
const DEVICES: Duration = Duration::from_secs(60);

/// Mounts what the kernel offers, loads its modules, and opens the port.
pub fn start() -> Result<OwnedFd> {
    for (kind, target) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        sys::mount(kind, target, kind, 0, "")?;
    }
    for path in fs::read_to_string(MODULES)?.lines() {
        if let Err(error) = load(path) {
            eprintln!("dunlin: loading {path}: {error}");
        }
    }
    let deadline = Instant::now() + DEVICES;
    let port = loop {
        match find() {
            Some(path) => break fs::File::options().read(true).write(true).open(path)?,
            None if Instant::now() > deadline => return Err(Error::other("there is no port to the host")),
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    // Until the host's end is known to be open, reading would look like its end.
    loop {
        let mut fds = [libc::pollfd { fd: port.as_raw_fd(), events: libc::POLLOUT, revents: 0 }];
        sys::poll(&mut fds, 1000);
        if fds[0].revents & libc::POLLHUP == 0 && fds[0].revents != 0 {
            return Ok(port.into());
        }
        if Instant::now() > deadline {
            return Err(Error::other("nobody is at the other end of the port"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn load(path: &str) -> Result<()> {
    let file = fs::File::open(path)?;
    // SAFETY: the descriptor is open and the parameters are an empty NUL-terminated string.
    let loaded =
        unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) as libc::c_int };
    match sys::check(loaded) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other.map(drop),
    }
}

/// The port's device node, when the kernel has found it.
fn find() -> Option<String> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?;
    let named =
        |path: &std::path::Path| fs::read_to_string(path.join("name")).is_ok_and(|n| n.trim() == PORT);
    let port = ports.flatten().find(|entry| named(&entry.path()))?;
    let node = format!("/dev/{}", port.file_name().to_string_lossy());
    std::path::Path::new(&node).exists().then_some(node)
}
