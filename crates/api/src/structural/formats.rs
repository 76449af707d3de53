//! `format`: the named forms of strings that are checked, and those of numbers. Unknown formats say nothing.

use base64::Engine;

/// The most bytes that a value of this format has, for those that are short.
pub(super) fn longest(format: &str) -> Option<u64> {
    Some(match format {
        "date" => 10,
        "date-time" | "datetime" => 30,
        "duration" => 32,
        "uuid" | "uuid3" | "uuid4" | "uuid5" => 36,
        "ipv4" => 15,
        "ipv6" | "cidr" => 43,
        "mac" => 17,
        _ => return None,
    })
}

/// Whether a text has the form; anything has an unknown one.
pub(crate) fn fits(format: &str, text: &str) -> bool {
    match format {
        "date" => is_date(text),
        "date-time" | "datetime" => is_date_time(text),
        "duration" => crate::cel::duration::parse(text).is_some(),
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some(b'3')),
        "uuid4" => is_uuid(text, Some(b'4')),
        "uuid5" => is_uuid(text, Some(b'5')),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => is_mac(text),
        "byte" => {
            let clean: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
            base64::engine::general_purpose::STANDARD.decode(clean).is_ok()
        }
        "email" => is_email(text),
        "hostname" => {
            !text.is_empty() && crate::validate::syntax::dns_subdomain(&text.to_lowercase()).is_empty()
        }
        "uri" => text.split_once(':').is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty()),
        "hexcolor" => {
            let digits = text.strip_prefix('#').unwrap_or(text);
            matches!(digits.len(), 3 | 6) && digits.bytes().all(|b| b.is_ascii_hexdigit())
        }
        _ => true,
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn digits(text: &str, from: usize, count: usize) -> Option<u32> {
    let part = text.get(from..from + count)?;
    part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten()
}

/// `2006-01-02`, with months and days that exist.
fn is_date(text: &str) -> bool {
    let parts = (digits(text, 0, 4), digits(text, 5, 2), digits(text, 8, 2));
    let (Some(year), Some(month), Some(day)) = parts else { return false };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-' && (1..=days).contains(&day)
}

/// RFC 3339.
fn is_date_time(text: &str) -> bool {
    let Some((date, time)) = text.split_once(['T', 't', ' ']) else { return false };
    let bytes = time.as_bytes();
    let clock = (digits(time, 0, 2), digits(time, 3, 2), digits(time, 6, 2));
    let (Some(hour), Some(minute), Some(second)) = clock else { return false };
    if hour > 23 || minute > 59 || second > 60 || bytes[2] != b':' || bytes[5] != b':' {
        return false;
    }
    let rest = &time[8..];
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => {
            let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
            if end == 0 {
                return false;
            }
            &fraction[end..]
        }
        None => rest,
    };
    let zone = match rest.as_bytes() {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', _, _, b':', _, _] => {
            digits(rest, 1, 2).is_some_and(|h| h < 24) && digits(rest, 4, 2).is_some_and(|m| m < 60)
        }
        _ => false,
    };
    is_date(date) && zone
}

fn is_uuid(text: &str, version: Option<u8>) -> bool {
    let clean: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    let dashes = text.bytes().enumerate().all(|(at, b)| b != b'-' || matches!(at, 8 | 13 | 18 | 23));
    let whole = clean.len() == 32 && clean.iter().all(u8::is_ascii_hexdigit) && dashes;
    whole && version.is_none_or(|v| clean[12] == v && (v == b'3' || b"89abAB".contains(&clean[16])))
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Ok(bits) = bits.parse::<u8>() else { return false };
    match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(_)) => bits <= 32,
        Ok(std::net::IpAddr::V6(_)) => bits <= 128,
        Err(_) => false,
    }
}

fn is_mac(text: &str) -> bool {
    let split = if text.contains('-') { '-' } else { ':' };
    let parts: Vec<&str> = text.split(split).collect();
    matches!(parts.len(), 6 | 8 | 20)
        && parts.iter().all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_email(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(name, domain)| {
        !name.is_empty() && !domain.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control())
    })
}
