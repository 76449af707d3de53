//! Orders of the snapshot's hosts that are kept up change by change, so that a decision need not look at every node.
//!
//! It also knows which nodes are kept free for pods that evicted others there (`status.nominatedNodeName`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use dunlin_api::names::{annotation, label};

use crate::model::{Pod, Quantities};

use super::policy::nearest::Position;
use super::snapshot::{Host, Snapshot};

/// What the index holds about one host, to take it out again.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    free_cpu: i64,
    area: Arc<str>,
    position: Option<Position>,
    choosy: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    rows: HashMap<Arc<str>, Row>,
    /// Names of hosts with a node, sorted.
    names: Vec<Arc<str>>,
    by_free_cpu: BTreeSet<(i64, Arc<str>)>,
    /// Hosts by `dunlin.io/area`, "" for none, each with its position if it has one.
    areas: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Option<Position>>>,
    /// Hosts with pods that have inter-pod affinity or anti-affinity.
    choosy: BTreeSet<Arc<str>>,
    /// Uid of a controlling owner to how many of its pods each host has.
    owners: HashMap<Arc<str>, HashMap<Arc<str>, i64>>,
    /// Uid to the pod and the node that is kept for it.
    nominated: HashMap<Arc<str>, (Arc<Pod>, Arc<str>)>,
}

impl Index {
    /// Takes a host's newest state in; one without a node is not offered.
    pub(super) fn update(&mut self, host: &Host, offered: bool) {
        let name = host.name();
        let row = offered.then(|| Row {
            free_cpu: host.node().status.allocatable.get("cpu") - host.used().get("cpu"),
            area: host.label(label::AREA).cloned().unwrap_or_default(),
            position: host
                .node()
                .metadata
                .annotations
                .get(annotation::POSITION)
                .and_then(|p| Position::parse(p)),
            choosy: host.choosy > 0,
        });
        let old = self.rows.get(name);
        if old == row.as_ref() {
            return;
        }
        if let Some(old) = self.rows.remove(name) {
            self.take(name, &old, row.is_none());
        }
        if let Some(row) = row {
            if let Err(at) = self.names.binary_search(name) {
                self.names.insert(at, name.clone());
            }
            self.by_free_cpu.insert((row.free_cpu, name.clone()));
            self.areas.entry(row.area.clone()).or_default().insert(name.clone(), row.position);
            if row.choosy {
                self.choosy.insert(name.clone());
            }
            self.rows.insert(name.clone(), row);
        }
    }

    fn take(&mut self, name: &Arc<str>, old: &Row, gone: bool) {
        if gone && let Ok(at) = self.names.binary_search(name) {
            self.names.remove(at);
        }
        self.by_free_cpu.remove(&(old.free_cpu, name.clone()));
        if let Some(area) = self.areas.get_mut(&old.area) {
            area.remove(name);
            if area.is_empty() {
                self.areas.remove(&old.area);
            }
        }
        self.choosy.remove(name);
    }

    /// Counts a pod that came to a host.
    pub(super) fn came(&mut self, node: &Arc<str>, pod: &Pod) {
        if let Some(owner) = pod.metadata.controller() {
            *self.owners.entry(owner.uid.clone()).or_default().entry(node.clone()).or_default() += 1;
        }
    }

    /// Counts a pod that is about to leave its host.
    pub(super) fn left(&mut self, host: &Host, uid: &str) {
        let Some(owner) = host.pods.get(uid).and_then(|pod| pod.metadata.controller()) else { return };
        let Some(hosts) = self.owners.get_mut(&owner.uid) else { return };
        if let Some(count) = hosts.get_mut(host.name()) {
            *count -= 1;
            if *count == 0 {
                hosts.remove(host.name());
            }
        }
        if hosts.is_empty() {
            self.owners.remove(&owner.uid);
        }
    }

    /// Keeps `node` for `pod`, or nothing if `node` is empty or the pod does not wait any more.
    pub(super) fn nominate(&mut self, pod: &Arc<Pod>, node: &Arc<str>) {
        if node.is_empty() || !pod.spec.node_name.is_empty() || !pod.is_active() {
            self.forget(&pod.metadata.uid);
        } else {
            self.nominated.insert(pod.metadata.uid.clone(), (pod.clone(), node.clone()));
        }
    }

    pub(super) fn forget(&mut self, uid: &str) {
        self.nominated.remove(uid);
    }
}

impl Snapshot {
    /// Counts room on `node` as taken for all pods of no higher priority, until `pod` is placed or gone.
    pub fn nominate(&mut self, pod: &Arc<Pod>, node: &Arc<str>) {
        self.index.nominate(pod, node);
    }

    pub(super) fn host_named(&self, name: &str) -> Option<&Host> {
        self.hosts.get(name).map(|host| &**host).filter(|host| host.is_offered())
    }

    /// How many nodes there are.
    pub(super) fn len(&self) -> usize {
        self.index.names.len()
    }

    /// All hosts once, by name, beginning at one that `luck` chooses.
    pub(super) fn hosts_from(&self, luck: u64) -> impl Iterator<Item = &Host> {
        let start =
            self.index.names.get((luck % self.len().max(1) as u64) as usize).cloned().unwrap_or_default();
        let (before, after) = (self.hosts.range(..start.clone()), self.hosts.range(start..));
        after.chain(before).map(|(_, host)| &**host).filter(|host| host.is_offered())
    }

    /// Hosts with at least `cpu` free, the fullest first.
    pub(super) fn hosts_by_free_cpu(&self, cpu: i64) -> impl Iterator<Item = &Host> {
        let enough = self.index.by_free_cpu.range((cpu, "".into())..);
        enough.filter_map(|(_, name)| self.hosts.get(name).map(|host| &**host))
    }

    /// Areas with their hosts and those hosts' positions; the area "" holds hosts that are in none.
    pub(super) fn areas(&self) -> &BTreeMap<Arc<str>, BTreeMap<Arc<str>, Option<Position>>> {
        &self.index.areas
    }

    /// How many pods of a controlling owner each host has; none if no host has one.
    pub(super) fn siblings(&self, owner: &str) -> Option<&HashMap<Arc<str>, i64>> {
        self.index.owners.get(owner)
    }

    /// Hosts with pods that have inter-pod affinity or anti-affinity.
    pub(super) fn choosy_hosts(&self) -> impl Iterator<Item = &Host> {
        self.index.choosy.iter().filter_map(|name| self.hosts.get(name).map(|host| &**host))
    }

    /// What is kept on `host` for other pods that `pod` must not overtake; none if nothing is.
    pub(super) fn kept(&self, host: &Host, pod: &Pod) -> Option<(Quantities, i64)> {
        if self.index.nominated.is_empty() {
            return None;
        }
        let (mut sum, mut count) = (Quantities::default(), 0);
        for (other, node) in self.index.nominated.values() {
            if node == host.name()
                && other.metadata.uid != pod.metadata.uid
                && other.spec.priority >= pod.spec.priority
                && !host.pods.contains_key(&other.metadata.uid)
            {
                sum.add(&other.spec.requests);
                count += 1;
            }
        }
        (count > 0).then_some((sum, count))
    }
}
