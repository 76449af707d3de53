//! `external`: an HTTP scheduler in any language decides, by the standard scheduler extender protocol
//! (`k8s.io/kube-scheduler/extender/v1`: `ExtenderArgs`, `ExtenderFilterResult`, `HostPriorityList`).
//!
//! Nodes that the filters leave are offered; what the answers leave is ranked by the answered scores, and `balanced`
//! decides between equal ones. Asking is the driver's. Answers are read as Go reads them: names of fields in any case.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Policy, Round, balanced};
use crate::model::Pod;
use crate::scheduler::filter::Rules;
use crate::scheduler::snapshot::Snapshot;
use crate::scheduler::{WhyNot, candidates};

/// An answer may be as long as its limit; what of it gets into conditions is not.
const LONGEST: usize = 200;

/// What the external scheduler said about the nodes that it was offered; `None` where it does not answer such requests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answers {
    pub filter: Option<Filtered>,
    pub priorities: Option<BTreeMap<Arc<str>, i64>>,
}

/// `ExtenderFilterResult`: who may take the pod, and why others may not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filtered {
    pub nodes: BTreeSet<Arc<str>>,
    pub failed: BTreeMap<Arc<str>, String>,
}

/// The nodes to offer.
///
/// # Errors
/// When no node can take the pod whatever anybody says.
pub fn candidates(snapshot: &Snapshot, pod: &Pod, seed: u64) -> Result<Vec<Arc<str>>, WhyNot> {
    let rules = Rules::new(snapshot, pod);
    let able = candidates::able(snapshot, pod, Policy::External, &rules, seed);
    match able.is_empty() {
        true => Err(candidates::why_none(snapshot, pod, &rules)),
        false => Ok(able.iter().map(|host| host.name().clone()).collect()),
    }
}

/// `ExtenderArgs` for filter and prioritize: whole objects for schedulers that know nothing of the cluster, names for
/// those that keep a cache (`nodeCacheCapable`).
pub fn arguments(pod: &Value, nodes: &[Value]) -> Value {
    let names: Vec<&Value> = nodes.iter().map(|node| &node["metadata"]["name"]).collect();
    json!({
        "Pod": pod,
        "Nodes": {"kind": "NodeList", "apiVersion": "v1", "metadata": {}, "items": nodes},
        "NodeNames": names,
    })
}

/// `ExtenderBindingArgs`.
pub fn binding(pod: &Pod, node: &str) -> Value {
    let meta = &pod.metadata;
    json!({"PodName": meta.name, "PodNamespace": meta.namespace, "PodUID": meta.uid, "Node": node})
}

/// Reads an `ExtenderFilterResult`.
///
/// # Errors
/// When it is none, tells of an error, or names neither nodes nor why there are none.
pub fn read_filter(answer: &Value) -> Result<Filtered, String> {
    let answer = fields(answer).ok_or("its answer to filter is no JSON object")?;
    refused(&answer)?;
    let mut filtered = Filtered::default();
    let names = answer.get("nodenames").and_then(|names| names.as_array());
    let nodes =
        answer.get("nodes").and_then(|nodes| fields(nodes)).and_then(|list| list.get("items")?.as_array());
    if names.is_none() && nodes.is_none() {
        return Err("its answer to filter has neither NodeNames nor Nodes".to_owned());
    }
    let listed =
        names.into_iter().flatten().chain(nodes.into_iter().flatten().map(|node| &node["metadata"]["name"]));
    filtered.nodes.extend(listed.filter_map(Value::as_str).map(Arc::from));
    for name in ["failednodes", "failedandunresolvablenodes"] {
        let failed = answer.get(name).and_then(|failed| failed.as_object()).into_iter().flatten();
        let reason = |value: &Value| short(value.as_str().unwrap_or_default());
        filtered.failed.extend(failed.map(|(node, why)| (Arc::from(node.as_str()), reason(why))));
    }
    Ok(filtered)
}

/// Reads a `HostPriorityList`.
///
/// # Errors
/// When it is none.
pub fn read_priorities(answer: &Value) -> Result<BTreeMap<Arc<str>, i64>, String> {
    let wrong = || "its answer to prioritize is no list of {Host, Score}".to_owned();
    // Go writes an empty list as null.
    let list = if answer.is_null() { &[][..] } else { answer.as_array().ok_or_else(wrong)? };
    let read = |entry: &Value| {
        let entry = fields(entry)?;
        Some((Arc::from(entry.get("host")?.as_str()?), entry.get("score")?.as_i64()?))
    };
    list.iter().map(|entry| read(entry).ok_or_else(wrong)).collect()
}

/// Reads an `ExtenderBindingResult`.
///
/// # Errors
/// When the pod was not bound.
pub fn read_binding(answer: &Value) -> Result<(), String> {
    fields(answer).map_or(Ok(()), |answer| refused(&answer))
}

/// Chooses among the nodes that the answers leave and that can still take the pod.
///
/// # Errors
/// When there is none, or the answers speak of a node that was not offered.
pub fn choose(
    snapshot: &Snapshot,
    pod: &Pod,
    offered: &[Arc<str>],
    answers: &Answers,
    seed: u64,
) -> Result<Arc<str>, WhyNot> {
    let known: BTreeSet<&Arc<str>> = offered.iter().collect();
    let filtered = answers.filter.as_ref();
    let foreign = filtered.into_iter().flat_map(|f| &f.nodes).find(|name| !known.contains(name));
    if let Some(name) = foreign {
        return Err(failed(&format!("it answered with node {:?}, which it was not offered", short(name))));
    }
    let rules = Rules::new(snapshot, pod);
    let (mut able, mut why) = (Vec::new(), WhyNot::default());
    for host in offered.iter().filter_map(|name| snapshot.host_named(name)) {
        let mut reasons = candidates::refusals(snapshot, pod, &rules, host);
        if let Some(filtered) = filtered.filter(|f| reasons.is_empty() && !f.nodes.contains(host.name())) {
            let said = filtered.failed.get(host.name()).filter(|reason| !reason.is_empty());
            reasons.push(
                said.cloned().unwrap_or_else(|| "node(s) were filtered out by the external scheduler".into()),
            );
        }
        if reasons.is_empty() {
            able.push(host);
        }
        why.refused(reasons);
    }
    let round = Round { snapshot, pod, able: &able };
    let own = balanced::rank(&round).scores;
    let said = |at: usize| answers.priorities.as_ref()?.get(able[at].name()).copied();
    let score = |at: usize| (said(at).unwrap_or(0), own[at]);
    let highest = (0..able.len()).map(score).max();
    let ties: Vec<i64> = (0..able.len()).map(|at| i64::from(Some(score(at)) == highest)).collect();
    round.best(&ties, seed).map(|best| able[best].name().clone()).ok_or(why)
}

/// Why the pod waits although nodes might take it: the external scheduler failed, and nobody decides in its place.
pub fn failed(error: &str) -> WhyNot {
    WhyNot::because(format!("the external scheduler failed: {}", short(error)))
}

fn refused(answer: &BTreeMap<String, &Value>) -> Result<(), String> {
    let error = answer.get("error").and_then(|error| error.as_str()).filter(|error| !error.is_empty());
    error.map_or(Ok(()), |error| Err(format!("it answered: {}", short(error))))
}

fn fields(value: &Value) -> Option<BTreeMap<String, &Value>> {
    Some(value.as_object()?.iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect())
}

fn short(text: &str) -> String {
    let mut cut: String = text.chars().take(LONGEST).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}
