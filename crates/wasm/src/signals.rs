//! Signals of a guest's process. A guest cannot catch any, and the first process of a container ignores by itself whatever
//! it has no handler for, so a thread waits for those that are to end it.

use std::io;

/// The signals that end a guest.
const ENDING: [libc::c_int; 8] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGABRT,
];

/// Keeps signals that are to end the guest until somebody waits for them. Without it the first process of a container would
/// lose one that comes before: it ignores what it has no handler for, but nothing that is blocked.
pub fn hold() {
    block();
}

fn block() -> libc::sigset_t {
    // SAFETY: the set is initialised before use, and the calls take nothing else.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in ENDING {
            libc::sigaddset(&mut set, signal);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
        set
    }
}

/// Calls `ended` with the number of the first signal that is to end the guest, on a thread of its own. To be called before
/// any other thread is there: those begun later must not take the signal.
pub fn watch(ended: impl FnOnce(i32) + Send + 'static) -> io::Result<()> {
    let set = block();
    let wait = move || {
        let mut signal = 0;
        // SAFETY: the set is initialised, the number is ours.
        if unsafe { libc::sigwait(&set, &mut signal) } == 0 {
            ended(signal);
        }
    };
    std::thread::Builder::new().name("signals".into()).stack_size(64 << 10).spawn(wait).map(drop)
}
