//! Quantities as Kubernetes has them: exact decimals with a suffix, `100m`, `1.5Gi`, `3e6`.
//!
//! A quantity is kept as a whole number of billionths, so comparing and adding are exact. Anything finer is rounded
//! away from zero on the way in, and a magnitude above 2^63-1 becomes 2^63-1, both as Kubernetes documents. Printing
//! gives the canonical form: no fraction, the largest suffix that needs none, in the family of suffixes that was read.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde_json::Value;

const NANO: i128 = 1_000_000_000;
/// 2^63-1 units, in billionths: the largest quantity there is.
const MAX: i128 = (i64::MAX as i128) * NANO;

/// The family of suffixes in which a quantity is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// `m`, `k`, `M`, `G`...
    #[default]
    DecimalSi,
    /// `Ki`, `Mi`, `Gi`...
    BinarySi,
    /// `e3`, `e6`...
    DecimalExponent,
}

/// An exact number with the family of suffixes it is printed in. Equality and order look at the number alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

/// Why a text is no quantity, in Kubernetes' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not shaped like one.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// There are no digits.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// The suffix is none of the known ones.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    /// Nothing at all.
    pub const ZERO: Self = Self { nano: 0, format: Format::DecimalSi };

    /// A whole number.
    pub fn new(value: i64) -> Self {
        Self { nano: i128::from(value) * NANO, format: Format::DecimalSi }
    }

    /// A number of thousandths, as CPUs are counted.
    pub fn from_milli(milli: i64) -> Self {
        Self { nano: i128::from(milli) * 1_000_000, format: Format::DecimalSi }
    }

    /// A number of bytes, printed with binary suffixes.
    pub fn from_bytes(bytes: i64) -> Self {
        Self::new(bytes).with_format(Format::BinarySi)
    }

    /// Reads a quantity out of an object, where it may be a string or a plain number.
    pub fn from_value(value: &Value) -> Result<Self, Error> {
        match value {
            Value::String(text) => text.trim().parse(),
            Value::Number(number) => number.to_string().parse(),
            _ => Err(Error::Format),
        }
    }

    /// The same number printed in another family of suffixes.
    pub fn with_format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// The family of suffixes it is printed in.
    pub fn format(&self) -> Format {
        self.format
    }

    /// In units, rounded away from zero.
    pub fn value(&self) -> i64 {
        let value = scaled(self.nano, NANO);
        i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
    }

    /// In thousandths, rounded away from zero.
    pub fn milli(&self) -> i128 {
        scaled(self.nano, 1_000_000)
    }

    /// In billionths, exactly.
    pub fn nano(&self) -> i128 {
        self.nano
    }

    /// As a floating point number, for ratios.
    pub fn as_f64(&self) -> f64 {
        self.nano as f64 / NANO as f64
    }

    /// Whether it is 0.
    pub fn is_zero(&self) -> bool {
        self.nano == 0
    }

    /// Whether it is below 0.
    pub fn is_negative(&self) -> bool {
        self.nano < 0
    }

    /// Whether it has no fraction.
    pub fn is_integer(&self) -> bool {
        self.nano % NANO == 0
    }

    /// Rounded away from zero to whole thousandths, which is as fine as resource lists are kept.
    pub fn round_to_milli(self) -> Self {
        Self { nano: scaled(self.nano, 1_000_000) * 1_000_000, ..self }
    }

    /// The sum; in the family of `self`, or of `other` if `self` is 0.
    #[must_use]
    pub fn add(self, other: Self) -> Self {
        let format = if self.nano == 0 { other.format } else { self.format };
        Self { nano: self.nano.saturating_add(other.nano), format }
    }

    /// The difference; in the family of `self`, or of `other` if `self` is 0.
    #[must_use]
    pub fn sub(self, other: Self) -> Self {
        self.add(Self { nano: other.nano.saturating_neg(), ..other })
    }

    /// A multiple.
    #[must_use]
    pub fn times(self, factor: i64) -> Self {
        Self { nano: self.nano.saturating_mul(i128::from(factor)), ..self }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nano.hash(state);
    }
}

/// Division that rounds away from zero.
fn scaled(nano: i128, unit: i128) -> i128 {
    let quotient = nano / unit;
    quotient + if nano % unit == 0 { 0 } else { nano.signum() }
}

/// What a suffix multiplies with.
enum Factor {
    Ten(i64, Format),
    /// A power of 1024.
    Binary(u32),
}

fn factor(suffix: &str) -> Result<Factor, Error> {
    let si = |exponent| Ok(Factor::Ten(exponent, Format::DecimalSi));
    match suffix {
        "" => return si(0),
        "n" => return si(-9),
        "u" => return si(-6),
        "m" => return si(-3),
        "k" => return si(3),
        "M" => return si(6),
        "G" => return si(9),
        "T" => return si(12),
        "P" => return si(15),
        "E" => return si(18),
        "Ki" => return Ok(Factor::Binary(1)),
        "Mi" => return Ok(Factor::Binary(2)),
        "Gi" => return Ok(Factor::Binary(3)),
        "Ti" => return Ok(Factor::Binary(4)),
        "Pi" => return Ok(Factor::Binary(5)),
        "Ei" => return Ok(Factor::Binary(6)),
        _ => {}
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(Error::Suffix)?;
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Error::Suffix);
    }
    // An exponent that does not fit is far beyond the cap or below a billionth anyway.
    let clamped = exponent.parse::<i64>().unwrap_or(if exponent.starts_with('-') { -100_000 } else { 100_000 });
    Ok(Factor::Ten(clamped.clamp(-100_000, 100_000), Format::DecimalExponent))
}

/// Multiplies a number written as decimal digits, most significant first, by 1024.
fn times_1024(digits: &mut Vec<u8>) {
    let mut carry = 0u32;
    for digit in digits.iter_mut().rev() {
        let product = u32::from(*digit) * 1024 + carry;
        *digit = (product % 10) as u8;
        carry = product / 10;
    }
    while carry > 0 {
        digits.insert(0, (carry % 10) as u8);
        carry /= 10;
    }
}

/// Digits times ten to the power of `exponent`, in billionths, rounded up and capped.
fn to_nano(digits: &[u8], exponent: i64) -> i128 {
    let start = digits.iter().position(|d| *d != 0).unwrap_or(digits.len());
    let digits = &digits[start..];
    if digits.is_empty() {
        return 0;
    }
    let exponent = exponent.saturating_add(9);
    // How many digits the result has; more than 29 is above the cap, and 28 fit easily.
    let length = (digits.len() as i64).saturating_add(exponent);
    if length > 29 {
        return MAX;
    }
    let kept = length.clamp(0, digits.len() as i64) as usize;
    let mut nano = digits[..kept].iter().fold(0i128, |n, d| n * 10 + i128::from(*d));
    for _ in 0..exponent.max(0) {
        nano *= 10;
    }
    if digits[kept..].iter().any(|d| *d != 0) {
        nano += 1;
    }
    nano.min(MAX)
}

impl FromStr for Quantity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let negative = text.starts_with('-');
        if unsigned.is_empty() {
            return Err(if text.is_empty() { Error::Format } else { Error::Numeric });
        }
        let digits_end = |s: &str| s.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(s.len());
        let (whole, rest) = unsigned.split_at(digits_end(unsigned));
        let (fraction, rest) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(digits_end(rest)),
            None => ("", rest),
        };
        check_shape(rest)?;
        let factor = factor(rest)?;
        if whole.is_empty() && fraction.is_empty() {
            return Err(Error::Numeric);
        }
        let mut digits: Vec<u8> =
            whole.bytes().chain(fraction.bytes()).map(|b| b - b'0').skip_while(|d| *d == 0).collect();
        let scale = -(fraction.len() as i64);
        let (nano, mut format) = match factor {
            Factor::Ten(exponent, format) => (to_nano(&digits, scale + exponent), format),
            Factor::Binary(power) => {
                for _ in 0..power {
                    times_1024(&mut digits);
                }
                (to_nano(&digits, scale), Format::BinarySi)
            }
        };
        if format == Format::BinarySi && nano > 0 && nano < NANO {
            format = Format::DecimalSi;
        }
        Ok(Self { nano: if negative { -nano } else { nano }, format })
    }
}

/// What follows the number must be letters of suffixes, a sign, digits, and nothing more.
fn check_shape(rest: &str) -> Result<(), Error> {
    let rest = rest.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    if rest.bytes().all(|b| b.is_ascii_digit()) { Ok(()) } else { Err(Error::Format) }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        let small = self.nano.unsigned_abs() < 1024 * NANO.unsigned_abs();
        if self.format == Format::BinarySi && self.is_integer() && !small {
            let mut value = self.nano / NANO;
            let mut power = 0;
            while value % 1024 == 0 && power < 6 {
                value /= 1024;
                power += 1;
            }
            return write!(f, "{value}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]);
        }
        let mut value = self.nano;
        let mut power = 0;
        while value % 1000 == 0 && power < 9 {
            value /= 1000;
            power += 1;
        }
        if self.format == Format::DecimalExponent {
            return match (power as i32 - 3) * 3 {
                0 => write!(f, "{value}"),
                exponent => write!(f, "{value}e{exponent}"),
            };
        }
        write!(f, "{value}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][power])
    }
}

impl serde::Serialize for Quantity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Quantity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_value(&value).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
