//! Which pods make way for one of higher priority that fits nowhere.
//!
//! As kube-scheduler's default preemption: on each node all pods of lower priority are taken away; if the pod fits
//! then, as many as possible are left after all: first those whose disruption budget allows no more, then the most
//! important. Among nodes the one is chosen that violates the fewest budgets, then the one whose most important victim is
//! the least important, then the one with the least priority in sum (so fewer), then the one whose most important victim
//! started last. A budget is honoured as far as it can be, and no further.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use serde_json::json;

use crate::controllers::common;
use crate::labels;
use crate::model::{Held, Pod, PodDisruptionBudget};
use crate::plan::{Action, Precondition, Propagation};

use super::filter::Rules;
use super::policy::luck;
use super::snapshot::Snapshot;
use super::{NAME, candidates};

/// How many nodes with victims are compared; more would take long in large clusters for little gain.
const ENOUGH: usize = 100;

/// Room made for one pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Preemption {
    pub node: Arc<str>,
    /// The most important first.
    pub victims: Vec<Arc<Pod>>,
}

/// Victims whose end lets `pod` run; none if it may not take anybody's place, waits for victims already, or there are
/// no such pods.
pub fn preempt(
    snapshot: &Snapshot,
    pod: &Pod,
    budgets: &[Arc<PodDisruptionBudget>],
    seed: u64,
) -> Option<Preemption> {
    if &*pod.spec.preemption_policy == "Never" || waits(snapshot, pod) {
        return None;
    }
    // Everything is tried on a copy, which goes when this returns.
    let mut trial = snapshot.clone();
    let mut found = Vec::new();
    for host in snapshot.hosts_from(luck(seed, pod, "")) {
        let mut lower: Vec<&Arc<Pod>> =
            host.pods.values().filter(|other| other.spec.priority < pod.spec.priority).collect();
        // Which machine of a child cluster would be freed is not known here.
        if lower.is_empty() || host.child().is_some() {
            continue;
        }
        lower.sort_by_key(|other| (Reverse(other.spec.priority), started(other), &other.metadata.uid));
        // Stable: among those of either sort the order stays.
        let violating = violating(budgets, &lower);
        lower.sort_by_key(|other| !violating.contains(&other.metadata.uid));
        if let Some(mut victims) = victims(&mut trial, pod, host.name(), &lower) {
            let violations = victims.iter().filter(|v| violating.contains(&v.metadata.uid)).count();
            victims.sort_by_key(|other| (Reverse(other.spec.priority), started(other)));
            found.push((violations, Preemption { node: host.name().clone(), victims }));
            if found.len() == ENOUGH {
                break;
            }
        }
    }
    let best = found.into_iter().min_by_key(|(violations, preemption)| {
        let victims = &preemption.victims;
        let first = victims.first().map(|victim| victim.spec.priority);
        // Priorities may be negative, and then more victims would look better.
        let sum: i64 = victims.iter().map(|v| i64::from(v.spec.priority) - i64::from(i32::MIN)).sum();
        let earliest = victims.iter().filter(|v| Some(v.spec.priority) == first).map(|v| started(v)).min();
        (*violations, first, sum, victims.len(), Reverse(earliest), preemption.node.clone())
    });
    best.map(|(_, preemption)| preemption)
}

/// Uids of pods that are one too many for a budget, if all of `pods` go in this order.
fn violating(budgets: &[Arc<PodDisruptionBudget>], pods: &[&Arc<Pod>]) -> HashSet<Arc<str>> {
    let mut left: Vec<i32> = budgets.iter().map(|budget| budget.status.disruptions_allowed).collect();
    let mut violating = HashSet::new();
    for pod in pods {
        for (budget, left) in budgets.iter().zip(&mut left) {
            let covers = budget.metadata.namespace == pod.metadata.namespace
                && labels::matches(&budget.spec.selector, &pod.metadata.labels)
                && !budget.status.disrupted_pods.contains_key(&pod.metadata.name);
            if covers {
                *left -= 1;
                if *left < 0 {
                    violating.insert(pod.metadata.uid.clone());
                }
            }
        }
    }
    violating
}

/// Whether room was made for the pod already and only has to come free.
fn waits(snapshot: &Snapshot, pod: &Pod) -> bool {
    let host = snapshot.host_named(&pod.status.nominated_node_name);
    let ends = |other: &Arc<Pod>| other.metadata.is_deleting() && other.spec.priority < pod.spec.priority;
    host.is_some_and(|host| host.pods.values().any(ends))
}

/// Those of `lower` that have to go, if the pod fits then. Leaves `trial` as it was.
fn victims(trial: &mut Snapshot, pod: &Pod, node: &Arc<str>, lower: &[&Arc<Pod>]) -> Option<Vec<Arc<Pod>>> {
    let fits = |trial: &Snapshot| {
        let host = trial.host_named(node);
        let rules = Rules::new(trial, pod);
        host.is_some_and(|host| candidates::refusals(trial, pod, &rules, host).is_empty())
    };
    for other in lower {
        trial.remove_pod(&other.metadata.uid);
    }
    let mut victims = Vec::new();
    let possible = fits(trial);
    for other in lower {
        trial.assume(other, node);
        if possible && !fits(trial) {
            trial.remove_pod(&other.metadata.uid);
            victims.push((*other).clone());
        }
    }
    for victim in &victims {
        trial.assume(victim, node);
    }
    (!victims.is_empty()).then_some(victims)
}

fn started(pod: &Pod) -> Option<i64> {
    pod.status.start_time.map(|at| at.0)
}

impl Preemption {
    /// The writes: `told` (what tells that the pod is not bound) and the nomination in one patch, and the victims' end.
    pub fn writes(&self, pod: &Pod, mut told: Vec<Action>, now: i64) -> Vec<Action> {
        let nominated = json!(self.node);
        match told.first_mut() {
            Some(Action::Patch { patch, .. }) => patch["status"]["nominatedNodeName"] = nominated,
            _ => told.push(Action::Patch {
                target: pod.key(),
                subresource: Some("status"),
                patch: json!({"status": {"nominatedNodeName": nominated}}),
                only_if: Precondition::uid(&pod.metadata.uid),
            }),
        }
        for victim in self.victims.iter().filter(|victim| !victim.metadata.is_deleting()) {
            let why = format!("{NAME}: preempting to accommodate a higher priority pod");
            told.extend(common::disrupt(victim, "PreemptionByScheduler", &why, now));
        }
        for victim in self.victims.iter().filter(|victim| !victim.metadata.is_deleting()) {
            told.push(Action::Delete {
                target: victim.key(),
                only_if: Precondition::uid(&victim.metadata.uid),
                propagation: Propagation::Background,
                grace: None,
            });
            let (node, uid) = (&self.node, &pod.metadata.uid);
            told.push(Action::Event {
                target: victim.key(),
                uid: victim.metadata.uid.clone(),
                warning: false,
                reason: "Preempted".into(),
                message: format!("Preempted by pod {uid} on node {node}"),
                component: NAME,
            });
        }
        told
    }
}
