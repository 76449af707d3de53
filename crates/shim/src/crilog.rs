//! Log lines as the Container Runtime Interface wants them: `2024-05-06T07:08:09.123456789Z stdout F the line`.
//!
//! A line longer than [`LINE`] is cut into parts tagged `P`; its last part has `F`. Pure: bytes in, bytes out. Reference:
//! the design document "CRI: log management" of Kubernetes (kubelet-cri-logging).

/// Longest content of one log line; what containerd and CRI-O use, and what the readers' buffers are made for.
pub const LINE: usize = 16 * 1024;

/// The part of one stream that waits for the end of its line.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Appends to `out` the log lines that `data` completes. `stamp` is the time, `stream` is `stdout` or `stderr`.
    pub fn feed(&mut self, mut data: &[u8], stamp: &[u8], stream: &[u8], out: &mut Vec<u8>) {
        while let Some(end) = newline(data) {
            if self.partial.is_empty() {
                line(&data[..end], stamp, stream, out);
            } else {
                self.partial.extend_from_slice(&data[..end]);
                line(&self.partial, stamp, stream, out);
                self.partial.clear();
            }
            data = &data[end + 1..];
        }
        self.partial.extend_from_slice(data);
        let whole = self.partial.len() / LINE * LINE;
        // A full part is written only when more follows, so that a line of exactly LINE bytes ends with `F` once.
        let cut = if whole == self.partial.len() { whole.saturating_sub(LINE) } else { whole };
        for part in self.partial[..cut].chunks(LINE) {
            entry(part, b"P", stamp, stream, out);
        }
        self.partial.drain(..cut);
        if self.partial.is_empty() {
            // An idle container holds no buffer.
            self.partial = Vec::new();
        }
    }

    /// The stream has ended: what waits becomes a line.
    pub fn finish(&mut self, stamp: &[u8], stream: &[u8], out: &mut Vec<u8>) {
        if !self.partial.is_empty() {
            line(&self.partial, stamp, stream, out);
            self.partial = Vec::new();
        }
    }
}

fn newline(data: &[u8]) -> Option<usize> {
    if data.is_empty() {
        return None;
    }
    // SAFETY: memchr reads at most `len` bytes from the start of a live slice.
    let found = unsafe { libc::memchr(data.as_ptr().cast(), i32::from(b'\n'), data.len()) };
    (!found.is_null()).then(|| found as usize - data.as_ptr() as usize)
}

fn line(content: &[u8], stamp: &[u8], stream: &[u8], out: &mut Vec<u8>) {
    let mut rest = content;
    while rest.len() > LINE {
        entry(&rest[..LINE], b"P", stamp, stream, out);
        rest = &rest[LINE..];
    }
    entry(rest, b"F", stamp, stream, out);
}

fn entry(content: &[u8], tag: &[u8], stamp: &[u8], stream: &[u8], out: &mut Vec<u8>) {
    for word in [stamp, b" ", stream, b" ", tag, b" ", content, b"\n"] {
        out.extend_from_slice(word);
    }
}

/// Nanoseconds since 1970 as RFC 3339 in UTC with nine decimals.
pub fn stamp(nanoseconds: u64) -> [u8; 30] {
    let (seconds, fraction) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    digits(&mut text[0..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], second / 3600);
    digits(&mut text[14..16], second / 60 % 60);
    digits(&mut text[17..19], second % 60);
    digits(&mut text[20..29], fraction);
    text
}

fn digits(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Days since 1970 as year, month and day of the Gregorian calendar; counted in years that begin in March, so that the
/// leap day is a year's last (H. Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(parts: &[&[u8]]) -> Vec<(char, usize)> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for part in parts {
            lines.feed(part, b"T", b"stdout", &mut out);
        }
        lines.finish(b"T", b"stdout", &mut out);
        out.split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
            .map(|l| {
                assert!(l.starts_with(b"T stdout "));
                (l[9] as char, l.len() - 11)
            })
            .collect()
    }

    #[test]
    fn lines_are_cut_at_the_limit() {
        let long = vec![b'x'; LINE];
        assert_eq!(feed(&[b"a\nbc\n\n"]), [('F', 1), ('F', 2), ('F', 0)]);
        assert_eq!(feed(&[b"a", b"b\nc"]), [('F', 2), ('F', 1)]);
        assert_eq!(feed(&[&long, b"\n"]), [('F', LINE)]);
        assert_eq!(feed(&[&long, b"yz\n"]), [('P', LINE), ('F', 2)]);
        assert_eq!(feed(&[&long, &long, &long]), [('P', LINE), ('P', LINE), ('F', LINE)]);
        assert_eq!(feed(&[]), []);
    }

    #[test]
    fn the_content_is_the_same_however_it_arrives() {
        let data: Vec<u8> = (0..100_000u32).map(|n| if n % 33_000 == 9 { b'\n' } else { b'a' }).collect();
        let whole = feed(&[&data]);
        for size in [1, 7, 4096, LINE, LINE + 1, 50_000] {
            let parts: Vec<&[u8]> = data.chunks(size).collect();
            assert_eq!(feed(&parts), whole, "pieces of {size}");
        }
    }

    #[test]
    fn times_are_rfc_3339() {
        let text = |n| String::from_utf8(stamp(n).to_vec()).unwrap();
        assert_eq!(text(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(text(951_782_400_000_000_001), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(text(1_714_979_289_123_456_789), "2024-05-06T07:08:09.123456789Z");
        assert_eq!(text(4_102_444_799_999_999_999), "2099-12-31T23:59:59.999999999Z");
    }
}
