//! `bin-pack`: the fullest node that can take the pod, so that whole nodes stay free for large pods or can be turned off.
//!
//! Fullness weighs as much as all it is set against can be expected to: a preference of full weight moves a pod off a
//! node that is not more than about half fuller. A node without pods counts as empty however small it is.

use super::{Order, Ranking, Round};
use crate::model::Pod;
use crate::scheduler::score;
use crate::scheduler::snapshot::{Host, Snapshot, guess};

const WEIGHT: f64 = 500.0;

/// By free CPU, the least that is enough first; hosts with less cannot take the pod.
pub(in crate::scheduler) fn order<'a>(snapshot: &'a Snapshot, pod: &'a Pod, _seed: u64) -> Order<'a> {
    // A pod that requests none fits on nodes that are overcommitted by pods bound past the scheduler, too.
    let cpu = Some(pod.spec.requests.get("cpu")).filter(|cpu| *cpu > 0).unwrap_or(i64::MIN);
    Box::new(snapshot.hosts_by_free_cpu(cpu))
}

pub(in crate::scheduler) fn rank<'a>(round: &'a Round<'a>) -> Ranking<'a> {
    let mut scores = score::preferences(round);
    let guessed = guess(round.pod);
    for (sum, host) in scores.iter_mut().zip(round.able) {
        *sum += (WEIGHT * fullness(guessed, host)) as i64;
    }
    let word = move |at: usize| {
        let host = round.able[at];
        format!("would be {:.0} % full", 100.0 * fullness(guessed, host))
    };
    Ranking { scores, word: Box::new(word) }
}

/// How full the node is with the pod, 0 to 1; 0 if it has no pods yet.
fn fullness(guessed: (i64, i64), host: &Host) -> f64 {
    if host.is_empty() {
        return 0.0;
    }
    let [cpu, memory] = score::shares(guessed, host);
    (cpu + memory) / 2.0
}
