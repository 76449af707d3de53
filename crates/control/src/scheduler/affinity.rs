//! Inter-pod affinity and anti-affinity: which pods a pod wants in its domain, or must not share one with.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use dunlin_api::names::label;
use serde_json::Value;

use crate::labels;
use crate::model::Pod;

use super::snapshot::{Host, Snapshot};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// A topology key with one of its values.
type Domain = (Arc<str>, Arc<str>);

/// The required terms that concern one pod, with the domains where they hold.
pub(super) struct InterPod<'a> {
    affinity: Vec<&'a Value>,
    anti: Vec<&'a Value>,
    /// Domains with a pod that all affinity terms match.
    wanted: HashSet<Domain>,
    /// Domains with a pod that one of the anti-affinity terms matches.
    unwanted: HashSet<Domain>,
    /// Domains with a pod whose own anti-affinity matches this one.
    forbidden: HashSet<Domain>,
    /// Nothing runs that the affinity terms match, but the pod matches them itself: it may be the first.
    first: bool,
}

impl<'a> InterPod<'a> {
    pub(super) fn required(snapshot: &'a Snapshot, pod: &'a Pod) -> Self {
        let affinity = terms(pod, "podAffinity", REQUIRED);
        let anti = terms(pod, "podAntiAffinity", REQUIRED);
        let (mut wanted, mut unwanted, mut forbidden) = (HashSet::new(), HashSet::new(), HashSet::new());
        for host in concerned(snapshot, affinity.is_empty() && anti.is_empty()) {
            for other in host.pods.values() {
                if !affinity.is_empty() && affinity.iter().all(|term| matches(snapshot, term, pod, other)) {
                    wanted.extend(affinity.iter().filter_map(|term| domain(term, host)));
                }
                let hits = anti.iter().filter(|term| matches(snapshot, term, pod, other));
                unwanted.extend(hits.filter_map(|term| domain(term, host)));
                let theirs = terms(other, "podAntiAffinity", REQUIRED);
                let hits = theirs.iter().filter(|term| matches(snapshot, term, other, pod));
                forbidden.extend(hits.filter_map(|term| domain(term, host)));
            }
        }
        let first = wanted.is_empty() && affinity.iter().all(|term| matches(snapshot, term, pod, pod));
        Self { affinity, anti, wanted, unwanted, forbidden, first }
    }

    pub(super) fn refusal(&self, host: &Host) -> Option<&'static str> {
        let mut places = self.affinity.iter().map(|term| domain(term, host));
        if !places.all(|place| place.is_some_and(|place| self.first || self.wanted.contains(&place))) {
            return Some("node(s) didn't match pod affinity rules");
        }
        // Pods below one child cluster need not share a machine; the child sees to that.
        let apart = |key: &str| key == label::HOSTNAME && host.child().is_some();
        let mut shared =
            self.anti.iter().filter_map(|term| domain(term, host)).filter(|(key, _)| !apart(key));
        if shared.any(|place| self.unwanted.contains(&place)) {
            return Some("node(s) didn't match pod anti-affinity rules");
        }
        if self.forbidden.iter().any(|(key, value)| host.label(key) == Some(value) && !apart(key)) {
            return Some("node(s) didn't satisfy existing pods anti-affinity rules");
        }
        None
    }
}

/// Weights by domain of everything that inter-pod preferences say about a pod.
pub(super) fn preferences(snapshot: &Snapshot, pod: &Pod) -> HashMap<Domain, i64> {
    let mut weights = HashMap::new();
    let sorts = [("podAffinity", 1), ("podAntiAffinity", -1)];
    let own: Vec<_> = sorts.iter().map(|(sort, sign)| (terms(pod, sort, PREFERRED), *sign)).collect();
    let indifferent = own.iter().all(|(terms, _)| terms.is_empty());
    for host in concerned(snapshot, indifferent) {
        for other in host.pods.values() {
            for (terms, sign) in &own {
                weigh(&mut weights, snapshot, terms, *sign, pod, other, host);
            }
            for (sort, sign) in sorts {
                let theirs = terms(other, sort, PREFERRED);
                weigh(&mut weights, snapshot, &theirs, sign, other, pod, host);
            }
            // Hard affinity of others draws a little, as kube-scheduler's hardPodAffinityWeight 1.
            for term in terms(other, "podAffinity", REQUIRED) {
                if matches(snapshot, term, other, pod)
                    && let Some(place) = domain(term, host)
                {
                    *weights.entry(place).or_default() += 1;
                }
            }
        }
    }
    weights
}

/// Hosts whose pods can matter to a pod: all, or those with pods that have terms of their own if it has none.
fn concerned(snapshot: &Snapshot, indifferent: bool) -> Box<dyn Iterator<Item = &Host> + '_> {
    match indifferent {
        true => Box::new(snapshot.choosy_hosts()),
        false => Box::new(snapshot.hosts()),
    }
}

fn weigh(
    weights: &mut HashMap<Domain, i64>,
    snapshot: &Snapshot,
    terms: &[&Value],
    sign: i64,
    of: &Pod,
    other: &Pod,
    host: &Host,
) {
    for weighted in terms {
        let term = &weighted["podAffinityTerm"];
        if matches(snapshot, term, of, other)
            && let Some(place) = domain(term, host)
        {
            *weights.entry(place).or_default() += sign * weighted["weight"].as_i64().unwrap_or(0);
        }
    }
}

fn terms<'p>(pod: &'p Pod, sort: &str, when: &str) -> Vec<&'p Value> {
    let affinity = pod.spec.affinity.as_deref();
    affinity.and_then(|a| a[sort][when].as_array()).into_iter().flatten().collect()
}

fn domain(term: &Value, host: &Host) -> Option<Domain> {
    let key = term["topologyKey"].as_str()?;
    host.node().metadata.labels.get_key_value(key).map(|(key, value)| (key.clone(), value.clone()))
}

/// Whether `other` is one of the pods that a term of `of` means.
fn matches(snapshot: &Snapshot, term: &Value, of: &Pod, other: &Pod) -> bool {
    let selector = &term["namespaceSelector"];
    let mut named = term["namespaces"].as_array().into_iter().flatten().filter_map(Value::as_str).peekable();
    let of_namespace = if named.peek().is_none() && selector.is_null() {
        of.metadata.namespace == other.metadata.namespace
    } else {
        let empty = crate::model::Labels::new();
        let labels = snapshot.namespace_labels(&other.metadata.namespace).unwrap_or(&empty);
        named.any(|name| name == &*other.metadata.namespace) || labels::matches(selector, labels)
    };
    let keys =
        |name: &str| term[name].as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(Value::as_str);
    let same = |key: &str| of.metadata.labels.get(key) == other.metadata.labels.get(key);
    let has = |key: &str| of.metadata.labels.contains_key(key);
    of_namespace
        && labels::matches(&term["labelSelector"], &other.metadata.labels)
        && keys("matchLabelKeys").all(|key| !has(key) || same(key))
        && keys("mismatchLabelKeys").all(|key| !has(key) || !same(key))
}
