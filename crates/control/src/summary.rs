//! What a cluster tells its parent of itself: sums, the largest free machine, and the values of labels. Never machines.
//!
//! Room that pods of the parent take is the parent's to account for, so it counts as free in the sums, and as taken in
//! what is left on the largest machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dunlin_api::names::label;

use crate::model::{ClusterLabel, ClusterPool, ClusterStatus, Labels, Quantities};
use crate::scheduler::{Host, Snapshot};

/// Label keys that are told, and values of each: more would make the summary grow with the machines.
const KEYS: usize = 64;
const VALUES: usize = 32;
/// Runtime classes that are told: each has sums of its own for every architecture.
const CLASSES: usize = 32;
/// Keys that say nothing about where a pod could go: they differ on every machine, or belong to the level itself.
const OWN: [&str; 3] = [label::CLUSTER, label::VIRTUAL_NODE, label::NODE_ROLE_CONTROL_PLANE];

/// The summary and what the node that stands for the cluster has of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    pub status: ClusterStatus,
    /// Labels that all machines share.
    pub common: Labels,
    /// All that machines have, less what the cluster's own pods use.
    pub allocatable: Quantities,
}

/// Sums up what is ready. `parent` is the value of [`label::MIRROR`] on pods that the parent accounts for.
pub fn summarise(snapshot: &Snapshot, parent: &str) -> Summary {
    let mut summary = Summary::default();
    let mut pools: BTreeMap<(Arc<str>, Arc<str>), ClusterPool> = BTreeMap::new();
    let mut labels = LabelSets::default();
    let classes = snapshot.runtime_classes().iter().take(CLASSES);
    let classes: BTreeMap<Arc<str>, _> = classes.map(|(name, class)| (name.clone(), class)).collect();
    for host in snapshot.hosts() {
        let node = host.node();
        let ready = node.is_ready() && !node.spec.unschedulable;
        match host.child() {
            Some(child) => {
                summary.status.machines += child.status.machines;
                summary.status.ready_machines += if ready { child.status.ready_machines } else { 0 };
            }
            None => {
                summary.status.machines += 1;
                summary.status.ready_machines += i64::from(ready);
            }
        }
        // What machines are called stays true while they are out of reach: whatever selects them must not go for that.
        match host.child() {
            Some(child) => labels.add_child(&child.status.labels, child.status.labels_truncated),
            None => labels.add_machine(&node.metadata.labels),
        }
        if !ready {
            continue;
        }
        let own = own_use(host, parent);
        let mut allocatable = node.status.allocatable.clone();
        subtract(&mut allocatable, &own);
        summary.allocatable.add(&allocatable);
        match host.child() {
            Some(child) => {
                // A pod gets there through this cluster's own classes only.
                let known = |class: &str| class.is_empty() || classes.contains_key(class);
                for pool in child.status.pools.iter().filter(|pool| known(&pool.runtime_class)) {
                    let key = (pool.architecture.clone(), pool.runtime_class.clone());
                    merge(pools.entry(key).or_default(), pool);
                }
            }
            None => {
                let mut free = node.status.allocatable.clone();
                subtract(&mut free, host.used());
                let architecture = host.label(label::ARCH).cloned().unwrap_or_default();
                let pool = ClusterPool { machines: 1, largest: free.clone(), free, ..ClusterPool::default() };
                let of = classes.iter().filter(|(_, class)| node.runs(class)).map(|(name, _)| name.clone());
                for class in std::iter::once("".into()).chain(of) {
                    merge(pools.entry((architecture.clone(), class)).or_default(), &pool);
                }
            }
        }
    }
    summary.status.pools = pools
        .into_iter()
        .map(|((architecture, runtime_class), pool)| ClusterPool { architecture, runtime_class, ..pool })
        .collect();
    labels.tell(&mut summary);
    summary
}

/// What the cluster's own pods request on the host, and how many pods they are.
fn own_use(host: &Host, parent: &str) -> Quantities {
    let mut used = Quantities::default();
    let mut count = 0;
    for pod in host.pods() {
        if pod.metadata.labels.get(label::MIRROR).is_none_or(|of| &**of != parent) {
            used.add(&pod.spec.requests);
            count += 1;
        }
    }
    used.set("pods", count);
    used
}

/// What each machine has for pods of `parent`: all, less what the cluster's own pods use. For clusters that show their
/// machines one by one.
pub fn machines(snapshot: &Snapshot, parent: &str) -> BTreeMap<Arc<str>, Quantities> {
    let left = |host: &Host| {
        let mut allocatable = host.node().status.allocatable.clone();
        subtract(&mut allocatable, &own_use(host, parent));
        (host.name().clone(), allocatable)
    };
    snapshot.hosts().map(left).collect()
}

/// Subtracts without going below nothing, and without naming what was not there.
fn subtract(from: &mut Quantities, what: &Quantities) {
    for (name, amount) in &mut from.0 {
        *amount = (*amount - what.get(name)).max(0);
    }
}

fn merge(into: &mut ClusterPool, pool: &ClusterPool) {
    into.machines += pool.machines;
    into.free.add(&pool.free);
    into.largest.raise_to(&pool.largest);
}

#[derive(Default)]
struct LabelSets {
    hosts: usize,
    sets: BTreeMap<Arc<str>, LabelSet>,
    truncated: bool,
}

#[derive(Default)]
struct LabelSet {
    values: BTreeSet<Arc<str>>,
    /// Hosts that have the key on all of their machines.
    having: usize,
    truncated: bool,
}

impl LabelSets {
    fn add_machine(&mut self, labels: &Labels) {
        self.hosts += 1;
        for (key, value) in labels.iter().filter(|(key, _)| !OWN.contains(&&***key)) {
            let set = self.sets.entry(key.clone()).or_default();
            set.values.insert(value.clone());
            set.having += 1;
        }
    }

    fn add_child(&mut self, labels: &[ClusterLabel], truncated: bool) {
        self.hosts += 1;
        self.truncated |= truncated;
        for known in labels {
            let set = self.sets.entry(known.key.clone()).or_default();
            set.values.extend(known.values.iter().cloned());
            set.having += usize::from(known.everywhere);
            set.truncated |= known.truncated;
        }
    }

    fn tell(self, summary: &mut Summary) {
        let hosts = self.hosts;
        summary.status.labels_truncated = self.truncated || self.sets.len() > KEYS;
        for (key, LabelSet { values, having, truncated }) in self.sets.into_iter().take(KEYS) {
            let everywhere = having == hosts;
            if everywhere && values.len() == 1 && !truncated && &*key != label::HOSTNAME {
                summary.common.extend(values.iter().map(|value| (key.clone(), value.clone())));
            }
            let truncated = truncated || values.len() > VALUES;
            let values = values.into_iter().take(VALUES).collect();
            summary.status.labels.push(ClusterLabel { key, values, truncated, everywhere });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cluster, Node, Pod};
    use proptest::prelude::*;
    use serde_json::json;

    fn node(name: &str, cpu: i64, extra: &[(&str, &str)]) -> Arc<Node> {
        let mut labels = json!({"kubernetes.io/arch": "amd64", "kubernetes.io/hostname": name});
        for (key, value) in extra {
            labels[*key] = json!(value);
        }
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name, "labels": labels},
                "status": {"allocatable": {"cpu": cpu.to_string(), "pods": "10"}, "conditions": [{"type": "Ready", "status": "True"}]}}))
            .expect("a node"),
        )
    }

    fn pod(name: &str, cpu: i64, mirror: bool) -> Arc<Pod> {
        let labels = if mirror { json!({"dunlin.io/mirror": "root"}) } else { json!({}) };
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name, "uid": name, "labels": labels},
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu.to_string()}}}]}}))
            .expect("a pod"),
        )
    }

    #[test]
    fn own_pods_lessen_the_sum_and_all_pods_the_largest() {
        let mut snapshot = Snapshot::default();
        snapshot.set_node(node("a", 4, &[("disk", "ssd"), ("zone", "z")]));
        snapshot.set_node(node("b", 8, &[("zone", "z")]));
        snapshot.assume(&pod("own", 1, false), &"b".into());
        snapshot.assume(&pod("mirror", 3, true), &"b".into());
        let summary = summarise(&snapshot, "root");
        assert_eq!(summary.allocatable.get("cpu"), 11_000);
        assert_eq!(summary.allocatable.get("pods"), 19);
        let pool = &summary.status.pools[0];
        assert_eq!((pool.machines, pool.free.get("cpu"), pool.largest.get("cpu")), (2, 8_000, 4_000));
        let each = machines(&snapshot, "root");
        assert_eq!((each["a"].get("cpu"), each["b"].get("cpu"), each["b"].get("pods")), (4_000, 7_000, 9));
        assert_eq!(summary.common.get("zone").map(|z| &**z), Some("z"));
        assert!(!summary.common.contains_key("disk") && !summary.common.contains_key(label::HOSTNAME));
        let disk = summary.status.labels.iter().find(|l| &*l.key == "disk").expect("told");
        assert!(!disk.everywhere && !disk.truncated);
        assert_eq!(serde_json::to_value(&pool.largest).expect("json")["cpu"], "4000m");
    }

    #[test]
    fn a_child_counts_with_its_machines() {
        let mut snapshot = Snapshot::default();
        snapshot.set_node(node("site", 6, &[("dunlin.io/virtual-node", "cluster")]));
        let child: Cluster = serde_json::from_value(json!({"metadata": {"name": "site"}, "status": {
            "machines": 3, "readyMachines": 2,
            "pools": [{"architecture": "arm64", "machines": 2, "free": {"cpu": "5"}, "largest": {"cpu": "3"}}],
            "labels": [{"key": "disk", "values": ["ssd"], "everywhere": true}]}}))
        .expect("a cluster");
        snapshot.set_child(Arc::new(child));
        let summary = summarise(&snapshot, "root");
        assert_eq!((summary.status.machines, summary.status.ready_machines), (3, 2));
        assert_eq!(summary.status.pools[0].largest.get("cpu"), 3_000);
        assert_eq!(summary.common.get("disk").map(|d| &**d), Some("ssd"));
    }

    #[test]
    fn each_runtime_class_has_the_machines_that_run_it() {
        let class = |name: &str, handler: &str, selector: serde_json::Value| {
            let object = json!({"metadata": {"name": name}, "handler": handler, "scheduling": {"nodeSelector": selector}});
            Arc::new(serde_json::from_value(object).expect("a class"))
        };
        let with = |name: &str, cpu: i64, handlers: &[&str], extra: &[(&str, &str)]| {
            let mut node = (*node(name, cpu, extra)).clone();
            let handlers: Vec<_> = handlers.iter().map(|name| json!({"name": name})).collect();
            node.status.runtime_handlers = serde_json::from_value(json!(handlers)).expect("handlers");
            Arc::new(node)
        };
        let mut snapshot = Snapshot::default();
        snapshot.set_node(with("a", 4, &["", "oci"], &[]));
        snapshot.set_node(with("b", 2, &["", "oci", "wasm"], &[("fast", "yes")]));
        snapshot.set_node(with("c", 1, &["", "wasm"], &[]));
        snapshot.set_runtime_class(class("web", "wasm", json!({})));
        snapshot.set_runtime_class(class("quick", "wasm", json!({"fast": "yes"})));
        snapshot.set_runtime_class(class("vm", "microvm", json!({})));
        let told = summarise(&snapshot, "root").status.pools;
        let told: Vec<_> = told
            .iter()
            .map(|p| (&*p.runtime_class, p.machines, p.free.get("cpu"), p.largest.get("cpu")))
            .collect();
        assert_eq!(told, [("", 3, 7_000, 4_000), ("quick", 1, 2_000, 2_000), ("web", 2, 3_000, 2_000)]);
    }

    #[test]
    fn a_machine_out_of_reach_keeps_its_labels_and_gives_no_room() {
        let mut snapshot = Snapshot::default();
        let mut lost = (*node("a", 4, &[("disk", "ssd")])).clone();
        lost.status.conditions.clear();
        snapshot.set_node(Arc::new(lost));
        snapshot.set_node(node("b", 8, &[]));
        let summary = summarise(&snapshot, "root");
        assert_eq!((summary.status.machines, summary.status.ready_machines), (2, 1));
        assert_eq!(summary.allocatable.get("cpu"), 8_000);
        assert!(summary.status.labels.iter().any(|l| &*l.key == "disk"));
    }

    proptest! {
        #[test]
        fn nothing_promised_that_no_machine_has(cpus in prop::collection::vec(1i64..16, 1..20), used in 0i64..16) {
            let mut snapshot = Snapshot::default();
            for (n, cpu) in cpus.iter().enumerate() {
                snapshot.set_node(node(&format!("n{n}"), *cpu, &[]));
            }
            snapshot.assume(&pod("own", used, false), &"n0".into());
            let summary = summarise(&snapshot, "root");
            let largest = summary.status.pools[0].largest.get("cpu");
            let most = cpus.iter().enumerate().map(|(n, cpu)| if n == 0 { (cpu - used).max(0) } else { *cpu }).max();
            prop_assert_eq!(Some(largest / 1000), most);
            prop_assert!(summary.allocatable.get("cpu") >= largest);
        }
    }
}
