//! The nodes with what is taken on them, kept up pod by pod.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use dunlin_api::names::{annotation, label};

use crate::model::{
    Claim, Cluster, Held, Key, Labels, Node, PersistentVolume, Pod, Quantities, RuntimeClass, StorageClass,
};

/// How long a refusal of a child cluster holds at first, and at most, in seconds; each further one doubles it.
const REFUSED: (i64, i64) = (5, 300);

use super::index::Index;
use super::room::Room;
use super::volumes::Storage;

/// What a container without requests counts as when nodes are scored: kube-scheduler's numbers.
const UNKNOWN_CPU: i64 = 100;
const UNKNOWN_MEMORY: i64 = 200 * 1024 * 1024;

/// One node and the pods that are placed on it.
#[derive(Debug, Clone, Default)]
pub struct Host {
    name: Arc<str>,
    node: Option<Arc<Node>>,
    /// What the cluster says of itself that the node stands for.
    child: Option<Arc<Cluster>>,
    pub(super) used: Quantities,
    /// CPU and memory in use, with a guess for pods that request none.
    pub(super) guessed: (i64, i64),
    pub(super) pods: BTreeMap<Arc<str>, Arc<Pod>>,
    /// How many of the pods have inter-pod affinity or anti-affinity.
    pub(super) choosy: usize,
    pub(super) room: Room,
}

impl Host {
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The node; hosts without one are not offered.
    pub fn node(&self) -> &Node {
        self.node.as_ref().expect("only hosts with a node are listed")
    }

    /// The child cluster that the node stands for, if it does.
    pub fn child(&self) -> Option<&Cluster> {
        self.child.as_deref()
    }

    pub(super) fn is_offered(&self) -> bool {
        self.node.is_some()
    }

    pub fn label(&self, key: &str) -> Option<&Arc<str>> {
        self.node().metadata.labels.get(key)
    }

    /// The pods that are placed here.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.values()
    }

    /// What all placed pods request together.
    pub fn used(&self) -> &Quantities {
        &self.used
    }

    pub(super) fn count(&self) -> i64 {
        i64::try_from(self.pods.len()).unwrap_or(i64::MAX)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    fn add(&mut self, pod: Arc<Pod>) {
        self.used.add(&pod.spec.requests);
        let (cpu, memory) = guess(&pod);
        self.guessed = (self.guessed.0 + cpu, self.guessed.1 + memory);
        self.choosy += usize::from(is_choosy(&pod));
        self.pods.insert(pod.metadata.uid.clone(), pod);
        self.room.count(&self.used, self.pods.len());
    }

    fn take(&mut self, uid: &str) {
        if let Some(pod) = self.pods.remove(uid) {
            self.used.subtract(&pod.spec.requests);
            let (cpu, memory) = guess(&pod);
            self.guessed = (self.guessed.0 - cpu, self.guessed.1 - memory);
            self.choosy -= usize::from(is_choosy(&pod));
            self.room.count(&self.used, self.pods.len());
        }
    }
}

/// CPU (milli) and memory (bytes) that a pod probably uses.
pub(super) fn guess(pod: &Pod) -> (i64, i64) {
    let amount = |name, unknown| Some(pod.spec.requests.get(name)).filter(|a| *a > 0).unwrap_or(unknown);
    (amount("cpu", UNKNOWN_CPU), amount("memory", UNKNOWN_MEMORY))
}

fn is_choosy(pod: &Pod) -> bool {
    let affinity = pod.spec.affinity.as_deref();
    affinity.is_some_and(|a| a["podAffinity"].is_object() || a["podAntiAffinity"].is_object())
}

/// All nodes, and where every unfinished pod is placed or assumed to be. A copy shares hosts until one of them changes,
/// so that a plan of several steps is tried on a copy.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub(super) hosts: BTreeMap<Arc<str>, Arc<Host>>,
    pub(super) index: Index,
    /// Pod uid to the name of its host and whether that is only assumed.
    placed: HashMap<Arc<str>, (Arc<str>, bool)>,
    namespaces: HashMap<Arc<str>, Labels>,
    storage: Arc<Storage>,
    runtime_classes: BTreeMap<Arc<str>, Arc<RuntimeClass>>,
    /// What child clusters refused: by node, then by workload.
    refused: HashMap<Arc<str>, HashMap<Arc<str>, Refusal>>,
}

/// A child's answer that holds for a while.
#[derive(Debug, Clone)]
struct Refusal {
    why: Arc<str>,
    until: i64,
    times: u32,
}

/// What pods of one controller have in common: a cluster that refused one of them will refuse the next.
fn workload(pod: &Pod) -> &Arc<str> {
    pod.metadata.controller().map_or(&pod.metadata.uid, |owner| &owner.uid)
}

impl Snapshot {
    /// Nodes by name.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values().map(|host| &**host).filter(|host| host.node.is_some())
    }

    /// Takes the newest state of a node; returns whether pods may fit now that did not before.
    pub fn set_node(&mut self, node: Arc<Node>) -> bool {
        let host = self.host(&node.metadata.name.clone());
        let same = host.node.as_ref().is_some_and(|old| {
            old.spec.taints == node.spec.taints
                && old.spec.unschedulable == node.spec.unschedulable
                && old.metadata.labels == node.metadata.labels
                && old.metadata.annotations.get(annotation::VOLUMES)
                    == node.metadata.annotations.get(annotation::VOLUMES)
                && old.status.runtime_handlers == node.status.runtime_handlers
                && old.status.allocatable == node.status.allocatable
        });
        let name = host.name.clone();
        host.room = Room::new(&node, &host.used, host.pods.len());
        host.node = Some(node);
        self.reindex(&name);
        !same
    }

    /// Takes what a child cluster says of itself; returns whether pods may fit now that did not before. Refusals of an
    /// older state do not count any more.
    pub fn set_child(&mut self, child: Arc<Cluster>) -> bool {
        let name = child.metadata.name.clone();
        let host = self.host(&name);
        let same = host.child.as_ref().is_some_and(|old| {
            old.status.pools == child.status.pools && old.status.labels == child.status.labels
        });
        host.child = Some(child);
        if !same {
            self.refused.remove(&name);
        }
        !same
    }

    pub fn remove_child(&mut self, name: &str) {
        if let Some(host) = self.hosts.get_mut(name) {
            Arc::make_mut(host).child = None;
        }
        self.refused.remove(name);
        self.drop_empty(name);
    }

    /// Remembers that the cluster behind `node` has no place for pods like this one; returns until when.
    pub fn refuse(&mut self, pod: &Pod, node: &Arc<str>, why: &str, now: i64) -> i64 {
        let of_node = self.refused.entry(node.clone()).or_default();
        let times = of_node.get(workload(pod)).map_or(0, |refusal| refusal.times);
        let until = now + (REFUSED.0 << times.min(10)).min(REFUSED.1);
        let refusal = Refusal { why: why.into(), until, times: times.saturating_add(1) };
        of_node.insert(workload(pod).clone(), refusal);
        until
    }

    /// Lets refusals go whose time is over, and returns when the next one's is; they are forgotten once they were not
    /// repeated for long.
    pub fn forgive(&mut self, now: i64) -> Option<i64> {
        for refusals in self.refused.values_mut() {
            refusals.retain(|_, refusal| now < refusal.until + REFUSED.1);
            for refusal in refusals.values_mut().filter(|refusal| refusal.until <= now) {
                refusal.why = "".into();
            }
        }
        self.refused.retain(|_, refusals| !refusals.is_empty());
        let all = self.refused.values().flat_map(HashMap::values);
        all.map(|refusal| refusal.until).filter(|until| *until > now).min()
    }

    /// Whether the node stands for a child cluster, which has to be asked before a pod is bound to it.
    pub fn is_child(&self, node: &str) -> bool {
        self.hosts.get(node).is_some_and(|host| {
            host.child.is_some()
                || host
                    .node
                    .as_ref()
                    .is_some_and(|node| node.metadata.labels.contains_key(label::VIRTUAL_NODE))
        })
    }

    /// Why the cluster behind `node` refused pods like this one, while that holds.
    pub(super) fn refusal(&self, pod: &Pod, node: &str) -> Option<&str> {
        let refusal = self.refused.get(node)?.get(workload(pod))?;
        Some(&*refusal.why).filter(|why| !why.is_empty())
    }

    pub fn remove_node(&mut self, name: &str) {
        if let Some(host) = self.hosts.get_mut(name) {
            Arc::make_mut(host).node = None;
        }
        self.reindex(name);
        self.drop_empty(name);
    }

    /// Takes the newest state of a pod. Older news of a pod whose placement is assumed does not undo that.
    pub fn set_pod(&mut self, pod: &Arc<Pod>) {
        let uid = &pod.metadata.uid;
        let node = &pod.spec.node_name;
        if node.is_empty() && self.is_assumed(uid) && pod.is_active() {
            return;
        }
        self.remove_pod(uid);
        self.index.nominate(pod, &pod.status.nominated_node_name);
        if !node.is_empty() && !pod.is_finished() {
            self.put(pod, node.clone(), false);
        }
    }

    /// Counts `pod` as placed on `node` until [`Self::set_pod`] tells more or [`Self::forget`] takes it back.
    pub fn assume(&mut self, pod: &Arc<Pod>, node: &Arc<str>) {
        self.remove_pod(&pod.metadata.uid);
        self.put(pod, node.clone(), true);
    }

    /// Takes an assumption back, for a binding that failed; returns whether there was one.
    pub fn forget(&mut self, uid: &str) -> bool {
        let assumed = self.is_assumed(uid);
        if assumed {
            self.remove_pod(uid);
        }
        assumed
    }

    pub fn is_assumed(&self, uid: &str) -> bool {
        self.placed.get(uid).is_some_and(|(_, assumed)| *assumed)
    }

    /// The node that a pod is placed on or assumed to be.
    pub(super) fn node_of(&self, uid: &str) -> Option<&Arc<str>> {
        self.placed.get(uid).map(|(node, _)| node)
    }

    /// Forgets a pod; returns whether it held room on a node.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        self.index.forget(uid);
        let Some((node, _)) = self.placed.remove(uid) else { return false };
        if let Some(host) = self.hosts.get_mut(&node) {
            self.index.left(host, uid);
            Arc::make_mut(host).take(uid);
        }
        self.reindex(&node);
        self.drop_empty(&node);
        true
    }

    pub(super) fn storage(&self) -> &Storage {
        &self.storage
    }

    pub fn set_claim(&mut self, claim: Arc<Claim>) {
        let name = (claim.metadata.namespace.clone(), claim.metadata.name.clone());
        Arc::make_mut(&mut self.storage).claims.insert(name, claim);
    }

    pub fn set_volume(&mut self, volume: Arc<PersistentVolume>) {
        Arc::make_mut(&mut self.storage).volumes.insert(volume.metadata.name.clone(), volume);
    }

    pub fn set_storage_class(&mut self, class: Arc<StorageClass>) {
        Arc::make_mut(&mut self.storage).classes.insert(class.metadata.name.clone(), class);
    }

    /// Forgets a claim, a volume or a class; other keys change nothing.
    pub fn remove_storage(&mut self, key: &Key) {
        let storage = Arc::make_mut(&mut self.storage);
        match &*key.resource {
            Claim::RESOURCE => {
                storage.claims.remove(&(key.namespace.clone(), key.name.clone()));
            }
            PersistentVolume::RESOURCE => {
                storage.volumes.remove(&key.name);
            }
            StorageClass::RESOURCE => {
                storage.classes.remove(&key.name);
            }
            _ => {}
        }
    }

    pub fn set_runtime_class(&mut self, class: Arc<RuntimeClass>) {
        self.runtime_classes.insert(class.metadata.name.clone(), class);
    }

    pub fn remove_runtime_class(&mut self, name: &str) {
        self.runtime_classes.remove(name);
    }

    /// Runtime classes by name.
    pub fn runtime_classes(&self) -> &BTreeMap<Arc<str>, Arc<RuntimeClass>> {
        &self.runtime_classes
    }

    pub fn set_namespace(&mut self, name: &Arc<str>, labels: Labels) {
        self.namespaces.insert(name.clone(), labels);
    }

    pub fn remove_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    pub(super) fn namespace_labels(&self, name: &str) -> Option<&Labels> {
        self.namespaces.get(name)
    }

    fn put(&mut self, pod: &Arc<Pod>, node: Arc<str>, assumed: bool) {
        self.host(&node).add(pod.clone());
        self.index.came(&node, pod);
        self.reindex(&node);
        self.placed.insert(pod.metadata.uid.clone(), (node, assumed));
    }

    fn host(&mut self, name: &Arc<str>) -> &mut Host {
        let new = || Arc::new(Host { name: name.clone(), ..Host::default() });
        Arc::make_mut(self.hosts.entry(name.clone()).or_insert_with(new))
    }

    fn reindex(&mut self, name: &str) {
        if let Some(host) = self.hosts.get(name) {
            self.index.update(host, host.node.is_some());
        }
    }

    fn drop_empty(&mut self, name: &str) {
        if self
            .hosts
            .get(name)
            .is_some_and(|host| host.node.is_none() && host.child.is_none() && host.pods.is_empty())
        {
            self.hosts.remove(name);
        }
    }
}
