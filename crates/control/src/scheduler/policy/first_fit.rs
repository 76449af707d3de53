//! `first-fit`: the first node by name that can take the pod. Preferences do not count.

use super::{Order, Ranking, Round};
use crate::model::Pod;
use crate::scheduler::snapshot::Snapshot;

pub(in crate::scheduler) fn order<'a>(snapshot: &'a Snapshot, _pod: &'a Pod, _seed: u64) -> Order<'a> {
    Box::new(snapshot.hosts())
}

pub(in crate::scheduler) fn rank<'a>(round: &'a Round<'a>) -> Ranking<'a> {
    let scores = (0..round.able.len()).map(|at| -i64::try_from(at).unwrap_or(i64::MAX)).collect();
    Ranking { scores, word: Box::new(|at| format!("number {} of those that fit, by name", at + 1)) }
}
