//! Standing for a guest that runs in another process: the first process of its container, in its cgroup and namespaces.
//!
//! What happens to this process happens to the guest, and the other way round. The other process is told of signals that
//! are to end the guest, and notices by the closed connection when this one is killed.

use std::os::fd::AsRawFd;

use dunlin_shim::hold::{ENDED, HOST_FD, STOP};

use crate::sys;

/// The exit code of a guest whose process died: as if it had been killed itself.
const LOST: i32 = 137;

/// Stands for the guest until it has ended. The signals that are to end it are blocked already. `name` is what `ps` shows.
pub fn run(name: &str) -> ! {
    sys::set_name(name);
    let Ok(signals) = sys::held_signals() else { std::process::exit(LOST) };
    let mut scratch = [0; 256];
    loop {
        let watch = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut fds = [watch(HOST_FD), watch(signals.as_raw_fd())];
        sys::poll(&mut fds, -1);
        if fds[1].revents != 0 && sys::read(signals.as_raw_fd(), &mut scratch).is_ok() {
            let _ = sys::write(HOST_FD, &[STOP]);
        }
        if fds[0].revents == 0 {
            continue;
        }
        match sys::read(HOST_FD, &mut scratch[..2]) {
            Ok(2) if scratch[0] == ENDED => std::process::exit(i32::from(scratch[1])),
            Ok(_) => {
                let _ = sys::write(2, b"wasm: the process that served for this pod has ended\n");
                std::process::exit(LOST)
            }
            Err(_) => {}
        }
    }
}
