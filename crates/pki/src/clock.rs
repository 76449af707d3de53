//! What time it is on a machine whose clock may be wrong.
//!
//! Many boards have no battery: until they reach a time server their clock stands in 1970, and reaching one may need
//! the very connection that certificates protect. Three rules follow.
//!
//! 1. Time is never before [`FLOOR`]: this program did not exist then.
//! 2. "Not valid yet" is not a reason to refuse a certificate that our own CA signed. Our CA never issues for the
//!    future, so such a certificate proves that *our* clock is behind; it is checked at its own first moment instead.
//! 3. "Expired" is a reason to refuse, with an explicit grace where a server allows it (see [`crate::tls`]). A clock
//!    that is behind therefore accepts a certificate longer than it should, never one of another CA. That is the price,
//!    and it ends when the clock is set.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 2026-01-01T00:00:00Z, in seconds. May be raised with each release, never lowered.
pub const FLOOR: u64 = 1_767_225_600;

/// The system's time, or the floor if that is later.
pub fn now() -> SystemTime {
    at_least(SystemTime::now(), UNIX_EPOCH + Duration::from_secs(FLOOR))
}

pub(crate) fn at_least(time: SystemTime, floor: SystemTime) -> SystemTime {
    if time < floor { floor } else { time }
}

/// The moment at which a certificate is judged: now, by rules 1 and 2.
pub(crate) fn judged_at(now: SystemTime, not_before: SystemTime) -> SystemTime {
    let now = at_least(now, UNIX_EPOCH + Duration::from_secs(FLOOR));
    if not_before > now {
        let behind = not_before.duration_since(now).unwrap_or_default();
        // Not yet verified at this point: anybody may show a certificate, so this is no warning.
        tracing::debug!(
            behind_seconds = behind.as_secs(),
            "certificate is from our future, our clock may be behind"
        );
        return not_before;
    }
    now
}
