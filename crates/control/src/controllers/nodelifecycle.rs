//! What becomes of a node that falls silent, and of its pods.
//!
//! Lost contact never deletes anything, because a deletion cannot be taken back: the machine may run on. After the time
//! that a pod tolerates it gets the condition `dunlin.io/Dangling`; its controller then makes another, and when the
//! machine is back the condition goes and the surplus is deleted. A pod of which two must never run is not replaced; if
//! it is fenced, it is deleted once its side has stopped it ([`fencing`]). Taints that a person sets evict as in
//! Kubernetes.

use dunlin_api::names::{condition::DANGLING, label};
use serde_json::{Value, json};

use super::common::{self, Conditions};
use super::fencing;
use crate::model::{Held, Key, Node, Pod, Taint, Time};
use crate::plan::{Action, Plan, Precondition, Propagation, Report};
use crate::scheduler::filter::tolerates;
use crate::view::View;

const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub fn plan(view: &View, key: &Key, now: i64, _seed: u64) -> (Plan, Report) {
    let (mut plan, mut report) = (Plan::default(), Report::default());
    let Some(node) = view.nodes.by_key(key).cloned() else { return (plan, report) };
    // Nobody is judged for silence while it was us who could not hear.
    // A new one has been heard when it was made.
    let made = node.metadata.creation_timestamp.map_or(0, |at| at.0);
    let since = view.heard.get(&key.name).copied().unwrap_or(made).max(view.settings.started_at);
    let silent = now >= since + view.settings.node_grace;
    if !silent {
        plan.again_at(since + view.settings.node_grace);
    }
    let ready = node.condition("Ready").map(|c| c.status.clone());
    if silent && ready.as_deref() != Some("Unknown") {
        report.waits("the node to be heard of again");
        let mut conditions = Conditions::new(&node.status.conditions);
        let text = "The node has not been heard of within its grace period.";
        let mut list = None;
        for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
            conditions.set(kind, false, "NodeStatusUnknown", text, now, false);
        }
        if let Some(mut all) = conditions.into_changed() {
            for condition in
                all.as_array_mut().into_iter().flatten().filter(|c| c["reason"] == "NodeStatusUnknown")
            {
                condition["status"] = json!("Unknown");
            }
            list = Some(all);
        }
        if let Some(list) = list {
            plan.push(Action::Patch {
                target: key.clone(),
                subresource: Some("status"),
                patch: json!({"status": {"conditions": list}}),
                only_if: Precondition::unchanged(&node.metadata),
            });
            plan.push(common::event(key, &node.metadata, "node-controller", "NodeNotReady", text.to_owned()));
        }
    }
    let state = match (silent, ready.as_deref()) {
        (true, _) | (false, Some("Unknown")) => Some(UNREACHABLE),
        (false, Some("True")) => None,
        (false, _) => Some(NOT_READY),
    };
    taints(&mut plan, key, &node, state, now);
    for pod in view.pods.on_node(&key.name) {
        judge(&mut plan, view, &node, &pod, Silence { since, is_lost: silent }, now);
    }
    (plan, report)
}

/// Puts the taints of the node's state on, and takes those of other states off.
fn taints(plan: &mut Plan, key: &Key, node: &Node, state: Option<&str>, now: i64) {
    let ours = |taint: &Taint| [UNREACHABLE, NOT_READY].contains(&&*taint.key);
    let has = |effect: &str| node.spec.taints.iter().any(|t| Some(&*t.key) == state && &*t.effect == effect);
    let wrong = node.spec.taints.iter().any(|t| ours(t) && Some(&*t.key) != state);
    let missing = state.is_some() && !(has("NoSchedule") && has("NoExecute"));
    if !wrong && !missing {
        return;
    }
    let mut all: Vec<Value> = node.spec.taints.iter().filter(|t| !ours(t)).map(taint_json).collect();
    if let Some(state) = state {
        all.push(json!({"key": state, "effect": "NoSchedule", "timeAdded": Time(now).to_string()}));
        all.push(json!({"key": state, "effect": "NoExecute", "timeAdded": Time(now).to_string()}));
    }
    plan.push(Action::Patch {
        target: key.clone(),
        subresource: None,
        patch: json!({"spec": {"taints": all}}),
        only_if: Precondition::unchanged(&node.metadata),
    });
}

fn taint_json(taint: &Taint) -> Value {
    let mut json = json!({"key": taint.key, "effect": taint.effect});
    if !taint.value.is_empty() {
        json["value"] = json!(taint.value);
    }
    if let Some(at) = taint.time_added {
        json["timeAdded"] = json!(at.to_string());
    }
    json
}

/// How long a node has not been heard.
#[derive(Clone, Copy)]
struct Silence {
    since: i64,
    /// Longer than the grace period.
    is_lost: bool,
}

/// One pod of the node: dangling or not, and evicted if a person's taint says so.
fn judge(plan: &mut Plan, view: &View, node: &Node, pod: &Pod, silence: Silence, now: i64) {
    let settings = &view.settings;
    if pod.is_finished() {
        return;
    }
    let silent = silence.is_lost;
    let silent_at = silence.since + settings.node_grace;
    // While a child cluster is heard, it knows which of its own machines are out of reach, and its word on their pods is not
    // ours to take back.
    let is_cluster = node.metadata.labels.contains_key(label::VIRTUAL_NODE);
    if silent && fence(plan, view, pod, silence.since, now) {
        return;
    }
    let taint = Taint { key: UNREACHABLE.into(), effect: "NoExecute".into(), ..Taint::default() };
    if silent {
        let until = match patience(pod, &taint) {
            Patience::Forever => None,
            Patience::For(seconds) => Some(silent_at + seconds),
            Patience::None => Some(silent_at + settings.eviction_toleration),
        };
        match until {
            Some(until) if now < until => plan.again_at(until),
            Some(_) if !common::is_dangling(pod) => dangle(plan, view, pod, true, now),
            _ => {}
        }
    } else if common::is_dangling(pod) && node.is_ready() && !is_cluster {
        dangle(plan, view, pod, false, now);
    }
    for taint in node.spec.taints.iter().filter(|t| &*t.effect == "NoExecute") {
        if [UNREACHABLE, NOT_READY].contains(&&*taint.key) || pod.metadata.is_deleting() {
            continue;
        }
        let added = taint.time_added.map_or(now, |t| t.0);
        let until = match patience(pod, taint) {
            Patience::Forever => continue,
            Patience::For(seconds) => added + seconds,
            Patience::None => added,
        };
        if now < until {
            plan.again_at(until);
        } else {
            plan.push(common::delete(pod.key(), &pod.metadata));
            let text = format!("Marking for deletion Pod {}/{}", pod.metadata.namespace, pod.metadata.name);
            plan.push(common::event(
                &pod.key(),
                &pod.metadata,
                "taint-eviction-controller",
                "TaintManagerEviction",
                text,
            ));
        }
    }
}

/// Whether the pod is one that must not run twice and has been stopped by its own side: then its object goes, and its
/// controller may make another of the same name.
fn fence(plan: &mut Plan, view: &View, pod: &Pod, heard: i64, now: i64) -> bool {
    let ended_at = fencing::exclusive(view, pod).and_then(|_| fencing::ended_at(pod, heard, &view.settings));
    let Some(ended_at) = ended_at else {
        return false;
    };
    if now < ended_at {
        plan.again_at(ended_at);
        return false;
    }
    let key = pod.key();
    let text = "The node has been out of reach for so long that it has stopped the pod by itself.";
    plan.push(common::event(&key, &pod.metadata, "node-controller", "Fenced", text.to_owned()));
    plan.push(Action::Delete {
        target: key,
        only_if: Precondition::uid(&pod.metadata.uid),
        propagation: Propagation::Background,
        grace: Some(0),
    });
    true
}

enum Patience {
    None,
    For(i64),
    Forever,
}

fn patience(pod: &Pod, taint: &Taint) -> Patience {
    let matching = pod.spec.tolerations.iter().filter(|t| tolerates(std::slice::from_ref(*t), taint));
    let mut shortest = None;
    let mut any = false;
    for toleration in matching {
        any = true;
        if let Some(seconds) = toleration.toleration_seconds {
            shortest = Some(shortest.map_or(seconds, |s: i64| s.min(seconds)));
        }
    }
    match (any, shortest) {
        (false, _) => Patience::None,
        (true, Some(seconds)) => Patience::For(seconds.max(0)),
        (true, None) => Patience::Forever,
    }
}

fn dangle(plan: &mut Plan, view: &View, pod: &Pod, lost: bool, now: i64) {
    let mut conditions = Conditions::new(&pod.status.conditions);
    if lost {
        let text =
            "The pod's node has been out of reach for longer than the pod tolerates. It may still run there.";
        match (fencing::exclusive(view, pod), fencing::fence_after(pod)) {
            (None, _) => conditions.set(DANGLING, true, "NodeUnreachable", text, now, false),
            (Some(why), after) => {
                let then = match after {
                    Some(seconds) => {
                        format!(
                            "It is replaced once its node must have stopped it, {seconds} s after the loss of contact."
                        )
                    }
                    None => format!(
                        "It is not replaced, because {why} and has no annotation dunlin.io/fence-after."
                    ),
                };
                conditions.set(DANGLING, true, common::NOT_REPLACED, &format!("{text} {then}"), now, false);
            }
        }
        conditions.set("Ready", false, "NodeUnreachable", text, now, false);
    } else {
        conditions.remove(DANGLING);
        // The node says by itself whether the pod is ready; until then its containers' last word holds.
        let ready = !pod.status.container_statuses.is_empty()
            && pod.status.container_statuses.iter().all(|c| c.ready);
        conditions.set("Ready", ready, "", "", now, false);
    }
    if let Some(list) = conditions.into_changed() {
        plan.push(Action::Patch {
            target: pod.key(),
            subresource: Some("status"),
            patch: json!({"status": {"conditions": list}}),
            only_if: Precondition::unchanged(&pod.metadata),
        });
    }
}
