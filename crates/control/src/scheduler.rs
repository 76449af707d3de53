//! Where a pod runs: filters leave the nodes that can take it, scores choose one of them.
//!
//! Decisions are made on an incremental [`Snapshot`]; the same snapshot, pod, policy and seed give the same node. The
//! filters and their words are those of kube-scheduler's default plugins, so that a person who knows one can read the
//! other. Whoever runs this must tell the snapshot of every placement at once ([`Snapshot::assume`]): a second pod must
//! not be placed as if the first were not there.

mod affinity;
pub mod child;
pub(crate) mod filter;
mod queue;
mod score;
mod snapshot;
mod spread;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::model::{Held, Pod, Time};
use crate::plan::{Action, Precondition};

pub use filter::tolerates;
pub use queue::Queue;
pub use snapshot::{Host, Snapshot};

/// The name that pods have in `spec.schedulerName` unless they ask for another scheduler.
pub const NAME: &str = "default-scheduler";

/// How one of the nodes that can take a pod is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// Scores nodes as kube-scheduler does by default: spread load, follow preferences.
    #[default]
    Balanced,
    /// The first node by name; cheap, and packs.
    FirstFit,
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "balanced" => Ok(Self::Balanced),
            "first-fit" => Ok(Self::FirstFit),
            _ => Err(format!("unknown scheduler policy {text:?}; there are balanced and first-fit")),
        }
    }
}

/// Why no node can take a pod; `Display` gives kube-scheduler's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WhyNot {
    pub nodes: usize,
    /// Reason to the number of nodes that it holds for.
    pub reasons: BTreeMap<String, usize>,
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return write!(f, "no nodes available to schedule pods");
        }
        let mut reasons: Vec<String> =
            self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        reasons.sort();
        write!(f, "0/{} nodes are available: {}.", self.nodes, reasons.join(", "))
    }
}

/// Chooses a node for `pod`, or says why there is none.
pub fn place(snapshot: &Snapshot, pod: &Pod, policy: Policy, seed: u64) -> Result<Arc<str>, WhyNot> {
    let rules = filter::Rules::new(snapshot, pod);
    let mut why = WhyNot::default();
    let mut able = Vec::new();
    for host in snapshot.hosts() {
        why.nodes += 1;
        let refusals = rules.refusals(host);
        if refusals.is_empty() {
            able.push(host);
            if policy == Policy::FirstFit {
                break;
            }
        }
        for reason in refusals {
            *why.reasons.entry(reason).or_default() += 1;
        }
    }
    match policy {
        Policy::FirstFit => able.first().copied(),
        Policy::Balanced => score::best(snapshot, pod, &able, seed),
    }
    .map(|host| host.name().clone())
    .ok_or(why)
}

/// Whether the pod is for this scheduler to place, now.
pub fn is_pending(pod: &Pod) -> bool {
    pod.spec.node_name.is_empty()
        && pod.is_active()
        && pod.spec.scheduling_gates.is_empty()
        && matches!(&*pod.spec.scheduler_name, "" | NAME)
}

/// The writes that bind a pod.
pub fn bind(pod: &Pod, node: &Arc<str>) -> Vec<Action> {
    let uid = pod.metadata.uid.clone();
    let message = format!("Successfully assigned {}/{} to {node}", pod.metadata.namespace, pod.metadata.name);
    vec![
        Action::Bind { target: pod.key(), uid: uid.clone(), node: node.clone() },
        Action::Event {
            target: pod.key(),
            uid,
            warning: false,
            reason: "Scheduled".into(),
            message,
            component: NAME,
        },
    ]
}

/// The writes that tell why a pod is not bound; none if the pod says so already.
pub fn unschedulable(pod: &Pod, why: &WhyNot, now: i64) -> Vec<Action> {
    let message = why.to_string();
    let old = pod.condition("PodScheduled");
    let same = |c: &crate::model::Condition| {
        &*c.status == "False" && &*c.reason == "Unschedulable" && *c.message == *message
    };
    if old.is_some_and(same) {
        return Vec::new();
    }
    let since =
        old.filter(|c| &*c.status == "False").and_then(|c| c.last_transition_time).unwrap_or(Time(now));
    let condition = json!({
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
        "lastProbeTime": null, "lastTransitionTime": since.to_string(),
    });
    // A merge patch replaces lists whole, so the other conditions are written again as they were read; the
    // precondition makes sure that nobody changed them in between.
    let mut conditions: Vec<Value> = pod.status.conditions.iter().map(condition_value).collect();
    match pod.status.conditions.iter().position(|c| &*c.kind == "PodScheduled") {
        Some(at) => conditions[at] = condition,
        None => conditions.insert(0, condition),
    }
    let uid = pod.metadata.uid.clone();
    vec![
        Action::Patch {
            target: pod.key(),
            subresource: Some("status"),
            patch: json!({"status": {"conditions": conditions}}),
            only_if: Precondition::unchanged(&pod.metadata),
        },
        Action::Event {
            target: pod.key(),
            uid,
            warning: true,
            reason: "FailedScheduling".into(),
            message,
            component: NAME,
        },
    ]
}

fn condition_value(c: &crate::model::Condition) -> Value {
    let mut value = json!({"type": c.kind, "status": c.status});
    if !c.reason.is_empty() {
        value["reason"] = json!(c.reason);
    }
    if !c.message.is_empty() {
        value["message"] = json!(c.message);
    }
    if let Some(at) = c.last_transition_time {
        value["lastTransitionTime"] = json!(at.to_string());
    }
    value
}
