//! Whether a text is a schedule of a cron job. When it is due is not decided here.

/// What is wrong with a schedule; `None` when it is right.
pub(super) fn complaint(schedule: &str) -> Option<String> {
    if let Some(descriptor) = schedule.strip_prefix('@') {
        return descriptor_complaint(schedule, descriptor);
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != 5 {
        return Some(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    const MONTHS: &[&str] =
        &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    // Names count from `first`; Sunday is 0 and, as in most crons, 7 is not allowed.
    let ranges: [(u32, u32, &[&str]); 5] =
        [(0, 59, &[]), (0, 23, &[]), (1, 31, &[]), (1, 12, MONTHS), (0, 6, DAYS)];
    fields.iter().zip(ranges).find_map(|(field, (low, high, names))| field_complaint(field, low, high, names))
}

fn descriptor_complaint(schedule: &str, descriptor: &str) -> Option<String> {
    if let Some(duration) = descriptor.strip_prefix("every ") {
        return (!is_duration(duration.trim()))
            .then(|| format!("failed to parse duration {schedule}: time: invalid duration \"{duration}\""));
    }
    let known = ["yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"];
    (!known.contains(&descriptor)).then(|| format!("unrecognized descriptor: {schedule}"))
}

/// Go's durations: `1h30m`.
fn is_duration(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = &rest[..rest.len() - digits.len()];
        if number.is_empty() || number.parse::<f64>().is_err() {
            return false;
        }
        let unit = ["ns", "us", "µs", "ms", "s", "m", "h"].into_iter().find(|unit| {
            digits
                .strip_prefix(unit)
                .is_some_and(|r| r.is_empty() || r.starts_with(|c: char| c.is_ascii_digit()))
        });
        let Some(after) = unit.and_then(|unit| digits.strip_prefix(unit)) else { return false };
        rest = after;
    }
    !text.is_empty()
}

fn field_complaint(field: &str, low: u32, high: u32, names: &[&str]) -> Option<String> {
    field.split(',').find_map(|part| range_complaint(part, low, high, names))
}

fn range_complaint(part: &str, low: u32, high: u32, names: &[&str]) -> Option<String> {
    let number = |text: &str| -> Result<u32, String> {
        let lower = text.to_ascii_lowercase();
        if let Some(index) = names.iter().position(|name| *name == lower) {
            return Ok(low + index as u32);
        }
        text.parse().map_err(|_| {
            format!("failed to parse int from {text}: strconv.Atoi: parsing \"{text}\": invalid syntax")
        })
    };
    let check = || -> Result<(), String> {
        let (range, step) = match part.split_once('/') {
            Some((_, step)) if step.contains('/') => return Err(format!("too many slashes: {part}")),
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let (start, end) = match range.split_once('-') {
            _ if matches!(range, "*" | "?") => (low, high),
            Some((_, end)) if end.contains('-') => return Err(format!("too many hyphens: {part}")),
            Some((start, end)) => (number(start)?, number(end)?),
            None => {
                let start = number(range)?;
                (start, if step.is_some() { high } else { start })
            }
        };
        if let Some(step) = step
            && number(step)? == 0
        {
            return Err(format!("step of range should be a positive number: {part}"));
        }
        if start < low {
            return Err(format!("beginning of range ({start}) below minimum ({low}): {part}"));
        }
        if end > high {
            return Err(format!("end of range ({end}) above maximum ({high}): {part}"));
        }
        if start > end {
            return Err(format!("beginning of range ({start}) beyond end of range ({end}): {part}"));
        }
        Ok(())
    };
    check().err()
}

#[cfg(test)]
mod tests {
    use super::complaint;

    #[test]
    fn schedules() {
        for right in
            ["* * * * *", "*/5 0-6 1,15 jan-MAR mon", "0 0 ? * *", "@daily", "@every 1h30m", "5/10 * * * *"]
        {
            assert_eq!(complaint(right), None, "{right}");
        }
        for (wrong, want) in [
            ("x", "expected exactly 5 fields, found 1: [x]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax"),
            ("@often", "unrecognized descriptor: @often"),
            ("@every x", "failed to parse duration @every x: time: invalid duration \"x\""),
        ] {
            assert_eq!(complaint(wrong).as_deref(), Some(want), "{wrong}");
        }
    }
}
