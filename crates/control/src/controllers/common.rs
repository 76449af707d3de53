//! What controllers share: pods from templates, owner references, conditions, events, ranking.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use dunlin_api::names::condition::DANGLING;

use crate::labels;
use crate::model::{Condition, Held, Key, Meta, Pod, Time};
use crate::plan::{Action, Plan, Precondition, Propagation};
use crate::view::View;

/// How many pods one decision makes or deletes at most, so that a wrong template cannot flood the API.
pub const BURST: usize = 500;

/// What it costs to delete a pod, compared with others of its ReplicaSet. Source: KEP-2255.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// How many of the pods that one plan makes are told of one by one; a thousand Events would help nobody.
const TOLD: usize = 25;

const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Reason of the condition `dunlin.io/Dangling` on a pod of which two must never run: it still counts as a copy.
pub const NOT_REPLACED: &str = "NotReplaced";

/// Whether the pod's node is out of reach for longer than the pod tolerates. Such a pod is never deleted for that
/// reason: what cannot be reached may still run.
pub fn is_dangling(pod: &Pod) -> bool {
    pod.is(DANGLING)
}

/// Whether the pod dangles and does not count as a copy any more, so that another takes its place.
pub fn is_replaced(pod: &Pod) -> bool {
    is_dangling(pod) && pod.condition(DANGLING).is_some_and(|c| &*c.reason != NOT_REPLACED)
}

/// An owner reference of a controller.
pub fn owner_reference(meta: &Meta, api_version: &str, kind: &str) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind, "name": meta.name, "uid": meta.uid,
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// A pod object made from a template, owned by `owner`, with a generated name.
pub fn pod_from(template: &Value, namespace: &str, owner: &Meta, owner_reference: Value) -> Value {
    let mut metadata = Map::new();
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template["metadata"].get(field).filter(|v| !v.is_null()) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    // Names are at most 63 bytes and the server adds five.
    let prefix: String = owner.name.chars().take(57).collect();
    metadata.insert("generateName".to_owned(), json!(format!("{prefix}-")));
    metadata.insert("namespace".to_owned(), json!(namespace));
    metadata.insert("ownerReferences".to_owned(), json!([owner_reference]));
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// Makes a pod, under a name of its own in place of `generateName`, and tells its owner. `seed` and the number of the
/// pod in this plan make the name; if it is taken, the write fails and the next plan has another seed.
pub fn create_pod(
    plan: &mut Plan,
    owner: &Key,
    meta: &Meta,
    component: &'static str,
    mut object: Value,
    (seed, n): (u64, usize),
) {
    let prefix = object["metadata"]["generateName"].as_str().unwrap_or_default();
    let name = format!("{prefix}{}", suffix(seed, n));
    object["metadata"]["name"] = json!(name);
    plan.push(Action::Create { resource: Pod::RESOURCE.into(), namespace: owner.namespace.clone(), object });
    if n < TOLD {
        plan.push(event(owner, meta, component, "SuccessfulCreate", format!("Created pod: {name}")));
    }
}

/// Five letters that make no words, different for each `n` of a seed.
fn suffix(seed: u64, n: usize) -> String {
    let count = LETTERS.len() as u64;
    // A large odd step visits all numbers before it repeats one.
    let mut number = seed.wrapping_add((n as u64).wrapping_mul(0x9e37_79b9)) % count.pow(5);
    let mut letters = [b'b'; 5];
    for letter in &mut letters {
        *letter = LETTERS[(number % count) as usize];
        number /= count;
    }
    letters.map(char::from).iter().collect()
}

/// The pods that `owner` controls, those it adopts now, and the patches by which it adopts and lets go.
pub fn claim(
    view: &View,
    owner: &Key,
    meta: &Meta,
    selector: &Value,
    reference: &Value,
    plan: &mut Plan,
) -> Vec<Arc<Pod>> {
    let selects = |pod: &Pod| labels::matches(selector, &pod.metadata.labels);
    claim_if(view, owner, meta, &selects, reference, plan)
}

/// The same for pods that `selects` tells.
pub fn claim_if(
    view: &View,
    owner: &Key,
    meta: &Meta,
    selects: &dyn Fn(&Pod) -> bool,
    reference: &Value,
    plan: &mut Plan,
) -> Vec<Arc<Pod>> {
    let mut claimed = Vec::new();
    for pod in view.pods.of_owner(&meta.uid) {
        if selects(&pod) {
            claimed.push(pod);
        } else if !pod.metadata.is_deleting() {
            let others: Vec<Value> = pod
                .metadata
                .owner_references
                .iter()
                .filter(|o| o.uid != meta.uid)
                .map(reference_json)
                .collect();
            plan.push(set_owners(pod.key(), &pod.metadata, others));
        }
    }
    if meta.is_deleting() {
        return claimed;
    }
    for pod in view.pods.in_namespace(&owner.namespace) {
        let orphan = pod.metadata.controller().is_none() && pod.is_active();
        if orphan && selects(&pod) {
            plan.push(adopt(pod.key(), &pod.metadata, reference));
            claimed.push(pod);
        }
    }
    claimed
}

/// Makes `reference` one of the object's owners.
pub fn adopt(target: Key, meta: &Meta, reference: &Value) -> Action {
    let mut references: Vec<Value> = meta.owner_references.iter().map(reference_json).collect();
    references.push(reference.clone());
    set_owners(target, meta, references)
}

/// Gives the object exactly these owners.
pub fn set_owners(target: Key, meta: &Meta, references: Vec<Value>) -> Action {
    Action::Patch {
        target,
        subresource: None,
        patch: json!({"metadata": {"ownerReferences": references}}),
        only_if: Precondition::unchanged(meta),
    }
}

/// An owner reference as JSON.
pub fn reference_json(owner: &crate::model::OwnerReference) -> Value {
    json!({
        "apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid,
        "controller": owner.controller, "blockOwnerDeletion": owner.block_owner_deletion,
    })
}

/// Sorts so that the pods to delete first come first, ranked nearly as Kubernetes ranks them: unscheduled, not running, not
/// ready, cheaper to delete, newer, of those that were made together the one on a node with more of them, more restarts.
///
/// How long a pod has been ready does not count here: a pod whose machine was out of reach became ready a moment ago, though
/// it never stopped, and it is the one to keep. For the same reason age comes before spreading: what was made in its place
/// goes again, wherever it is.
pub fn rank_for_deletion(pods: &mut [Arc<Pod>]) {
    let mut on_node: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod.is_active()) {
        *on_node.entry(pod.spec.node_name.clone()).or_default() += 1;
    }
    let cost = |pod: &Pod| {
        let text = pod.metadata.annotations.get(DELETION_COST);
        text.and_then(|text| text.parse::<i32>().ok()).unwrap_or(0)
    };
    let rank = |pod: &Pod| {
        let phase = match &*pod.status.phase {
            "Running" => 2,
            "Unknown" => 1,
            _ => 0,
        };
        let restarts: i64 = pod.status.container_statuses.iter().map(|c| c.restart_count).sum();
        let created = pod.metadata.creation_timestamp.map_or(i64::MAX, |t| t.0);
        (
            !pod.spec.node_name.is_empty(),
            phase,
            pod.is_ready(),
            cost(pod),
            std::cmp::Reverse(created),
            std::cmp::Reverse(on_node.get(&pod.spec.node_name).copied().unwrap_or(0)),
            std::cmp::Reverse(restarts),
        )
    };
    pods.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| b.metadata.name.cmp(&a.metadata.name)));
}

/// The deletion of one object, whatever its state.
pub fn delete(target: Key, meta: &Meta) -> Action {
    Action::Delete {
        target,
        only_if: Precondition::uid(&meta.uid),
        propagation: Propagation::Background,
        grace: None,
    }
}

/// Says on a pod that somebody else than its owner ends it, which is written before it is deleted. Source: KEP-3329.
pub fn disrupt(pod: &Pod, reason: &str, message: &str, now: i64) -> Option<Action> {
    let mut conditions = Conditions::new(&pod.status.conditions);
    conditions.set("DisruptionTarget", true, reason, message, now, false);
    conditions.into_changed().map(|list| Action::Patch {
        target: pod.key(),
        subresource: Some("status"),
        patch: json!({"status": {"conditions": list}}),
        only_if: Precondition::unchanged(&pod.metadata),
    })
}

/// A normal event.
pub fn event(target: &Key, meta: &Meta, component: &'static str, reason: &str, message: String) -> Action {
    Action::Event {
        target: target.clone(),
        uid: meta.uid.clone(),
        warning: false,
        reason: reason.into(),
        message,
        component,
    }
}

/// An event about something that went wrong.
pub fn warning(target: &Key, meta: &Meta, component: &'static str, reason: &str, message: String) -> Action {
    Action::Event {
        target: target.clone(),
        uid: meta.uid.clone(),
        warning: true,
        reason: reason.into(),
        message,
        component,
    }
}

/// A patch of an object's status, if `new` differs from what the object says.
pub fn patch_status(plan: &mut Plan, target: &Key, meta: &Meta, old: &Value, new: Value) {
    let same = new.as_object().is_some_and(|fields| {
        fields.iter().all(|(name, value)| match old.get(name) {
            Some(is) => is == value,
            None => value.is_null() || *value == json!(0) || value.as_array().is_some_and(Vec::is_empty),
        })
    });
    if !same {
        plan.push(Action::Patch {
            target: target.clone(),
            subresource: Some("status"),
            patch: json!({"status": new}),
            only_if: Precondition::uid(&meta.uid),
        });
    }
}

/// A list of conditions by type, changed one at a time; times move only when something changes.
pub struct Conditions {
    all: BTreeMap<usize, Value>,
    changed: bool,
}

impl Conditions {
    /// The conditions as they are.
    pub fn new(current: &[Condition]) -> Self {
        let all = current.iter().enumerate().map(|(n, c)| (n, condition_json(c))).collect();
        Self { all, changed: false }
    }

    /// Sets one; `touch` moves `lastUpdateTime` though nothing else changed.
    pub fn set(&mut self, kind: &str, status: bool, reason: &str, message: &str, now: i64, touch: bool) {
        self.put(kind, if status { "True" } else { "False" }, reason, message, now, touch);
    }

    /// The same for any status, `Unknown` among them.
    pub fn put(&mut self, kind: &str, status: &str, reason: &str, message: &str, now: i64, touch: bool) {
        let time = Time(now).to_string();
        let slot = self.all.iter().find(|(_, c)| c["type"] == kind).map(|(n, _)| *n);
        let old = slot.and_then(|n| self.all.get(&n));
        let same =
            old.is_some_and(|c| c["status"] == status && c["reason"] == reason && c["message"] == message);
        if same && !touch {
            return;
        }
        let since = match old {
            Some(c) if c["status"] == status => c["lastTransitionTime"].clone(),
            _ => json!(time),
        };
        let mut new = json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since});
        if kind == "Available" || kind == "Progressing" {
            new["lastUpdateTime"] = json!(time);
        }
        let slot = slot.unwrap_or_else(|| self.all.keys().last().map_or(0, |n| n + 1));
        self.all.insert(slot, new);
        self.changed = true;
    }

    /// Removes one.
    pub fn remove(&mut self, kind: &str) {
        let before = self.all.len();
        self.all.retain(|_, c| c["type"] != kind);
        self.changed |= self.all.len() != before;
    }

    /// The list if it changed.
    pub fn into_changed(self) -> Option<Value> {
        self.changed.then(|| Value::Array(self.all.into_values().collect()))
    }
}

/// A condition as JSON, absent fields left out.
pub fn condition_json(condition: &Condition) -> Value {
    let mut json = json!({"type": condition.kind, "status": condition.status});
    for (name, text) in [("reason", &condition.reason), ("message", &condition.message)] {
        if !text.is_empty() {
            json[name] = json!(text);
        }
    }
    for (name, time) in [
        ("lastTransitionTime", condition.last_transition_time),
        ("lastUpdateTime", condition.last_update_time),
        ("lastHeartbeatTime", condition.last_heartbeat_time),
    ] {
        if let Some(time) = time {
            json[name] = json!(time.to_string());
        }
    }
    json
}

/// FNV-1a of the canonical JSON, spelt with letters that make no words, as Kubernetes' hash labels are.
pub fn hash(value: &Value, salt: i32) -> String {
    let mut state: u32 = 0x811c_9dc5;
    for byte in value.to_string().bytes().chain(salt.to_string().bytes()) {
        state = (state ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    state.to_string().bytes().map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()])).collect()
}

/// A number or a percentage of `total`; `up` rounds percentages up.
pub fn int_or_percent(value: &Value, default: i32, total: i32, up: bool) -> i32 {
    match value {
        Value::Number(n) => n.as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(default),
        Value::String(text) => match text.strip_suffix('%').and_then(|p| p.parse::<i64>().ok()) {
            Some(percent) => {
                let exact = percent * i64::from(total);
                let rounded = if up { (exact + 99) / 100 } else { exact / 100 };
                i32::try_from(rounded).unwrap_or(default)
            }
            None => text.parse().unwrap_or(default),
        },
        _ => default,
    }
}
