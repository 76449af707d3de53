//! One pod on every node that the template's selectors and tolerations allow.
//!
//! The pod names its node by affinity and the scheduler binds it, so that resources are counted in one place.
//! Revisions are kept as `ControllerRevision` objects, which `kubectl rollout history` and `undo` read.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::common::{self, BURST, int_or_percent};
use crate::model::{ControllerRevision, DaemonSet, Held, Key, Node, Pod};
use crate::plan::{Action, Plan, Precondition, Report};
use crate::scheduler::filter::{selects, untolerated};
use crate::view::View;

const COMPONENT: &str = "daemonset-controller";
/// How long a daemon that ended stays before it is replaced, counted from its making, seconds. A node that refuses what
/// the controller finds fit for it would else be given another at once, again and again.
const RETRY: i64 = 5;
const HASH: &str = "controller-revision-hash";
/// Taints that describe a node's state do not keep daemons away.
const TOLERATED: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

pub fn plan(view: &View, key: &Key, now: i64, _seed: u64) -> (Plan, Report) {
    let (mut plan, mut report) = (Plan::default(), Report::default());
    let Some(set) = view.daemon_sets.by_key(key).cloned() else { return (plan, report) };
    let reference = common::owner_reference(&set.metadata, "apps/v1", "DaemonSet");
    let pods = common::claim(view, key, &set.metadata, &set.spec.selector, &reference, &mut plan);
    if set.metadata.is_deleting() {
        return (plan, report);
    }
    let hash = revisions(view, &mut plan, key, &set, &reference);
    let template = template(&set, &hash);
    let probe = probe(&template, key);

    let mut by_node: BTreeMap<Arc<str>, Vec<Arc<Pod>>> = BTreeMap::new();
    for pod in &pods {
        if let Some(node) = node_of(pod) {
            by_node.entry(node).or_default().push(pod.clone());
        }
    }
    let mut counts = Counts::default();
    let mut outdated: Vec<(Arc<Pod>, bool)> = Vec::new();
    let mut made = 0;
    for node in view.nodes.all() {
        let here = by_node.remove(&node.metadata.name).unwrap_or_default();
        let child = view.clusters.get("", &node.metadata.name).cloned();
        let selected = selects(&probe, &node, child.as_deref());
        let eligible = selected && untolerated(&node, &probe).is_none();
        let (finished, mut live): (Vec<_>, Vec<_>) = here.iter().cloned().partition(|pod| pod.is_finished());
        live.retain(|pod| !pod.metadata.is_deleting());
        // A daemon that ended is replaced.
        let made_at = |pod: &Pod| pod.metadata.creation_timestamp.map_or(0, |at| at.0);
        for pod in &finished {
            let at = made_at(pod) + RETRY;
            if selected && now < at {
                plan.again_at(at);
            } else if !pod.metadata.is_deleting() {
                plan.push(common::delete(pod.key(), &pod.metadata));
            }
        }
        if !eligible {
            counts.misscheduled += i32::from(!live.is_empty());
            // Only a changed selector ends a running daemon; taints that keep new ones away do not.
            if !selected {
                plan.actions.extend(live.iter().map(|pod| common::delete(pod.key(), &pod.metadata)));
            }
            continue;
        }
        counts.desired += 1;
        live.sort_by_key(|pod| (!pod.is_ready(), pod.metadata.creation_timestamp));
        if let Some(pod) = live.first() {
            counts.current += 1;
            counts.ready += i32::from(pod.is_ready());
            let available = pod.is_available(set.spec.min_ready_seconds, now);
            counts.available += i32::from(available);
            if pod.metadata.labels.get(HASH).is_some_and(|h| **h == *hash) {
                counts.updated += 1;
            } else {
                outdated.push((pod.clone(), available));
            }
            for surplus in &live[1..] {
                plan.push(common::delete(surplus.key(), &surplus.metadata));
            }
        } else if here.iter().all(|pod| pod.is_finished() && now >= made_at(pod) + RETRY) && made < BURST {
            // While the predecessor is ending, its place is taken.
            made += 1;
            let object = pod_for(&template, key, &set, &reference, &node);
            plan.push(Action::Create { resource: "pods".into(), namespace: key.namespace.clone(), object });
        }
    }
    // Pods of nodes that are gone.
    for pod in by_node.into_values().flatten().filter(|pod| !pod.metadata.is_deleting()) {
        plan.push(common::delete(pod.key(), &pod.metadata));
    }
    if made > 0 {
        plan.push(common::event(
            key,
            &set.metadata,
            COMPONENT,
            "SuccessfulCreate",
            format!("Created {made} pods"),
        ));
        report.waits(format!("{made} new pods"));
    }
    roll(&mut plan, &mut report, key, &set, &counts, outdated);
    status(&mut plan, key, &set, &counts);
    (plan, report)
}

#[derive(Default)]
struct Counts {
    desired: i32,
    current: i32,
    misscheduled: i32,
    ready: i32,
    available: i32,
    updated: i32,
}

/// Replaces outdated pods, unavailable ones at once and available ones as `maxUnavailable` allows.
fn roll(
    plan: &mut Plan,
    report: &mut Report,
    key: &Key,
    set: &DaemonSet,
    counts: &Counts,
    outdated: Vec<(Arc<Pod>, bool)>,
) {
    if &*set.spec.update_strategy.kind == "OnDelete" || outdated.is_empty() {
        return;
    }
    let most =
        int_or_percent(&set.spec.update_strategy.rolling_update.max_unavailable, 1, counts.desired, true)
            .max(1);
    let mut room = most - (counts.desired - counts.available);
    for (pod, available) in outdated {
        if available {
            if room <= 0 {
                report.waits(format!("pod {} to be replaced", pod.metadata.name));
                continue;
            }
            room -= 1;
        }
        plan.push(common::delete(pod.key(), &pod.metadata));
        let message = format!("Deleted pod: {}", pod.metadata.name);
        plan.push(common::event(key, &set.metadata, COMPONENT, "SuccessfulDelete", message));
    }
}

/// Sees to it that the current template has its revision, the newest, and gives its hash.
fn revisions(view: &View, plan: &mut Plan, key: &Key, set: &DaemonSet, reference: &Value) -> String {
    let data = json!({"spec": {"template": mark_replace(&set.spec.template)}});
    let hash = common::hash(&set.spec.template, set.status.collision_count.unwrap_or(0));
    let mut known: Vec<Arc<ControllerRevision>> = view.controller_revisions.of_owner(&set.metadata.uid);
    known.sort_by_key(|revision| revision.revision);
    let newest = known.last().map_or(0, |revision| revision.revision);
    let current = known.iter().find(|revision| *revision.data == data);
    match current {
        Some(revision) if revision.revision == newest => {}
        Some(revision) => plan.push(Action::Patch {
            target: revision.key(),
            subresource: None,
            patch: json!({"revision": newest + 1}),
            only_if: Precondition::uid(&revision.metadata.uid),
        }),
        None => {
            let mut labels = set.spec.template["metadata"]["labels"].clone();
            labels[HASH] = json!(hash);
            plan.push(Action::Create {
                resource: "controllerrevisions.apps".into(),
                namespace: key.namespace.clone(),
                object: json!({
                    "apiVersion": "apps/v1", "kind": "ControllerRevision",
                    "metadata": {
                        "name": format!("{}-{hash}", key.name), "namespace": key.namespace, "labels": labels,
                        "annotations": set.metadata.annotations.get("kubernetes.io/change-cause")
                            .map(|cause| json!({"kubernetes.io/change-cause": cause})),
                        "ownerReferences": [reference],
                    },
                    "data": data, "revision": newest + 1,
                }),
            });
        }
    }
    let limit = usize::try_from(set.spec.revision_history_limit.unwrap_or(10)).unwrap_or(10);
    let old = known.iter().filter(|revision| *revision.data != data);
    let surplus = known.len().saturating_sub(limit + 1);
    plan.actions.extend(old.take(surplus).map(|revision| common::delete(revision.key(), &revision.metadata)));
    current.and_then(|revision| revision.metadata.labels.get(HASH).map(|h| h.to_string())).unwrap_or(hash)
}

/// The template as a revision holds it: a patch that replaces, which is how `kubectl rollout undo` applies it.
fn mark_replace(template: &Value) -> Value {
    let mut marked = template.clone();
    marked["$patch"] = json!("replace");
    marked
}

fn template(set: &DaemonSet, hash: &str) -> Value {
    let mut template = (*set.spec.template).clone();
    template["metadata"]["labels"][HASH] = json!(hash);
    let spec = &mut template["spec"];
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    let host_network = spec["hostNetwork"] == true;
    let network = [("node.kubernetes.io/network-unavailable", "NoSchedule")];
    for (key, effect) in TOLERATED.iter().chain(network.iter().filter(|_| host_network)) {
        tolerations.push(json!({"key": key, "operator": "Exists", "effect": effect}));
    }
    spec["tolerations"] = Value::Array(tolerations);
    template
}

/// A pod of the template as the scheduler's predicates read one.
fn probe(template: &Value, key: &Key) -> Pod {
    serde_json::from_value(
        json!({"metadata": {"name": key.name, "namespace": key.namespace}, "spec": template["spec"]}),
    )
    .unwrap_or_default()
}

fn pod_for(template: &Value, key: &Key, set: &DaemonSet, reference: &Value, node: &Node) -> Value {
    let mut pod = common::pod_from(template, &key.namespace, &set.metadata, reference.clone());
    let field = json!({"key": "metadata.name", "operator": "In", "values": [node.metadata.name]});
    let required =
        &mut pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    match required["nodeSelectorTerms"].as_array_mut() {
        Some(terms) => terms.iter_mut().for_each(|term| term["matchFields"] = json!([field])),
        None => *required = json!({"nodeSelectorTerms": [{"matchFields": [field]}]}),
    }
    pod
}

/// The node that a pod is on, or is meant for.
fn node_of(pod: &Pod) -> Option<Arc<str>> {
    if !pod.spec.node_name.is_empty() {
        return Some(pod.spec.node_name.clone());
    }
    let affinity = pod.spec.affinity.as_deref()?;
    let terms =
        &affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    terms[0]["matchFields"][0]["values"][0].as_str().map(Into::into)
}

fn status(plan: &mut Plan, key: &Key, set: &DaemonSet, counts: &Counts) {
    let old = &set.status;
    let before = json!({
        "observedGeneration": old.observed_generation, "currentNumberScheduled": old.current_number_scheduled,
        "numberMisscheduled": old.number_misscheduled, "desiredNumberScheduled": old.desired_number_scheduled,
        "numberReady": old.number_ready, "updatedNumberScheduled": old.updated_number_scheduled,
        "numberAvailable": old.number_available, "numberUnavailable": old.number_unavailable,
    });
    let new = json!({
        "observedGeneration": set.metadata.generation, "currentNumberScheduled": counts.current,
        "numberMisscheduled": counts.misscheduled, "desiredNumberScheduled": counts.desired,
        "numberReady": counts.ready, "updatedNumberScheduled": counts.updated,
        "numberAvailable": counts.available, "numberUnavailable": counts.desired - counts.available,
    });
    common::patch_status(plan, key, &set.metadata, &before, new);
}
