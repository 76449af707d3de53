//! What speaks for one node rather than another, whatever the policy: what a pod prefers, and what saves a pull.
//!
//! Each score is normalised to 0..=100 over the nodes in question and weighed as kube-scheduler weighs it.

use crate::model::Pod;

use super::affinity::preferences as inter_pod;
use super::filter::{term_selects, tolerates};
use super::policy::Round;
use super::room;
use super::snapshot::Host;
use super::spread::Spread;

const MOST: i64 = 100;

/// Everything that speaks for each host: images present, and [`wishes`].
pub(super) fn preferences(round: &Round<'_>) -> Vec<i64> {
    let mut sums = wishes(round);
    let wanted = wanted_images(round.pod);
    for (sum, host) in sums.iter_mut().zip(round.able) {
        *sum += images(&wanted, host);
    }
    sums
}

/// What pod and nodes ask for: preferred node affinity, PreferNoSchedule taints, preferred spread, preferred pod
/// affinity and anti-affinity.
pub(super) fn wishes(round: &Round<'_>) -> Vec<i64> {
    let (pod, able) = (round.pod, round.able);
    let mut sums = vec![0; able.len()];
    let mut add = |weight: i64, scores: Vec<i64>| {
        for (sum, score) in sums.iter_mut().zip(scores) {
            *sum += weight * score;
        }
    };
    let each = |score: &dyn Fn(&Host) -> i64| able.iter().map(|host| score(host)).collect::<Vec<_>>();
    if pod.spec.affinity.is_some() {
        add(2, normal(each(&|host| node_preference(pod, host)), false));
    }
    if able.iter().any(|host| !host.node().spec.taints.is_empty()) {
        add(3, normal(each(&|host| disliked_taints(pod, host)), true));
    }
    if !pod.spec.topology_spread_constraints.is_empty() {
        let spread = Spread::preferred(round.snapshot, pod);
        add(2, normal(each(&|host| spread.crowd(host)), true));
    }
    let weights = inter_pod(round.snapshot, pod);
    if !weights.is_empty() {
        let drawn = |host: &Host| {
            let here = weights.iter().filter(|((key, value), _)| host.label(key) == Some(value));
            here.map(|(_, weight)| weight).sum()
        };
        add(2, normal(each(&drawn), false));
    }
    sums
}

/// How few pods of the same controlling owner each host has; stands for kube-scheduler's default spread constraints.
pub(super) fn apart(round: &Round<'_>) -> Vec<i64> {
    let owner = round.pod.metadata.controller();
    let Some(siblings) = owner.and_then(|owner| round.snapshot.siblings(&owner.uid)) else {
        return vec![0; round.able.len()];
    };
    let count = |host: &&Host| siblings.get(host.name()).copied().unwrap_or(0);
    normal(round.able.iter().map(count).collect(), true)
}

/// Scales to 0..=100 between the least and the most; all the same gives 0 for all.
fn normal(mut scores: Vec<i64>, fewer_is_better: bool) -> Vec<i64> {
    let (least, most) =
        (scores.iter().min().copied().unwrap_or(0), scores.iter().max().copied().unwrap_or(0));
    if least == most {
        scores.fill(0);
        return scores;
    }
    for score in &mut scores {
        let share = (*score - least) * MOST / (most - least);
        *score = if fewer_is_better { MOST - share } else { share };
    }
    scores
}

/// CPU and memory that the node would have in use with the pod, each as a share of what it has.
pub(super) fn shares((cpu, memory): (i64, i64), host: &Host) -> [f64; 2] {
    let share = |used: i64, has: i64| if has <= 0 { 1.0 } else { (used as f64 / has as f64).min(1.0) };
    let has = &host.room.has;
    [share(host.guessed.0 + cpu, has.0), share(host.guessed.1 + memory, has.1)]
}

/// Images that are present save their pull: 100 from 1000 MiB for each container on.
pub(super) fn images(wanted: &[u64], host: &Host) -> i64 {
    const SMALL: i64 = 23 << 20;
    const LARGE: i64 = 1000 << 20;
    let sum: i64 = wanted.iter().map(|image| host.room.image(*image)).sum();
    let large = LARGE.saturating_mul(i64::try_from(wanted.len().max(1)).unwrap_or(1));
    (sum.clamp(SMALL, large) - SMALL) * MOST / (large - SMALL)
}

/// The pod's images as [`images`] looks for them.
pub(super) fn wanted_images(pod: &Pod) -> Vec<u64> {
    pod.spec.images.iter().map(|image| room::hash(image)).collect()
}

fn node_preference(pod: &Pod, host: &Host) -> i64 {
    let Some(affinity) = &pod.spec.affinity else { return 0 };
    let preferred = &affinity["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"];
    let terms = preferred.as_array().into_iter().flatten();
    let liked = terms.filter(|weighted| term_selects(&weighted["preference"], host.node(), host.child()));
    liked.map(|weighted| weighted["weight"].as_i64().unwrap_or(0)).sum()
}

fn disliked_taints(pod: &Pod, host: &Host) -> i64 {
    let soft = host.node().spec.taints.iter().filter(|taint| &*taint.effect == "PreferNoSchedule");
    soft.filter(|taint| !tolerates(&pod.spec.tolerations, taint)).count() as i64
}
