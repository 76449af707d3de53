//! `balanced`: kube-scheduler's default scores. Load is spread, pods of one owner avoid each other, preferences count.

use super::{Order, Ranking, Round, luck};
use crate::model::Pod;
use crate::scheduler::score;
use crate::scheduler::snapshot::{Snapshot, guess};

pub(in crate::scheduler) fn order<'a>(snapshot: &'a Snapshot, pod: &'a Pod, seed: u64) -> Order<'a> {
    Box::new(snapshot.hosts_from(luck(seed, pod, "")))
}

pub(in crate::scheduler) fn rank<'a>(round: &'a Round<'a>) -> Ranking<'a> {
    let mut scores = score::preferences(round);
    let (apart, guessed) = (score::apart(round), guess(round.pod));
    for ((sum, apart), host) in scores.iter_mut().zip(apart).zip(round.able) {
        let [cpu, memory] = score::shares(guessed, host);
        let free = (2.0 - cpu - memory) / 2.0 * 100.0;
        let even = (1.0 - (cpu - memory).abs() / 2.0) * 100.0;
        *sum += free as i64 + even as i64 + 2 * apart;
    }
    let words = scores.clone();
    Ranking { scores, word: Box::new(move |at| format!("scored {}", words[at])) }
}
