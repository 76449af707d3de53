//! What is counted while a simulation runs, level by level.

use std::collections::BTreeMap;
use std::time::Duration;

/// Messages of one sort.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub messages: u64,
    pub bytes: u64,
}

/// What goes over the links between one level and the one above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    NodeStatus,
    Summary,
    PodStatus,
    Answer,
    /// The one that goes down.
    Offer,
}

/// One level's counts; machines are the level below the lowest clusters.
#[derive(Debug, Default)]
pub struct Level {
    /// Nanoseconds of every decision.
    pub decisions: Vec<u64>,
    /// Nanoseconds of every summary.
    pub summaries: Vec<u64>,
    /// Pods that children of this level's clusters were asked about, and those that they refused.
    pub offered: u64,
    pub refused: u64,
    pub counts: [Count; 5],
    /// Bytes of reports by second.
    pub seconds: BTreeMap<u64, u64>,
}

impl Level {
    pub fn sent(&mut self, sort: Sort, bytes: usize, at: u64) {
        let bytes = bytes as u64;
        let count = &mut self.counts[sort as usize];
        count.messages += 1;
        count.bytes += bytes;
        if sort != Sort::Offer {
            *self.seconds.entry(at / 1000).or_default() += bytes;
        }
    }

    pub fn count(&self, sort: Sort) -> Count {
        self.counts[sort as usize]
    }

    /// Bytes of all reports.
    pub fn up(&self) -> u64 {
        self.counts.iter().map(|count| count.bytes).sum::<u64>() - self.count(Sort::Offer).bytes
    }
}

/// The value that `share` of all do not exceed; 0 if there are none.
pub fn percentile(values: &mut [u64], share: f64) -> u64 {
    if values.is_empty() {
        return 0;
    }
    let at = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len()) - 1;
    *values.select_nth_unstable(at).1
}

/// Nanoseconds, as far as they can be counted.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let mut values: Vec<u64> = (1..=100).rev().collect();
        assert_eq!((percentile(&mut values, 0.5), percentile(&mut values, 0.99)), (50, 99));
        assert_eq!((percentile(&mut [7], 0.99), percentile(&mut [], 0.5)), (7, 0));
    }

    #[test]
    fn offers_go_down_and_are_no_reports() {
        let mut level = Level::default();
        level.sent(Sort::Offer, 10, 0);
        level.sent(Sort::Answer, 5, 1_500);
        assert_eq!((level.up(), level.seconds.get(&1)), (5, Some(&5)));
    }
}
