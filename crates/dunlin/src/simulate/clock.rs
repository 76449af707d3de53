//! The time for which this thread has been at work: what measures decisions on a machine that does other things, too.

use std::time::Duration;

/// Processor time of the calling thread.
pub fn busy() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec through a pointer that is valid for the call; if it refuses, the zeros stay.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_counts_and_sleep_does_not() {
        let began = busy();
        std::thread::sleep(Duration::from_millis(200));
        assert!(busy() - began < Duration::from_millis(100));
        while busy() - began < Duration::from_millis(1) {}
    }
}
