//! Pods with names that stay, in order: `web-0`, `web-1`, each with claims of its own.
//!
//! An identity is a name, so the API itself refuses a second pod of one identity; a new one is made only when the old
//! object is gone, and a pod out of reach keeps its object until its own side has stopped it ([`super::fencing`]).
//! Source of the order: the StatefulSet documentation's rules for deployment, scaling and updates.

mod claims;
mod identity;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::common::{self, BURST, int_or_percent};
use super::revisions::{self, Owner, POD_LABEL, Revisions};
use crate::model::{Held, Key, Pod, StatefulSet};
use crate::plan::{Action, Plan, Report};
use crate::view::View;

const COMPONENT: &str = "statefulset-controller";
const HASH: &str = "controller.kubernetes.io/hash";

/// One set and what belongs to it, while it is planned.
struct Set<'a> {
    view: &'a View,
    key: &'a Key,
    set: &'a StatefulSet,
    revisions: Revisions,
    /// Name and template of the revision that the set comes from.
    current: (Arc<str>, Value),
    now: i64,
}

pub fn plan(view: &View, key: &Key, now: i64, _seed: u64) -> (Plan, Report) {
    let (mut plan, mut report) = (Plan::default(), Report::default());
    let Some(set) = view.stateful_sets.by_key(key).cloned() else { return (plan, report) };
    let reference = common::owner_reference(&set.metadata, "apps/v1", "StatefulSet");
    let member = |pod: &Pod| {
        crate::labels::matches(&set.spec.selector, &pod.metadata.labels)
            && identity::ordinal(&key.name, &pod.metadata.name).is_some()
    };
    let pods = common::claim_if(view, key, &set.metadata, &member, &reference, &mut plan);
    if set.metadata.is_deleting() {
        return (plan, report);
    }
    let owner = Owner {
        key,
        metadata: &set.metadata,
        selector: &set.spec.selector,
        template: &set.spec.template,
        reference: &reference,
        collisions: set.status.collision_count.unwrap_or(0),
        label: HASH,
    };
    let revisions = revisions::revise(view, &mut plan, &owner);
    let current = revisions.known.iter().find(|r| r.metadata.name == set.status.current_revision);
    let current = match current {
        Some(revision) => (revision.metadata.name.clone(), revisions::template_of(revision)),
        None => (revisions.name.clone(), (*set.spec.template).clone()),
    };
    let this = Set { view, key, set: &set, revisions, current, now };
    let (replicas, condemned) = this.sort(&pods);
    this.arrange(&mut plan, &mut report, &replicas, &condemned);
    let limit = set.spec.revision_history_limit;
    revisions::truncate(&mut plan, &this.revisions, &pods, &this.current.0, limit, HASH);
    status::write(&this, &mut plan, &pods);
    (plan, report)
}

/// Pods by ordinal.
type ByOrdinal = BTreeMap<i64, Arc<Pod>>;

impl Set<'_> {
    fn is_parallel(&self) -> bool {
        &*self.set.spec.pod_management_policy == "Parallel"
    }

    /// First ordinal and the one after the last.
    fn range(&self) -> (i64, i64) {
        let start = self.set.spec.ordinals.start;
        (start, start + i64::from(self.set.spec.replicas.unwrap_or(1).max(0)))
    }

    /// The first ordinal that is updated.
    fn partition(&self) -> i64 {
        self.range().0 + i64::from(self.set.spec.update_strategy.rolling_update.partition.unwrap_or(0))
    }

    fn sort(&self, pods: &[Arc<Pod>]) -> (ByOrdinal, ByOrdinal) {
        let (start, end) = self.range();
        let numbered = pods
            .iter()
            .filter_map(|pod| Some((identity::ordinal(&self.key.name, &pod.metadata.name)?, pod.clone())));
        numbered.partition(|(n, _)| (start..end).contains(n))
    }

    fn is_current(&self, pod: &Pod) -> bool {
        pod.metadata.labels.get(POD_LABEL).is_some_and(|name| *name == self.revisions.name)
    }

    /// Running, ready, and for long enough.
    fn is_available(&self, plan: &mut Plan, pod: &Pod) -> bool {
        let ready = &*pod.status.phase == "Running" && pod.is_ready();
        if ready && let Some(at) = pod.available_at(self.set.spec.min_ready_seconds, self.now) {
            plan.again_at(at);
        }
        ready && pod.is_available(self.set.spec.min_ready_seconds, self.now)
    }

    /// Makes, scales down and updates, each only when what comes before it is done.
    fn arrange(&self, plan: &mut Plan, report: &mut Report, replicas: &ByOrdinal, condemned: &ByOrdinal) {
        let ordered = !self.is_parallel();
        let (start, end) = self.range();
        let mut made = 0;
        for n in start..end {
            let name = format!("{}-{n}", self.key.name);
            let blocked = match replicas.get(&n) {
                None if made >= BURST => true,
                None => {
                    made += 1;
                    self.make(plan, report, n);
                    ordered
                }
                Some(pod) if pod.is_finished() => {
                    if !pod.metadata.is_deleting() {
                        self.delete(plan, pod);
                    }
                    report.waits(format!("{name} to be gone"));
                    true
                }
                Some(pod) => {
                    if &*pod.status.phase == "Pending" && !pod.metadata.is_deleting() {
                        claims::make_missing(self, plan, n, &pod.metadata.name);
                    }
                    identity::mend(plan, pod, n);
                    claims::keep_owners(self, plan, n, Some(pod), false);
                    let ready = !pod.metadata.is_deleting() && self.is_available(plan, pod);
                    if ordered && !ready {
                        report.waits(format!("{name} to be available"));
                    }
                    ordered && !ready
                }
            };
            if blocked {
                return;
            }
        }
        for (n, pod) in condemned {
            claims::keep_owners(self, plan, *n, Some(pod), true);
        }
        // The first that is not well may go although others wait for it.
        let unwell = replicas.iter().chain(condemned).map(|(n, pod)| (*n, pod));
        let unwell =
            unwell.filter(|(_, pod)| pod.metadata.is_deleting() || !pod.is_ready()).map(|(n, _)| n).min();
        for (n, pod) in condemned.iter().rev() {
            if pod.metadata.is_deleting() {
                if ordered {
                    return report.waits(format!("{} to be gone", pod.metadata.name));
                }
                continue;
            }
            if ordered && !self.is_available(plan, pod) && unwell != Some(*n) {
                return report.waits(format!("{} to be available before it goes", pod.metadata.name));
            }
            self.delete(plan, pod);
            if ordered {
                return;
            }
        }
        if replicas.len() == usize::try_from(end - start).unwrap_or(0) {
            self.update(plan, report, replicas);
        }
    }

    fn make(&self, plan: &mut Plan, report: &mut Report, n: i64) {
        let name = format!("{}-{n}", self.key.name);
        // The pod follows when its claims are there; those of its predecessor have to be gone.
        if claims::are_stale(self, n) {
            return report.waits(format!("the claims of the former {name} to be gone"));
        }
        if claims::make_missing(self, plan, n, &name) {
            return report.waits(format!("the claims of {name}"));
        }
        let rolling = &*self.set.spec.update_strategy.kind != "OnDelete";
        let (revision, template) = match rolling && n < self.partition() {
            true => (&self.current.0, &self.current.1),
            false => (&self.revisions.name, &*self.set.spec.template),
        };
        let object = identity::pod(self.set, self.key, template, revision, n);
        plan.push(Action::Create {
            resource: Pod::RESOURCE.into(),
            namespace: self.key.namespace.clone(),
            object,
        });
        self.tell(
            plan,
            "SuccessfulCreate",
            format!("create Pod {name} in StatefulSet {} successful", self.key.name),
        );
        report.waits(format!("the new {name}"));
    }

    fn delete(&self, plan: &mut Plan, pod: &Pod) {
        plan.push(common::delete(pod.key(), &pod.metadata));
        let text = format!("delete Pod {} in StatefulSet {} successful", pod.metadata.name, self.key.name);
        self.tell(plan, "SuccessfulDelete", text);
    }

    fn tell(&self, plan: &mut Plan, reason: &str, message: String) {
        plan.push(common::event(self.key, &self.set.metadata, COMPONENT, reason, message));
    }

    /// Deletes outdated pods from the highest ordinal down, as many as may be unavailable at once.
    fn update(&self, plan: &mut Plan, report: &mut Report, replicas: &ByOrdinal) {
        if &*self.set.spec.update_strategy.kind == "OnDelete" {
            return;
        }
        let count = i32::try_from(replicas.len()).unwrap_or(i32::MAX);
        let most = &self.set.spec.update_strategy.rolling_update.max_unavailable;
        let mut room = int_or_percent(most, 1, count, true).max(1);
        let outdated =
            |n: i64, pod: &Pod| n >= self.partition() && !self.is_current(pod) && !pod.metadata.is_deleting();
        for (n, pod) in replicas {
            // An outdated pod that is not available is taken first, and costs when it is taken.
            let waits = pod.metadata.is_deleting() || !self.is_available(plan, pod);
            room -= i32::from(waits && !outdated(*n, pod));
        }
        for (n, pod) in replicas.iter().rev().filter(|(n, pod)| outdated(**n, pod)) {
            if room <= 0 {
                return report.waits(format!("{}-{n} to be updated", self.key.name));
            }
            room -= 1;
            self.delete(plan, pod);
        }
    }
}
