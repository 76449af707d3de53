//! What a PodDisruptionBudget allows at the moment; the eviction subresource spends it.
//!
//! An eviction that was granted stands in `disruptedPods` until the pod is seen going, so that two of them never spend
//! the same budget. Source: Kubernetes' disruption controller's documentation and its conditions and events.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::common::{self, int_or_percent};
use crate::labels;
use crate::model::{Held, Key, Pod, PodDisruptionBudget, Time};
use crate::plan::{Action, Plan, Precondition, Report};
use crate::view::View;

const COMPONENT: &str = "controllermanager";
/// How long a granted eviction counts without the pod being deleted, in seconds.
const PATIENCE: i64 = 120;

/// How many pods there should be, and how many of them healthy.
struct Wanted {
    expected: i32,
    healthy: i32,
}

pub fn plan(view: &View, key: &Key, now: i64, _seed: u64) -> (Plan, Report) {
    let (mut plan, mut report) = (Plan::default(), Report::default());
    let Some(budget) = view.budgets.by_key(key).cloned() else { return (plan, report) };
    if budget.metadata.is_deleting() {
        return (plan, report);
    }
    let mut pods = view.pods.in_namespace(&key.namespace);
    pods.retain(|pod| labels::matches(&budget.spec.selector, &pod.metadata.labels));
    if pods.is_empty() && budget.status.observed_generation != budget.metadata.generation {
        let text = "No matching pods found".to_owned();
        plan.push(common::event(key, &budget.metadata, COMPONENT, "NoPods", text));
    }
    let disrupted = still_disrupted(&mut plan, key, &budget, &pods, now);
    let current = pods.iter().filter(|pod| {
        pod.is_ready() && !pod.metadata.is_deleting() && !disrupted.contains_key(&pod.metadata.name)
    });
    let current = current.count() as i32;
    let old = &budget.status;
    let (numbers, condition) = match wanted(view, &budget, &pods) {
        Ok(wanted) => {
            let spare = (current - wanted.healthy).max(0);
            let allowed = if wanted.expected > 0 { spare } else { 0 };
            let reason = if allowed > 0 { "SufficientPods" } else { "InsufficientPods" };
            if allowed == 0 {
                report.waits("healthy pods to spare");
            }
            let numbers = json!({"disruptionsAllowed": allowed, "currentHealthy": current,
                "desiredHealthy": wanted.healthy, "expectedPods": wanted.expected});
            (numbers, (allowed > 0, reason, String::new()))
        }
        Err(why) => {
            let text = format!("Failed to calculate the number of expected pods: {why}");
            if old.conditions.iter().all(|c| *c.message != *why) {
                let reason = "CalculateExpectedPodCountFailed";
                plan.push(common::warning(key, &budget.metadata, COMPONENT, reason, text));
            }
            report.waits(why.clone());
            // Nothing is allowed while it is not known what would be too much.
            (json!({"disruptionsAllowed": 0}), (false, "SyncFailed", why))
        }
    };
    write(&mut plan, key, &budget, numbers, &disrupted, condition, now);
    (plan, report)
}

/// Evictions that were granted and whose pods have not been seen going; those that were not carried out are forgotten.
fn still_disrupted(
    plan: &mut Plan,
    key: &Key,
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    now: i64,
) -> BTreeMap<Arc<str>, Time> {
    let mut left = BTreeMap::new();
    for (name, since) in &budget.status.disrupted_pods {
        let Some(pod) = pods.iter().find(|pod| pod.metadata.name == *name) else { continue };
        if pod.metadata.is_deleting() {
            continue;
        }
        if since.0 + PATIENCE <= now {
            let text =
                format!("Pod was expected by PDB {}/{} to be deleted but it wasn't", key.namespace, key.name);
            plan.push(common::warning(&pod.key(), &pod.metadata, COMPONENT, "NotDeleted", text));
            continue;
        }
        plan.again_at(since.0 + PATIENCE);
        left.insert(name.clone(), *since);
    }
    left
}

fn wanted(view: &View, budget: &PodDisruptionBudget, pods: &[Arc<Pod>]) -> Result<Wanted, String> {
    let spec = &budget.spec;
    if !spec.max_unavailable.is_null() {
        let expected = scale(view, pods)?;
        let healthy = expected - int_or_percent(&spec.max_unavailable, 0, expected, true);
        return Ok(Wanted { expected, healthy: healthy.max(0) });
    }
    match &spec.min_available {
        Value::Null => Ok(Wanted { expected: pods.len() as i32, healthy: 0 }),
        Value::Number(_) => {
            let healthy = int_or_percent(&spec.min_available, 0, 0, true);
            Ok(Wanted { expected: pods.len() as i32, healthy })
        }
        percentage => {
            let expected = scale(view, pods)?;
            Ok(Wanted { expected, healthy: int_or_percent(percentage, 0, expected, true) })
        }
    }
}

/// How many pods the controllers of `pods` want in sum. Pods without one do not count.
fn scale(view: &View, pods: &[Arc<Pod>]) -> Result<i32, String> {
    let mut scales: BTreeMap<Arc<str>, i32> = BTreeMap::new();
    for pod in pods {
        let Some(owner) = pod.metadata.controller() else { continue };
        let namespace = &pod.metadata.namespace;
        let found = match &*owner.kind {
            "ReplicaSet" => {
                view.replica_sets.get(namespace, &owner.name).filter(|set| set.metadata.uid == owner.uid).map(
                    |set| {
                        let above = set.metadata.controller().filter(|above| &*above.kind == "Deployment");
                        let above = above.and_then(|above| view.deployments.get(namespace, &above.name));
                        match above {
                            Some(above) => (above.metadata.uid.clone(), above.spec.replicas),
                            None => (set.metadata.uid.clone(), set.spec.replicas),
                        }
                    },
                )
            }
            "StatefulSet" => {
                let set = view
                    .stateful_sets
                    .get(namespace, &owner.name)
                    .filter(|set| set.metadata.uid == owner.uid);
                set.map(|set| (set.metadata.uid.clone(), set.spec.replicas))
            }
            kind => {
                let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
                let name = match group {
                    "" => kind.to_lowercase(),
                    group => format!("{}s.{group}", kind.to_lowercase()),
                };
                return Err(format!("{name} does not implement the scale subresource"));
            }
        };
        let Some((uid, replicas)) = found else {
            return Err(format!("found no controller for pod {:?}", pod.metadata.name));
        };
        scales.insert(uid, replicas.unwrap_or(1));
    }
    Ok(scales.values().sum())
}

fn write(
    plan: &mut Plan,
    key: &Key,
    budget: &PodDisruptionBudget,
    numbers: Value,
    disrupted: &BTreeMap<Arc<str>, Time>,
    (allowed, reason, message): (bool, &str, String),
    now: i64,
) {
    let old = &budget.status;
    let before = json!({"disruptionsAllowed": old.disruptions_allowed, "currentHealthy": old.current_healthy,
        "desiredHealthy": old.desired_healthy, "expectedPods": old.expected_pods});
    let status = if allowed { "True" } else { "False" };
    let had = old.conditions.iter().find(|c| &*c.kind == "DisruptionAllowed");
    let same_condition =
        had.is_some_and(|c| &*c.status == status && &*c.reason == reason && *c.message == *message);
    let same = numbers.as_object().is_some_and(|all| all.iter().all(|(name, n)| before[name] == *n))
        && disrupted.len() == old.disrupted_pods.len()
        && old.observed_generation == budget.metadata.generation
        && same_condition;
    if same {
        return;
    }
    let since =
        had.filter(|c| &*c.status == status).and_then(|c| c.last_transition_time).unwrap_or(Time(now));
    let mut new = numbers;
    new["observedGeneration"] = json!(budget.metadata.generation);
    new["conditions"] = json!([{"type": "DisruptionAllowed", "status": status, "reason": reason, "message": message,
        "observedGeneration": budget.metadata.generation, "lastTransitionTime": since.to_string()}]);
    let gone: Map<String, Value> = old
        .disrupted_pods
        .keys()
        .filter(|name| !disrupted.contains_key(*name))
        .map(|name| (name.to_string(), Value::Null))
        .collect();
    if !gone.is_empty() {
        new["disruptedPods"] = Value::Object(gone);
    }
    plan.push(Action::Patch {
        target: key.clone(),
        subresource: Some("status"),
        patch: json!({"status": new}),
        // An eviction that was granted meanwhile must not be overwritten.
        only_if: Precondition::unchanged(&budget.metadata),
    });
}
