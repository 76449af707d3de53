//! Reads the text of a quantity, exactly: digits are shifted and multiplied as digits, so that no length of them overflows.

use std::str::FromStr;

use super::{Error, Format, MAX, NANO, Quantity};

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
    let clamped =
        exponent.parse::<i64>().unwrap_or(if exponent.starts_with('-') { -100_000 } else { 100_000 });
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
