//! Lengths of time as people write them: a number of seconds, or a duration as Go prints it (`1m30s`, `1.5h`, `500ms`),
//! with `d` for days besides.

use std::time::Duration;

/// The longest text that can be a duration.
const LONGEST: usize = 64;

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no length of time: write seconds, or numbers with ms, s, m, h or d, as in 90s or 1h30m")]
pub struct Malformed(String);

/// Reads a length of time.
///
/// # Errors
/// When it is empty, negative, longer than 64 bytes, has an unknown unit, or is too large to be held.
pub fn parse(text: &str) -> Result<Duration, Malformed> {
    read(text).ok_or_else(|| Malformed(text.chars().take(LONGEST).collect()))
}

fn read(text: &str) -> Option<Duration> {
    if text.is_empty() || text.len() > LONGEST {
        return None;
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let nanos: u64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3_600 * 1_000_000_000,
            "d" => 86_400 * 1_000_000_000,
            _ => return None,
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && part.is_empty() {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(Duration::from_nanos(nanos.checked_mul(whole)?))?;
        // Digits beyond a nanosecond of the largest unit say nothing any more.
        let mut worth = nanos;
        for digit in part.bytes() {
            worth /= 10;
            total = total.checked_add(Duration::from_nanos(worth * u64::from(digit.checked_sub(b'0')?)))?;
        }
        rest = after;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_seconds_and_go_durations() {
        for (text, millis) in [
            ("0", 0),
            ("90", 90_000),
            ("90s", 90_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("500ms", 500),
            (".5s", 500),
            ("2d", 172_800_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for wrong in ["", "-1", "s", "1x", "1s1", ".s", "1..5s", "99999999999999999999", "999999999d"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse(&"1s".repeat(40)).is_err());
    }
}
