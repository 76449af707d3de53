//! Which hosts a policy chooses from: the first ones in its order that can take the pod, as many as are enough.
//!
//! Reasons are words, and making words costs; so hosts that are plainly too full are passed over first, and reasons are
//! asked for only when there is no host at all.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::model::Pod;

use super::WhyNot;
use super::filter::Rules;
use super::policy::Policy;
use super::snapshot::{Host, Snapshot};

pub(super) fn able<'a>(
    snapshot: &'a Snapshot,
    pod: &'a Pod,
    policy: Policy,
    rules: &Rules<'_>,
    seed: u64,
) -> Vec<&'a Host> {
    let order = match named(pod) {
        Some(names) => Box::new(names.into_iter().filter_map(|name| snapshot.host_named(name))),
        None => (policy.rules().order)(snapshot, pod, seed),
    };
    let wanted = (pod.spec.requests.get("cpu"), pod.spec.requests.get("memory"));
    let fits = |host: &&Host| host.room.takes(wanted) && refusals(snapshot, pod, rules, host).is_empty();
    order.filter(fits).take(policy.enough(snapshot.len())).collect()
}

/// The only nodes that the pod can be on, if it names them, as every pod of a DaemonSet does: the others need no look.
fn named(pod: &Pod) -> Option<BTreeSet<&str>> {
    let required =
        &pod.spec.affinity.as_ref()?["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let mut names = BTreeSet::new();
    for term in required["nodeSelectorTerms"].as_array()? {
        let mut fields = term["matchFields"].as_array().into_iter().flatten();
        let field = fields.find(|field| field["key"] == "metadata.name" && field["operator"] == "In")?;
        names.extend(field["values"].as_array()?.iter().filter_map(Value::as_str));
    }
    Some(names)
}

/// Why a host cannot take the pod; empty if it can.
pub(super) fn refusals(snapshot: &Snapshot, pod: &Pod, rules: &Rules<'_>, host: &Host) -> Vec<String> {
    let refusals = rules.refusals(host);
    if !refusals.is_empty() {
        return refusals;
    }
    let Some((kept, pods)) = snapshot.kept(host, pod) else { return refusals };
    let has = &host.node().status.allocatable;
    let free = |name: &str| has.get(name) - host.used().get(name) - kept.get(name);
    let lacks = has.get("pods") - host.count() - pods < 1
        || pod.spec.requests.iter().any(|(name, amount)| amount > 0 && amount > free(name));
    match lacks {
        true => vec!["node(s) had room only for pods that evicted others there".to_owned()],
        false => refusals,
    }
}

/// Why none of all hosts can take the pod.
pub(super) fn why_none(snapshot: &Snapshot, pod: &Pod, rules: &Rules<'_>) -> WhyNot {
    let mut why = WhyNot::default();
    for host in snapshot.hosts() {
        why.refused(refusals(snapshot, pod, rules, host));
    }
    why
}
