//! Semantic versions.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::cel::Failed;
use crate::cel::value::Val;

/// A semantic version.
#[derive(Debug)]
pub struct Semver {
    numbers: [u64; 3],
    /// What makes it earlier than the plain version.
    pre: Vec<String>,
}

type Answer<'a> = Option<Result<Val<'a>, Failed>>;

pub(super) fn global<'a>(name: &str, args: &[Val<'a>]) -> Answer<'a> {
    let (text, lenient) = match args {
        [Val::Text(text)] => (text, false),
        [Val::Text(text), Val::Bool(lenient)] => (text, *lenient),
        _ => return None,
    };
    match name {
        "isSemver" => Some(Ok(Val::Bool(parse(text, lenient).is_some()))),
        "semver" => Some(match parse(text, lenient) {
            Some(version) => Ok(Val::Semver(Arc::new(version))),
            None => Err(Failed::Error(format!("semver parse error during conversion from string: {text:?}"))),
        }),
        _ => None,
    }
}

/// A version; leniently also `v1.2`, with leading zeros.
fn parse(text: &str, lenient: bool) -> Option<Semver> {
    let text = if lenient { text.trim().trim_start_matches('v') } else { text };
    let text = text.split_once('+').map_or(text, |(version, _)| version);
    let (numbers, pre) = text.split_once('-').map_or((text, None), |(n, p)| (n, Some(p)));
    let parts: Vec<&str> = numbers.split('.').collect();
    if parts.len() > 3 || (parts.len() < 3 && !lenient) {
        return None;
    }
    let mut found = [0; 3];
    for (slot, part) in found.iter_mut().zip(parts) {
        let plain = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !plain || (part.len() > 1 && part.starts_with('0') && !lenient) {
            return None;
        }
        *slot = part.parse().ok()?;
    }
    let pre: Vec<String> = pre.map(|p| p.split('.').map(str::to_owned).collect()).unwrap_or_default();
    let fits = |p: &String| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    pre.iter().all(fits).then_some(Semver { numbers: found, pre })
}

impl Semver {
    pub(in crate::cel) fn compare(&self, other: &Self) -> Ordering {
        let part = |a: &String, b: &String| match (a.parse::<u64>(), b.parse::<u64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            _ => a.cmp(b),
        };
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => {
                let first =
                    self.pre.iter().zip(&other.pre).map(|(a, b)| part(a, b)).find(|o| *o != Ordering::Equal);
                first.unwrap_or_else(|| self.pre.len().cmp(&other.pre.len()))
            }
        })
    }
}

pub(super) fn call<'a>(name: &str, version: &Semver, args: &[Val<'a>]) -> Answer<'a> {
    let number = |at: usize| Some(Ok(Val::Int(i64::try_from(version.numbers[at]).unwrap_or(i64::MAX))));
    match (name, args) {
        ("major", []) => number(0),
        ("minor", []) => number(1),
        ("patch", []) => number(2),
        (_, [Val::Semver(other)]) => {
            let order = version.compare(other);
            Some(Ok(match name {
                "isLessThan" => Val::Bool(order == Ordering::Less),
                "isGreaterThan" => Val::Bool(order == Ordering::Greater),
                "compareTo" => Val::Int(order as i64),
                _ => return None,
            }))
        }
        _ => None,
    }
}
