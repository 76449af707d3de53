//! Waiting on conditions, never for a fixed time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks `check` again and again until it gives a value; fails with the last reason when `most` has passed.
///
/// # Errors
/// When the condition does not come true in time; the message names `what` and the last reason.
pub fn until<T>(what: &str, most: Duration, mut check: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + most;
    loop {
        match check() {
            Ok(value) => return Ok(value),
            Err(reason) if Instant::now() >= end => {
                bail!("{what} did not happen within {} s: {reason:#}", most.as_secs())
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
