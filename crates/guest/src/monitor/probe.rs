//! Whether a machine can be run at all: by running one.

use std::os::fd::AsRawFd;

use dunlin_guest::{Message, PROBED};

use super::{TAIL, launch, read};
use crate::sys;

/// Runs the machine that a file plans until its agent says that it listens, or until QEMU ends as a guest without an agent
/// makes it; ends with 0 then. Otherwise the console's last words are on standard error. Whoever asks limits the time.
pub fn probe(file: &str) -> ! {
    let started = sys::end_with_parent().and_then(|()| {
        let mut machine = read(file)?;
        let signals = sys::signals([libc::SIGCHLD])?;
        Ok((launch::launch(&mut machine)?, signals, machine.console))
    });
    let (mut running, signals, console) = match started {
        Ok(started) => started,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1)
        }
    };
    let mut tail = Vec::new();
    loop {
        let mut fds = [running.port.fd(), running.console.as_raw_fd(), signals.as_raw_fd()]
            .map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
        sys::poll(&mut fds, -1);
        let mut buffer = [0u8; 4096];
        if let Ok(n) = sys::read(running.console.as_raw_fd(), &mut buffer) {
            tail.extend_from_slice(&buffer[..n]);
            let surplus = tail.len().saturating_sub(TAIL);
            tail.drain(..surplus);
        }
        let heard = running.port.receive().unwrap_or_default();
        if heard.contains(&(0, Message::Ready)) {
            running.kill();
            std::process::exit(0)
        }
        if let Some((_, status)) = sys::reap() {
            let well = console && sys::ended(status).0 == PROBED;
            eprint!("{}", String::from_utf8_lossy(&tail));
            std::process::exit(i32::from(!well))
        }
    }
}
