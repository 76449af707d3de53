//! Durations as Go writes them, signed and to the nanosecond: `1h30m`, `-1.5s`, `300ms`.

/// Reads a duration; nanoseconds. `None`: it is none, or longer than 292 years.
pub fn parse(text: &str) -> Option<i64> {
    if text.len() > 64 {
        return None;
    }
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let nanos: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        if !whole.is_empty() {
            total = total.checked_add(whole.parse::<i128>().ok()?.checked_mul(nanos)?)?;
        }
        let mut unit = nanos;
        for digit in fraction.bytes() {
            unit /= 10;
            total += i128::from(digit - b'0') * unit;
        }
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// Writes a duration of nanoseconds as Go does: `1h30m0s`, `1.5s`, `300ms`.
pub fn print(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let n = nanos.unsigned_abs();
    let decimal = |n: u64, unit: u64| {
        let (whole, rest) = (n / unit, n % unit);
        let mut fraction = format!("{rest:0width$}", width = unit.ilog10() as usize);
        fraction.truncate(fraction.trim_end_matches('0').len());
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{whole}{point}{fraction}")
    };
    match n {
        0 => "0s".into(),
        1..1_000 => format!("{sign}{n}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(n, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(n, 1_000_000)),
        _ => {
            let (minutes, rest) = (n / 60_000_000_000, n % 60_000_000_000);
            let seconds = decimal(rest, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, m) => format!("{sign}{m}m{seconds}s"),
                (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_in_go() {
        for (text, nanos, printed) in [
            ("1h30m", 5_400_000_000_000, "1h30m0s"),
            ("-1.5s", -1_500_000_000, "-1.5s"),
            ("300ms", 300_000_000, "300ms"),
            ("1m0.25s", 60_250_000_000, "1m0.25s"),
            ("0", 0, "0s"),
            ("1.5us", 1_500, "1.5µs"),
            ("7ns", 7, "7ns"),
        ] {
            assert_eq!(parse(text), Some(nanos), "{text}");
            assert_eq!(print(nanos), printed);
        }
        for bad in ["", "-", "1", "1x", ".s", "1..2s", "300000h1y", "9999999999h"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
