//! Which of the nodes that can take a pod is best: the weighted sum of kube-scheduler's default scores.
//!
//! Each score is normalised to 0..=100 over the nodes in question. Pods of the same owner avoid each other, which
//! stands for kube-scheduler's default spread constraints. Ties are broken by a hash of the seed and the node's name,
//! so that equal nodes fill evenly and a decision can still be repeated.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::model::Pod;

use super::affinity::preferences;
use super::filter::{term_selects, tolerates};
use super::snapshot::{Host, Snapshot, guess};
use super::spread::Spread;

const MOST: i64 = 100;

/// The best of `able`, if there is one.
pub(super) fn best<'h>(snapshot: &Snapshot, pod: &Pod, able: &[&'h Host], seed: u64) -> Option<&'h Host> {
    if able.len() < 2 {
        return able.first().copied();
    }
    let mut sums = vec![0; able.len()];
    let mut add = |weight: i64, scores: Vec<i64>| {
        for (sum, score) in sums.iter_mut().zip(scores) {
            *sum += weight * score;
        }
    };
    let each = |score: &dyn Fn(&Host) -> i64| able.iter().map(|host| score(host)).collect::<Vec<_>>();
    add(1, each(&|host| least_allocated(pod, host)));
    add(1, each(&|host| balanced(pod, host)));
    add(1, each(&|host| images(pod, host)));
    add(2, normal(each(&|host| node_preference(pod, host)), false));
    add(3, normal(each(&|host| disliked_taints(pod, host)), true));
    add(2, normal(each(&|host| siblings(pod, host)), true));
    if !pod.spec.topology_spread_constraints.is_empty() {
        let spread = Spread::preferred(snapshot, pod);
        add(2, normal(each(&|host| spread.crowd(host)), true));
    }
    let weights = preferences(snapshot, pod);
    if !weights.is_empty() {
        let drawn = |host: &Host| {
            let here = weights.iter().filter(|((key, value), _)| host.label(key) == Some(value));
            here.map(|(_, weight)| weight).sum()
        };
        add(2, normal(each(&drawn), false));
    }
    let luck = |host: &Host| {
        let mut hasher = DefaultHasher::new();
        (seed, &pod.metadata.uid, host.name()).hash(&mut hasher);
        hasher.finish()
    };
    let ranked = able.iter().zip(&sums).max_by_key(|(host, sum)| (**sum, luck(host)));
    ranked.map(|(host, _)| *host)
}

/// Scales to 0..=100 between the least and the most; all the same gives 0 for all.
fn normal(scores: Vec<i64>, fewer_is_better: bool) -> Vec<i64> {
    let (least, most) =
        (scores.iter().min().copied().unwrap_or(0), scores.iter().max().copied().unwrap_or(0));
    let scale = |score: i64| {
        let share = if most == least { 0 } else { (score - least) * MOST / (most - least) };
        if fewer_is_better && most != least { MOST - share } else { share }
    };
    scores.into_iter().map(scale).collect()
}

/// CPU and memory that the node would have in use with the pod, each as a share of what it has.
fn shares(pod: &Pod, host: &Host) -> [f64; 2] {
    let (cpu, memory) = guess(pod);
    let has = &host.node().status.allocatable;
    let share = |used: i64, has: i64| if has <= 0 { 1.0 } else { (used as f64 / has as f64).min(1.0) };
    [share(host.guessed.0 + cpu, has.get("cpu")), share(host.guessed.1 + memory, has.get("memory"))]
}

fn least_allocated(pod: &Pod, host: &Host) -> i64 {
    let [cpu, memory] = shares(pod, host);
    ((2.0 - cpu - memory) / 2.0 * MOST as f64) as i64
}

fn balanced(pod: &Pod, host: &Host) -> i64 {
    let [cpu, memory] = shares(pod, host);
    ((1.0 - (cpu - memory).abs() / 2.0) * MOST as f64) as i64
}

/// Images that are present save their pull: 100 from 1000 MiB for each container on.
fn images(pod: &Pod, host: &Host) -> i64 {
    const SMALL: i64 = 23 << 20;
    const LARGE: i64 = 1000 << 20;
    let present = |image: &str| {
        let found =
            host.node().status.images.iter().find(|have| have.names.iter().any(|name| &**name == image));
        found.map_or(0, |have| have.size_bytes)
    };
    let sum: i64 = pod.spec.images.iter().map(|image| present(image)).sum();
    let large = LARGE.saturating_mul(i64::try_from(pod.spec.images.len().max(1)).unwrap_or(1));
    (sum.clamp(SMALL, large) - SMALL) * MOST / (large - SMALL)
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

/// Pods of the same controlling owner.
fn siblings(pod: &Pod, host: &Host) -> i64 {
    let Some(owner) = pod.metadata.controller() else { return 0 };
    let same = |other: &Pod| other.metadata.controller().is_some_and(|theirs| theirs.uid == owner.uid);
    host.pods.values().filter(|other| same(other)).count() as i64
}
