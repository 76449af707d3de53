//! `group`: all pods of a group are placed at once and close together, or none is.
//!
//! A group is the pods of one namespace with the same label `dunlin.io/group`; `dunlin.io/group-size` says how many
//! there must be. They go on one node if one can take them all, else on nodes of one domain: an area, where nodes have
//! one, else a zone, else (nodes with neither) the rest of the cluster. Pods that come later go to where the others are.
//! Within a domain pods are placed one after the other, the largest first, on nodes that have some of the group already
//! if they fit; this finds a place where there is one almost always, and not always, since bin packing is hard.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dunlin_api::names::{annotation, label};

use super::{Round, bin_pack};
use crate::model::{Pod, Quantities};
use crate::scheduler::filter::Rules;
use crate::scheduler::snapshot::{Host, Snapshot};
use crate::scheduler::{WhyNot, candidates, is_pending};
use crate::view::Table;

/// A group larger than this is a mistake: it is placed in one decision, during which nothing else is.
const LARGEST: usize = 1000;
/// How many single nodes are tried for a whole group before it is spread over a domain.
const TRIES: usize = 50;
/// Draws pods to nodes that hold some of the group; no sum of preferences and fullness reaches it.
const TOGETHER: i64 = 10_000;

/// A group as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Members {
    pub name: Arc<str>,
    /// How many pods there must be before any is placed.
    pub size: usize,
    /// By name.
    pub waiting: Vec<Arc<Pod>>,
    /// Nodes of those that have one.
    pub nodes: Vec<Arc<str>>,
}

/// Pods with the node of each.
pub type Placements = Vec<(Arc<Pod>, Arc<str>)>;

/// The group that a pod is in.
pub fn name(pod: &Pod) -> Option<&Arc<str>> {
    pod.metadata.labels.get(label::GROUP).filter(|name| !name.is_empty())
}

/// The group of `pod`.
///
/// # Errors
/// When the size that it states is none.
pub fn members(pods: &Table<Pod>, snapshot: &Snapshot, pod: &Pod) -> Result<Members, WhyNot> {
    let group = name(pod).cloned().unwrap_or_default();
    let mut members = Members { size: size(pod)?, name: group, waiting: Vec::new(), nodes: Vec::new() };
    for other in pods.in_namespace(&pod.metadata.namespace) {
        if name(&other) != Some(&members.name) || !other.is_active() {
            continue;
        }
        match snapshot.node_of(&other.metadata.uid) {
            Some(node) => members.nodes.push(node.clone()),
            None if is_pending(&other) => members.waiting.push(other),
            None => {}
        }
    }
    Ok(members)
}

fn size(pod: &Pod) -> Result<usize, WhyNot> {
    let text = pod.metadata.annotations.get(annotation::GROUP_SIZE).map_or("", |text| text);
    text.parse().ok().filter(|size| (1..=LARGEST).contains(size)).ok_or_else(|| {
        let name = annotation::GROUP_SIZE;
        WhyNot::because(format!("annotation {name}: {text:?} is no whole number from 1 to {LARGEST}"))
    })
}

/// Nodes for all that wait, or for none.
///
/// # Errors
/// When pods are missing, and when no node and no domain can take all.
pub fn place_group(snapshot: &Snapshot, group: &Members, seed: u64) -> Result<Placements, WhyNot> {
    let (name, waiting, there) = (&group.name, group.waiting.len(), group.nodes.len());
    if waiting + there < group.size {
        let there = waiting + there;
        return Err(WhyNot::because(format!(
            "group {name:?} waits for {} of its {} pods",
            group.size - there,
            group.size
        )));
    }
    let mut pods = group.waiting.clone();
    let weight = |pod: &Pod| Reverse((pod.spec.requests.get("cpu"), pod.spec.requests.get("memory")));
    pods.sort_by_key(|pod| (weight(pod), pod.metadata.name.clone()));

    // Everything is tried on a copy, which goes when this returns.
    let mut trial = Trial { snapshot: snapshot.clone(), near: group.nodes.iter().cloned().collect(), seed };
    for node in single_nodes(snapshot, group) {
        if let Ok(nodes) = trial.place(&pods, std::slice::from_ref(&node)) {
            return Ok(pods.into_iter().zip(nodes).collect());
        }
    }
    let mut nearest: Option<(usize, String, WhyNot)> = None;
    for (domain, hosts) in domains(snapshot, group) {
        match trial.place(&pods, &hosts) {
            Ok(nodes) => return Ok(pods.into_iter().zip(nodes).collect()),
            Err((placed, why)) if nearest.as_ref().is_none_or(|(most, ..)| placed > *most) => {
                nearest = Some((placed, domain, why));
            }
            Err(_) => {}
        }
    }
    let Some((placed, domain, mut why)) = nearest else { return Err(WhyNot::default()) };
    let after = if there > 0 { format!(", where {there} are already,") } else { String::new() };
    why.because = Some(format!(
        "group {name:?} fits nowhere whole: {domain}{after} has places for {placed} of {waiting} pods"
    ));
    Err(why)
}

/// A copy of the snapshot on which placements are tried and taken back.
struct Trial {
    snapshot: Snapshot,
    /// Nodes with pods of the group.
    near: BTreeSet<Arc<str>>,
    seed: u64,
}

impl Trial {
    /// A node out of `hosts` for every pod; else how many found one, and why the next did not.
    fn place(&mut self, pods: &[Arc<Pod>], hosts: &[Arc<str>]) -> Result<Vec<Arc<str>>, (usize, WhyNot)> {
        let mut chosen: Vec<Arc<str>> = Vec::new();
        let mut failed = None;
        for pod in pods {
            match self.next(pod, hosts, &chosen) {
                Ok(node) => {
                    self.snapshot.assume(pod, &node);
                    chosen.push(node);
                }
                Err(why) => {
                    failed = Some(why);
                    break;
                }
            }
        }
        for pod in pods {
            self.snapshot.forget(&pod.metadata.uid);
        }
        failed.map_or(Ok(()), Err).map_err(|why| (chosen.len(), why))?;
        Ok(chosen)
    }

    fn next(&self, pod: &Pod, hosts: &[Arc<str>], chosen: &[Arc<str>]) -> Result<Arc<str>, WhyNot> {
        let rules = Rules::new(&self.snapshot, pod);
        let mut why = WhyNot::default();
        let mut able = Vec::new();
        for host in hosts.iter().filter_map(|name| self.snapshot.host_named(name)) {
            let reasons = candidates::refusals(&self.snapshot, pod, &rules, host);
            if reasons.is_empty() {
                able.push(host);
            }
            why.refused(reasons);
        }
        let round = Round { snapshot: &self.snapshot, pod, able: &able };
        let mut scores = bin_pack::rank(&round).scores;
        for (score, host) in scores.iter_mut().zip(&able) {
            *score +=
                if self.near.contains(host.name()) || chosen.contains(host.name()) { TOGETHER } else { 0 };
        }
        round.best(&scores, self.seed).map(|best| able[best].name().clone()).ok_or(why)
    }
}

/// Nodes that may take all that wait, the fullest first; only the one where the others are if they share one.
fn single_nodes(snapshot: &Snapshot, group: &Members) -> Vec<Arc<str>> {
    if let Some(first) = group.nodes.first() {
        let shared = group.nodes.iter().all(|node| node == first);
        return if shared { vec![first.clone()] } else { Vec::new() };
    }
    let mut sum = Quantities::default();
    for pod in &group.waiting {
        sum.add(&pod.spec.requests);
    }
    let count = i64::try_from(group.waiting.len()).unwrap_or(i64::MAX);
    let fits = |host: &&Host| {
        let has = &host.node().status.allocatable;
        let free = |name: &str| has.get(name) - host.used().get(name);
        has.get("pods") - host.count() >= count && sum.iter().all(|(name, wanted)| wanted <= free(name))
    };
    let fitting = snapshot.hosts_by_free_cpu(sum.get("cpu")).filter(fits);
    fitting.take(TRIES).map(|host| host.name().clone()).collect()
}

/// Domains with their nodes, the one with most free CPU first; only those where the others are, if there are some.
fn domains(snapshot: &Snapshot, group: &Members) -> Vec<(String, Vec<Arc<str>>)> {
    let mut domains: BTreeMap<String, (i64, bool, Vec<Arc<str>>)> = BTreeMap::new();
    for host in snapshot.hosts() {
        let (free, ours, names) = domains.entry(domain(host)).or_default();
        *free += host.node().status.allocatable.get("cpu") - host.used().get("cpu");
        *ours |= group.nodes.contains(host.name());
        names.push(host.name().clone());
    }
    let settled = domains.values().any(|(_, ours, _)| *ours);
    let mut domains: Vec<_> = domains.into_iter().filter(|(_, (_, ours, _))| *ours || !settled).collect();
    domains.sort_by_key(|(_, (free, ..))| Reverse(*free));
    domains.into_iter().map(|(name, (_, _, names))| (name, names)).collect()
}

fn domain(host: &Host) -> String {
    match (host.label(label::AREA), host.label(label::ZONE)) {
        (Some(area), _) => format!("area {area}"),
        (None, Some(zone)) => format!("zone {zone}"),
        (None, None) => "the set of nodes without area and zone".to_owned(),
    }
}
