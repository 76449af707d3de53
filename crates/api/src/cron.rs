//! Schedules of cron jobs: read, refused with Kubernetes' words, and when they are due.
//!
//! Five fields (minute, hour, day of the month, month, day of the week), the descriptors `@hourly` and the like, and
//! `@every 1h30m`. When both days are restricted, either is enough. Kubernetes reads them with robfig/cron, whose
//! complaints and whose behaviour at changes of the clock (a skipped time does not happen, a repeated one happens twice)
//! these are.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};

use crate::duration;

/// A schedule that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule(Rule);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    /// Seconds between two times.
    Every(i64),
    Fields(Fields),
}

/// Bit `n` of a field says that the value `n` is due; `any_day` that one of the day fields is not restricted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    any_day: bool,
}

/// How far ahead a time is searched, in years: the 29th of February may be eight years away.
const FAR: i16 = 9;

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// What is wrong with it, in the words that Kubernetes uses.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(descriptor) = text.strip_prefix('@') {
            return descriptor_of(text, descriptor);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
        };
        // Sunday is 0 and, as in most crons, 7 is not allowed.
        let (minutes, _) = field(minute, 0, 59, &[])?;
        let (hours, _) = field(hour, 0, 23, &[])?;
        let (days, any_date) = field(day, 1, 31, &[])?;
        let (months, _) = field(month, 1, 12, MONTHS)?;
        let (weekdays, any_weekday) = field(weekday, 0, 6, WEEKDAYS)?;
        let any_day = any_date || any_weekday;
        Ok(Self(Rule::Fields(Fields { minutes, hours, days, months, weekdays, any_day })))
    }

    /// The first time after `after` (seconds since the epoch) by the clocks of `zone`; `None` if there is none in years.
    pub fn next(&self, after: i64, zone: &TimeZone) -> Option<i64> {
        match &self.0 {
            Rule::Every(seconds) => after.checked_add(*seconds),
            Rule::Fields(fields) => fields.next(after, zone),
        }
    }

    /// The last time that is later than `from` and not later than `to`.
    pub fn last_between(&self, from: i64, to: i64, zone: &TimeZone) -> Option<i64> {
        if let Rule::Every(seconds) = &self.0 {
            let count = (to - from) / seconds;
            return (count > 0).then(|| from + count * seconds);
        }
        // What is due often is found near the end, what is due rarely has few times in a long stretch.
        for back in [3_600, 86_400, 32 * 86_400, 400 * 86_400, i64::MAX] {
            let start = from.max(to.saturating_sub(back));
            let mut last = None;
            let mut at = start;
            while let Some(next) = self.next(at, zone).filter(|next| *next <= to) {
                last = Some(next);
                at = next;
            }
            if last.is_some() || start == from {
                return last;
            }
        }
        None
    }
}

impl Fields {
    fn next(&self, after: i64, zone: &TimeZone) -> Option<i64> {
        let has = |set: u64, value: i8| set & (1 << value) != 0;
        let mut at = Timestamp::from_second(after).ok()?.to_zoned(zone.clone());
        // The next whole minute.
        at = at.checked_add(SignedDuration::from_secs(60 - i64::from(at.second()))).ok()?;
        let limit = at.year().saturating_add(FAR);
        while at.year() <= limit {
            if !has(self.months, at.month()) {
                at = midnight(&at.checked_add(1.month()).ok()?.first_of_month().ok()?)?;
            } else if !self.is_day(&at) {
                at = midnight(&at.checked_add(1.day()).ok()?)?;
            } else if !has(self.hours, at.hour()) {
                at = at.checked_add(SignedDuration::from_mins(60 - i64::from(at.minute()))).ok()?;
            } else if !has(self.minutes, at.minute()) {
                at = at.checked_add(SignedDuration::from_mins(1)).ok()?;
            } else {
                return Some(at.timestamp().as_second());
            }
        }
        None
    }

    fn is_day(&self, at: &Zoned) -> bool {
        let day = self.days & (1 << at.day()) != 0;
        let weekday = self.weekdays & (1 << at.weekday().to_sunday_zero_offset()) != 0;
        if self.any_day { day && weekday } else { day || weekday }
    }
}

/// The first moment of the day.
fn midnight(at: &Zoned) -> Option<Zoned> {
    at.date().to_datetime(Time::midnight()).to_zoned(at.time_zone().clone()).ok()
}

/// The zone of that name in the IANA database, which the program carries.
pub fn time_zone(name: &str) -> Option<TimeZone> {
    jiff::tz::db().get(name).ok()
}

fn descriptor_of(text: &str, descriptor: &str) -> Result<Schedule, String> {
    if let Some(length) = descriptor.strip_prefix("every ") {
        let seconds = is_duration(length).then(|| duration::parse(length).ok()).flatten();
        let seconds = seconds.and_then(|length| i64::try_from(length.as_secs()).ok());
        let seconds = seconds
            .ok_or_else(|| format!("failed to parse duration {text}: time: invalid duration \"{length}\""))?;
        return Ok(Schedule(Rule::Every(seconds.max(1))));
    }
    let fields = match descriptor {
        "yearly" | "annually" => "0 0 1 1 *",
        "monthly" => "0 0 1 * *",
        "weekly" => "0 0 * * 0",
        "daily" | "midnight" => "0 0 * * *",
        "hourly" => "0 * * * *",
        _ => return Err(format!("unrecognized descriptor: {text}")),
    };
    Schedule::parse(fields)
}

/// Go's durations have a unit for each number, and no days.
fn is_duration(text: &str) -> bool {
    text.ends_with(|c: char| c.is_ascii_alphabetic()) && !text.contains('d')
}

/// The values that a field allows, and whether that are all because it says so.
fn field(field: &str, low: u32, high: u32, names: &[&str]) -> Result<(u64, bool), String> {
    let mut all = (0, false);
    for part in field.split(',') {
        let (values, any) = range(part, low, high, names)?;
        all = (all.0 | values, all.1 | any);
    }
    Ok(all)
}

fn range(part: &str, low: u32, high: u32, names: &[&str]) -> Result<(u64, bool), String> {
    let number = |text: &str| -> Result<u32, String> {
        let lower = text.to_ascii_lowercase();
        if let Some(index) = names.iter().position(|name| *name == lower) {
            return Ok(low + index as u32);
        }
        text.parse().map_err(|_| {
            format!("failed to parse int from {text}: strconv.Atoi: parsing \"{text}\": invalid syntax")
        })
    };
    let (range, step) = match part.split_once('/') {
        Some((_, step)) if step.contains('/') => return Err(format!("too many slashes: {part}")),
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    let (start, end, any) = match range.split_once('-') {
        _ if matches!(range, "*" | "?") => (low, high, true),
        Some((_, end)) if end.contains('-') => return Err(format!("too many hyphens: {part}")),
        Some((start, end)) => (number(start)?, number(end)?, false),
        None => {
            let start = number(range)?;
            (start, if step.is_some() { high } else { start }, false)
        }
    };
    let step = step.map_or(Ok(1), number)?;
    if step == 0 {
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
    let values = (start..=end).step_by(step as usize).fold(0, |set, n| set | 1 << n);
    Ok((values, any && step == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_or_refused() {
        for right in
            ["* * * * *", "*/5 0-6 1,15 jan-MAR mon", "0 0 ? * *", "@daily", "@every 1h30m", "5/10 * * * *"]
        {
            assert!(Schedule::parse(right).is_ok(), "{right}");
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
            ("@every 5", "failed to parse duration @every 5: time: invalid duration \"5\""),
            ("@every 1d", "failed to parse duration @every 1d: time: invalid duration \"1d\""),
        ] {
            assert_eq!(Schedule::parse(wrong), Err(want.to_owned()), "{wrong}");
        }
    }

    fn second(text: &str) -> i64 {
        text.parse::<Timestamp>().expect("a time").as_second()
    }

    #[test]
    fn times_follow_the_clock_of_the_zone() {
        for (schedule, zone, after, want) in [
            ("*/15 * * * *", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T00:15:00Z"),
            ("*/15 * * * *", "UTC", "2026-01-01T00:14:59Z", "2026-01-01T00:15:00Z"),
            ("0 3 * * *", "Europe/Vienna", "2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z"),
            ("0 3 * * *", "Europe/Vienna", "2026-07-01T00:00:00Z", "2026-07-01T01:00:00Z"),
            ("0 0 29 2 *", "UTC", "2097-01-01T00:00:00Z", "2104-02-29T00:00:00Z"),
            // Both days are restricted: the 13th or a Friday.
            ("0 0 13 * fri", "UTC", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("0 0 13 * *", "UTC", "2026-01-01T00:00:00Z", "2026-01-13T00:00:00Z"),
            // A step is a restriction, as in robfig/cron.
            ("0 0 */31 * fri", "UTC", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            // 02:30 is left out in spring, and happens twice in autumn.
            ("30 2 * * *", "Europe/Vienna", "2026-03-28T12:00:00Z", "2026-03-30T00:30:00Z"),
            ("30 2 * * *", "Europe/Vienna", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"),
            ("@every 90s", "UTC", "2026-01-01T00:00:07Z", "2026-01-01T00:01:37Z"),
            ("@weekly", "UTC", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
        ] {
            let zone = time_zone(zone).expect("a zone");
            let next = Schedule::parse(schedule).expect("a schedule").next(second(after), &zone);
            assert_eq!(next, Some(second(want)), "{schedule} after {after}");
        }
        let never = Schedule::parse("0 0 31 2 *").expect("a schedule");
        assert_eq!(never.next(0, &TimeZone::UTC), None);
        assert!(time_zone("Atlantis/Capital").is_none());
    }

    #[test]
    fn the_last_of_many_missed_times_is_found() {
        for (schedule, from, to, want) in [
            ("* * * * *", "2020-01-01T00:00:00Z", "2026-01-01T00:00:30Z", Some("2026-01-01T00:00:00Z")),
            ("0 0 1 1 *", "2020-06-01T00:00:00Z", "2026-05-01T00:00:00Z", Some("2026-01-01T00:00:00Z")),
            ("0 0 29 2 *", "2016-01-01T00:00:00Z", "2026-05-01T00:00:00Z", Some("2024-02-29T00:00:00Z")),
            ("0 12 * * *", "2026-01-01T12:00:00Z", "2026-01-02T11:00:00Z", None),
            ("0 12 * * *", "2026-01-01T11:59:59Z", "2026-01-01T12:00:00Z", Some("2026-01-01T12:00:00Z")),
            ("@every 1h", "2026-01-01T00:00:05Z", "2026-01-01T03:30:00Z", Some("2026-01-01T03:00:05Z")),
        ] {
            let schedule_read = Schedule::parse(schedule).expect("a schedule");
            let last = schedule_read.last_between(second(from), second(to), &TimeZone::UTC);
            assert_eq!(last, want.map(second), "{schedule} from {from}");
        }
    }
}
