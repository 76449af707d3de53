//! Exponential backoff with jitter, for everything that tries again.
//!
//! Full jitter over the upper half of each step: a thousand clients that lose the same server come back spread over
//! half the delay, and none of them hammers it at once.

use std::time::Duration;

/// Delays that double from `first` up to `most`, each drawn from the upper half of its step.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// A backoff that has not failed yet.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0 }
    }

    /// The delay before the next try; each call counts one more failure.
    pub fn next_delay(&mut self) -> Duration {
        let step = step(self.first, self.most, self.failures);
        self.failures = self.failures.saturating_add(1);
        let half = step / 2;
        half + half.mul_f64(random_fraction())
    }

    /// Forgets all failures; called after a success that lasted.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How often `next_delay` was called since the last reset.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// The undisturbed delay after `failures` failures: `first * 2^failures`, at most `most`.
pub fn step(first: Duration, most: Duration, failures: u32) -> Duration {
    first.checked_mul(1u32.checked_shl(failures).unwrap_or(u32::MAX)).map_or(most, |d| d.min(most))
}

/// A little earlier than `wait`, by up to a tenth: what was started at one moment is not due at one moment.
pub fn early(wait: Duration) -> Duration {
    wait.mul_f64(1.0 - 0.1 * random_fraction())
}

/// Longer than this nobody sleeps in one go: timers stand still while a machine sleeps.
pub const LOOK: Duration = Duration::from_secs(3600);

/// Sleeps until something that is due after `wait` is nearly due, but never long. False means that it is not due yet.
pub async fn nearly(wait: Duration) -> bool {
    if !wait.is_zero() {
        tokio::time::sleep(early(wait).min(LOOK)).await;
    }
    wait <= LOOK
}

/// A number in `[0, 1)`; without randomness from the kernel it is 0.5, which costs spread and nothing else.
fn random_fraction() -> f64 {
    let mut bytes = [0u8; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_most() {
        let first = Duration::from_millis(100);
        let most = Duration::from_secs(1);
        let steps: Vec<u128> = (0..6).map(|n| step(first, most, n).as_millis()).collect();
        assert_eq!(steps, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(step(first, most, 4000), most);
    }

    #[test]
    fn stays_in_the_upper_half() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for n in 0..50 {
            let undisturbed = step(Duration::from_millis(100), Duration::from_secs(1), n);
            let delay = backoff.next_delay();
            assert!(delay >= undisturbed / 2 && delay <= undisturbed, "{delay:?} of {undisturbed:?}");
        }
        let early = early(Duration::from_secs(100));
        assert!(early > Duration::from_secs(89) && early <= Duration::from_secs(100), "{early:?}");
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(100));
    }
}
