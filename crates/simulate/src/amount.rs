//! One amount or a range of them, as a world file writes both: `4` or `2..8`.

use std::time::Duration;

use dunlin_api::{duration, quantity::Quantity};

/// From the least to the most, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub least: i64,
    pub most: i64,
}

impl Range {
    pub fn only(amount: i64) -> Self {
        Self { least: amount, most: amount }
    }

    /// The halves of `LEAST..MOST`, or the same text twice.
    fn read(text: &str, one: impl Fn(&str) -> Result<i64, String>) -> Result<Self, String> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let range = Self { least: one(least.trim())?, most: one(most.trim())? };
        match range.least <= range.most {
            true => Ok(range),
            false => Err(format!("{text:?} ends below its beginning; write LEAST..MOST")),
        }
    }

    /// CPU in thousandths of a core.
    pub fn cpu(text: &str) -> Result<Self, String> {
        Self::read(text, |part| {
            i64::try_from(quantity(part)?.milli()).map_err(|_| format!("{part:?} is too much"))
        })
    }

    /// Bytes or pieces.
    pub fn whole(text: &str) -> Result<Self, String> {
        Self::read(text, |part| Ok(quantity(part)?.value()))
    }

    /// Milliseconds.
    pub fn time(text: &str) -> Result<Self, String> {
        Self::read(text, |part| {
            let length: Duration = duration::parse(part).map_err(|e| e.to_string())?;
            i64::try_from(length.as_millis()).map_err(|_| format!("{part:?} is too long"))
        })
    }

    /// Thousandths of a degree.
    pub fn degrees(text: &str) -> Result<Self, String> {
        Self::read(text, |part| {
            let wrong = || format!("{part:?} is no number of degrees, as in 51.05 or 47..55.5");
            let degrees: f64 = part.parse().map_err(|_| wrong())?;
            if degrees.is_finite() && degrees.abs() <= 180.0 {
                Ok((degrees * 1000.0).round() as i64)
            } else {
                Err(wrong())
            }
        })
    }
}

fn quantity(text: &str) -> Result<Quantity, String> {
    let quantity: Quantity =
        text.parse().map_err(|_| format!("{text:?} is no quantity, as in 500m, 2, 512Mi or 2..8"))?;
    if quantity.is_negative() { Err(format!("{text:?} is less than nothing")) } else { Ok(quantity) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_ranges_are_read_or_refused_with_what_to_write() {
        assert_eq!(Range::cpu("250m..2"), Ok(Range { least: 250, most: 2000 }));
        assert_eq!(Range::whole("1Gi"), Ok(Range::only(1 << 30)));
        assert_eq!(Range::time("500ms..1m30s"), Ok(Range { least: 500, most: 90_000 }));
        assert_eq!(Range::degrees("-5.25..6"), Ok(Range { least: -5250, most: 6000 }));
        for (wrong, word) in [("4..2", "LEAST..MOST"), ("many", "no quantity"), ("-1", "less than nothing")] {
            let error = Range::cpu(wrong).expect_err(wrong);
            assert!(error.contains(word), "{error}");
        }
        assert!(Range::time("soon").is_err() && Range::degrees("north").is_err());
    }
}
