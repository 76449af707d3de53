//! Sets of completion indexes as Kubernetes writes them: `0,2-4`.

use std::collections::BTreeSet;

/// The most indexes that a text may name: Kubernetes allows no more pods to a job that keeps count of each.
const MOST: usize = 1_000_000;

pub fn write(set: &BTreeSet<i64>) -> String {
    let mut text: Vec<String> = Vec::new();
    let mut all = set.iter().copied().peekable();
    while let Some(first) = all.next() {
        let mut last = first;
        while all.peek() == Some(&(last + 1)) {
            last = all.next().unwrap_or(last);
        }
        text.push(match last - first {
            0 => first.to_string(),
            1 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        });
    }
    text.join(",")
}

/// What is no range is left out, and so is what lies at or beyond `end`.
pub fn read(text: &str, end: i64) -> BTreeSet<i64> {
    let ranges = text.split(',').filter_map(|part| match part.split_once('-') {
        Some((first, last)) => Some(first.parse::<i64>().ok()?..=last.parse::<i64>().ok()?.min(end - 1)),
        None => part.parse::<i64>().ok().map(|one| one..=one),
    });
    ranges.flatten().filter(|n| (0..end).contains(n)).take(MOST).collect()
}
