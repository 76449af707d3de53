//! Parts of moments and of lengths of time.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use crate::cel::Failed;
use crate::cel::value::Val;

/// The zone of an argument: UTC, or an offset as `+01:00`. Names of zones need a database of them, which is not built in.
fn zone(args: &[Val<'_>]) -> Option<Result<TimeZone, Failed>> {
    match args {
        [] => Some(Ok(TimeZone::UTC)),
        [Val::Text(name)] if matches!(&**name, "UTC" | "Z" | "Etc/UTC") => Some(Ok(TimeZone::UTC)),
        [Val::Text(text)] => {
            let (sign, rest) = match text.strip_prefix('-') {
                Some(rest) => (-1, rest),
                None => (1, text.strip_prefix('+').unwrap_or(text)),
            };
            let seconds = rest.split_once(':').and_then(|(hours, minutes)| {
                let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
                (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
            });
            let offset = seconds.and_then(|s| Offset::from_seconds(s).ok());
            Some(offset.map(TimeZone::fixed).ok_or_else(|| {
                Failed::Error(format!("unknown time zone {text}: only UTC and offsets as +01:00 are known"))
            }))
        }
        _ => None,
    }
}

pub(super) fn of_timestamp<'a>(
    name: &str,
    time: Timestamp,
    args: &[Val<'a>],
) -> Option<Result<Val<'a>, Failed>> {
    let zone = match zone(args)? {
        Ok(zone) => zone,
        Err(failed) => return Some(Err(failed)),
    };
    let time = time.to_zoned(zone);
    let part = match name {
        "getFullYear" => i64::from(time.year()),
        "getMonth" => i64::from(time.month()) - 1,
        "getDayOfYear" => i64::from(time.day_of_year()) - 1,
        "getDayOfMonth" => i64::from(time.day()) - 1,
        "getDate" => i64::from(time.day()),
        "getDayOfWeek" => i64::from(time.weekday().to_sunday_zero_offset()),
        "getHours" => i64::from(time.hour()),
        "getMinutes" => i64::from(time.minute()),
        "getSeconds" => i64::from(time.second()),
        "getMilliseconds" => i64::from(time.millisecond()),
        _ => return None,
    };
    Some(Ok(Val::Int(part)))
}

pub(super) fn of_duration<'a>(name: &str, nanos: i64, args: &[Val<'a>]) -> Option<Result<Val<'a>, Failed>> {
    if !args.is_empty() {
        return None;
    }
    Some(Ok(Val::Int(match name {
        "getHours" => nanos / 3_600_000_000_000,
        "getMinutes" => nanos / 60_000_000_000,
        "getSeconds" => nanos / 1_000_000_000,
        "getMilliseconds" => nanos / 1_000_000 % 1000,
        _ => return None,
    })))
}
