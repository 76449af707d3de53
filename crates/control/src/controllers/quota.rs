//! What is used of a ResourceQuota, counted from what is there.
//!
//! Admission charges a quota before it lets an object in; this controller puts right what changes, ends, or was never
//! stored. It writes only if nobody charged the quota meanwhile.

use std::sync::Arc;

use dunlin_api::quantity::Quantity;
use dunlin_api::quota::{self, Amounts, ClaimFacts, Facts, PodFacts, ServiceFacts};
use serde_json::{Map, Value, json};

use crate::model::{Claim, Key, Pod, Quantities, Service};
use crate::plan::{Action, Plan, Precondition, Report};
use crate::view::View;

pub fn plan(view: &View, key: &Key, _now: i64, _seed: u64) -> (Plan, Report) {
    let (mut plan, report) = (Plan::default(), Report::default());
    let Some(quota) = view.quotas.by_key(key).cloned() else { return (plan, report) };
    if quota.metadata.is_deleting() {
        return (plan, report);
    }
    let hard = quota::read(&quota.spec["hard"]);
    let used = count(view, key, &quota.spec, &hard);
    let known = (quota::read(&quota.status["hard"]), quota::read(&quota.status["used"]));
    if known == (hard.clone(), used.clone()) {
        return (plan, report);
    }
    // Names that the quota no longer limits go from its status.
    let list = |amounts: &Amounts, before: &Amounts| -> Value {
        let mut all: Map<String, Value> = before
            .keys()
            .filter(|name| !hard.contains_key(*name))
            .map(|name| (name.clone(), Value::Null))
            .collect();
        all.extend(amounts.iter().map(|(name, amount)| (name.clone(), json!(amount.to_string()))));
        Value::Object(all)
    };
    plan.push(Action::Patch {
        target: key.clone(),
        subresource: Some("status"),
        patch: json!({"status": {"hard": list(&hard, &known.0), "used": list(&used, &known.1)}}),
        only_if: Precondition::unchanged(&quota.metadata),
    });
    (plan, report)
}

fn count(view: &View, key: &Key, spec: &Value, hard: &Amounts) -> Amounts {
    let mut used: Amounts = hard.keys().map(|name| (name.clone(), Quantity::ZERO)).collect();
    let mut take = |facts: &Facts| {
        if !facts.is_covered(spec) {
            return;
        }
        for (name, amount) in facts.usage() {
            if let Some(sum) = used.get_mut(&name) {
                // Nothing has no suffix of its own.
                *sum = if sum.is_zero() { amount } else { *sum + amount };
            }
        }
    };
    let namespace = &key.namespace;
    view.pods.in_namespace(namespace).iter().for_each(|pod| take(&of_pod(pod)));
    view.services.in_namespace(namespace).iter().for_each(|service| take(&of_service(service)));
    view.claims.in_namespace(namespace).iter().for_each(|claim| take(&of_claim(claim)));
    // Of everything else only the number of objects matters.
    let counted =
        |resource: &str| hard.contains_key(resource) || hard.contains_key(&format!("count/{resource}"));
    for object in view.objects.in_namespace(namespace) {
        let resource = &*object.resource;
        if counted(resource) && !matches!(resource, "pods" | "services" | "persistentvolumeclaims") {
            take(&Facts { resource: resource.to_owned(), ..Facts::default() });
        }
    }
    used
}

fn amounts(quantities: &Quantities) -> Amounts {
    let one = |(name, amount): (&Arc<str>, i64)| {
        let quantity = match &**name {
            "cpu" => Quantity::from_milli(amount),
            "memory" | "ephemeral-storage" => Quantity::from_bytes(amount),
            name if name.starts_with("hugepages-") => Quantity::from_bytes(amount),
            _ => Quantity::new(amount),
        };
        (name.to_string(), quantity)
    };
    quantities.iter().map(one).collect()
}

fn of_pod(pod: &Pod) -> Facts {
    let spec = &pod.spec;
    let computes =
        |list: &Quantities| list.iter().any(|(name, n)| n > 0 && matches!(&**name, "cpu" | "memory"));
    let facts = PodFacts {
        requests: amounts(&spec.requests),
        limits: amounts(&spec.limits),
        is_finished: pod.is_finished(),
        is_terminating: spec.active_deadline_seconds.is_some_and(|seconds| seconds >= 0),
        is_best_effort: !computes(&spec.requests) && !computes(&spec.limits),
        priority_class: spec.priority_class_name.to_string(),
        crosses_namespaces: spec.affinity.as_deref().is_some_and(quota::crosses_namespaces),
    };
    Facts { resource: "pods".to_owned(), pod: Some(facts), ..Facts::default() }
}

fn of_service(service: &Service) -> Facts {
    let ports = i64::try_from(service.spec.ports.len()).unwrap_or(i64::MAX);
    let facts = ServiceFacts { kind: service.spec.kind.to_string(), ports };
    Facts { resource: "services".to_owned(), service: Some(facts), ..Facts::default() }
}

fn of_claim(claim: &Claim) -> Facts {
    let facts = ClaimFacts { storage: Quantity::from_bytes(claim.wanted()), class: claim.class().to_owned() };
    Facts { resource: "persistentvolumeclaims".to_owned(), claim: Some(facts), ..Facts::default() }
}
