//! The processor time of a guest that shares its process with others: no cgroup can hold it to its limit, so it is made to
//! wait when it has had its share, and tells what it has used.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What a guest may use at once after it has waited, as a share of its limit: a period of the kernel's own scheduler.
const PERIOD: Duration = Duration::from_millis(100);

/// Told what a guest has used, now and then: nanoseconds of the processor.
pub type Told = Box<dyn Fn(u64) + Send + Sync>;

/// The pace of the guest of one thread.
pub struct Pace {
    /// Thousandths of a processor.
    limit: Option<u64>,
    told: Told,
    state: Mutex<State>,
}

struct State {
    at: Instant,
    used: Duration,
    /// Nanoseconds that it may use; negative if it has used too many.
    left: i128,
}

impl Pace {
    /// Of the guest on the calling thread, which alone may ask it anything.
    pub fn new(limit: Option<u64>, told: Told) -> Self {
        let state = State { at: Instant::now(), used: used(), left: 0 };
        Self { limit: limit.map(|limit| limit.max(1)), told, state: Mutex::new(state) }
    }

    /// Tells what the guest has used.
    pub fn tell(&self) -> Duration {
        let used = used();
        (self.told)(used.as_nanos() as u64);
        used
    }

    /// How long the guest has to wait now, if it has to.
    pub fn pause(&self) -> Option<Duration> {
        let (now, used) = (Instant::now(), self.tell());
        let limit = self.limit?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (passed, spent) = (now - state.at, used.saturating_sub(state.used));
        (state.at, state.used) = (now, used);
        let (left, pause) = left(limit, state.left, passed, spent);
        state.left = left;
        pause
    }
}

/// What is left after time has passed and was spent, and how long to wait if that is less than nothing.
fn left(limit: u64, before: i128, passed: Duration, spent: Duration) -> (i128, Option<Duration>) {
    let share = |time: Duration| time.as_nanos() as i128 * i128::from(limit) / 1000;
    let left = (before + share(passed)).min(share(PERIOD)) - spent.as_nanos() as i128;
    let pause = (left < 0).then(|| Duration::from_nanos((-left * 1000 / i128::from(limit)) as u64));
    (left, pause)
}

/// The processor time of this thread.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn who_uses_too_much_waits_until_it_is_made_up_for() {
        // A tenth of a processor: ten milliseconds at once are what it has after a rest.
        let (rested, none) = left(100, 0, 1000 * MS, Duration::ZERO);
        assert_eq!((rested, none), (10_000_000, None));
        assert_eq!(left(100, rested, Duration::ZERO, 10 * MS), (0, None));
        let (owed, pause) = left(100, 0, 10 * MS, 10 * MS);
        assert_eq!((owed, pause), (-9_000_000, Some(90 * MS)));
        assert_eq!(left(100, owed, 90 * MS, Duration::ZERO), (0, None));
    }

    #[test]
    fn who_stays_below_never_waits() {
        let mut now = 0;
        for _ in 0..1000 {
            let (after, pause) = left(1500, now, 10 * MS, 10 * MS);
            assert_eq!(pause, None);
            now = after;
        }
    }
}
