//! Where a pod runs: filters leave the nodes that can take it, a policy chooses one of them.
//!
//! Decisions are made on an incremental [`Snapshot`]; the same snapshot, pod, policy and seed give the same node. The
//! filters and their words are those of kube-scheduler's default plugins, so that a person who knows one can read the
//! other. Whoever runs this must tell the snapshot of every placement at once ([`Snapshot::assume`]): a second pod must
//! not be placed as if the first were not there.

mod affinity;
mod candidates;
pub mod child;
pub(crate) mod filter;
mod index;
pub mod kept;
mod policy;
mod preempt;
mod queue;
mod room;
mod score;
mod snapshot;
mod spread;
#[cfg(test)]
mod tests;
pub mod volumes;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::model::{Held, Pod, Time};
use crate::plan::{Action, Precondition};

use policy::{Round, nearest};

pub use filter::tolerates;
pub use policy::group::{self, place_group};
pub use policy::{Policy, external};
pub use preempt::{Preemption, preempt};
pub use queue::Queue;
pub use snapshot::{Host, Snapshot};

/// The name that pods have in `spec.schedulerName` unless they ask for another scheduler.
pub const NAME: &str = "default-scheduler";

/// Why no node can take a pod; `Display` gives kube-scheduler's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WhyNot {
    /// How many nodes were asked.
    pub nodes: usize,
    /// Reason to the number of nodes that it holds for.
    pub reasons: BTreeMap<String, usize>,
    /// What stands in the way apart from single nodes: a group that is not whole, a policy that there is not.
    pub because: Option<String>,
    /// What stands in the way on all nodes alike: the pod's claims.
    pub everywhere: Option<String>,
    /// What is to be said about each node by name; only [`explain`] fills it.
    pub by_node: BTreeMap<Arc<str>, String>,
}

impl WhyNot {
    /// A reason that has nothing to do with single nodes.
    pub fn because(reason: impl Into<String>) -> Self {
        Self { because: Some(reason.into()), ..Self::default() }
    }

    fn refused(&mut self, reasons: Vec<String>) {
        self.nodes += 1;
        for reason in reasons {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.because {
            Some(because) if self.nodes == 0 => return write!(f, "{because}"),
            Some(because) => write!(f, "{because}: ")?,
            None if self.nodes == 0 => return write!(f, "no nodes available to schedule pods"),
            None => {}
        }
        if let Some(everywhere) = &self.everywhere {
            return write!(f, "0/{} nodes are available: {everywhere}.", self.nodes);
        }
        let mut reasons: Vec<String> =
            self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        reasons.sort();
        write!(f, "0/{} nodes are available: {}.", self.nodes, reasons.join(", "))
    }
}

/// Chooses a node for `pod`, or says why there is none.
///
/// # Errors
/// When no node can take the pod, and when its placement is not for one pod alone to decide: groups of several are
/// placed by [`place_group`], and an external scheduler is asked between [`external::candidates`] and
/// [`external::choose`].
pub fn place(snapshot: &Snapshot, pod: &Pod, policy: Policy, seed: u64) -> Result<Arc<str>, WhyNot> {
    let rules = may_decide(snapshot, pod, policy)?;
    let able = candidates::able(snapshot, pod, policy, &rules, seed);
    let round = Round { snapshot, pod, able: &able };
    let ranking = (policy.rules().rank)(&round);
    match round.best(&ranking.scores, seed) {
        Some(best) => Ok(able[best].name().clone()),
        None => Err(candidates::why_none(snapshot, pod, &rules)),
    }
}

/// What [`place`] answers for the same arguments, with a word about every node: why it cannot take the pod, how it was
/// ranked, or that it was not looked at. Costs all nodes.
pub fn explain(snapshot: &Snapshot, pod: &Pod, policy: Policy, seed: u64) -> (Option<Arc<str>>, WhyNot) {
    let rules = match may_decide(snapshot, pod, policy) {
        Ok(rules) => rules,
        Err(why) => return (None, why),
    };
    let able = candidates::able(snapshot, pod, policy, &rules, seed);
    let round = Round { snapshot, pod, able: &able };
    let ranking = (policy.rules().rank)(&round);
    let chosen = round.best(&ranking.scores, seed).map(|best| able[best].name().clone());
    let mut why = WhyNot::default();
    for host in snapshot.hosts() {
        let reasons = candidates::refusals(snapshot, pod, &rules, host);
        let word = match able.iter().position(|other| other.name() == host.name()) {
            Some(at) => (ranking.word)(at),
            None if reasons.is_empty() => format!("not looked at: {} that fit are enough", able.len()),
            None => reasons.join(", "),
        };
        why.by_node.insert(host.name().clone(), word);
        why.refused(reasons);
    }
    (chosen, why)
}

/// The filters for a pod that is placed alone by `policy`.
fn may_decide<'a>(snapshot: &'a Snapshot, pod: &'a Pod, policy: Policy) -> Result<filter::Rules<'a>, WhyNot> {
    match policy {
        Policy::Group if group::name(pod).is_some() => {
            return Err(WhyNot::because("a pod of a group is placed together with the others"));
        }
        Policy::External => {
            return Err(WhyNot::because("an external scheduler decides, and this one has none to ask"));
        }
        Policy::Nearest => nearest::check(pod)?,
        _ => {}
    }
    let rules = filter::Rules::new(snapshot, pod);
    match rules.everywhere() {
        Some(why) => {
            Err(WhyNot { nodes: snapshot.len(), everywhere: Some(why.to_owned()), ..WhyNot::default() })
        }
        None => Ok(rules),
    }
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
