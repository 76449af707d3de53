//! Topology spread constraints: how unevenly a pod's kind may lie over zones, hosts or any other domain.

use std::collections::HashMap;
use std::sync::Arc;

use crate::labels;
use crate::model::{Pod, TopologySpread};

use super::filter::{selects, untolerated};
use super::snapshot::{Host, Snapshot};

/// A pod's constraints of one sort with matching pods counted by domain.
pub(super) struct Spread<'a> {
    pod: &'a Pod,
    constraints: Vec<Counted<'a>>,
}

struct Counted<'a> {
    constraint: &'a TopologySpread,
    domains: HashMap<Arc<str>, i64>,
    /// The smallest count over all domains; 0 if there are fewer domains than asked for.
    least: i64,
}

impl<'a> Spread<'a> {
    /// Those that must hold.
    pub(super) fn required(snapshot: &'a Snapshot, pod: &'a Pod) -> Self {
        Self::count(snapshot, pod, "DoNotSchedule")
    }

    /// Those that should hold.
    pub(super) fn preferred(snapshot: &'a Snapshot, pod: &'a Pod) -> Self {
        Self::count(snapshot, pod, "ScheduleAnyway")
    }

    fn count(snapshot: &'a Snapshot, pod: &'a Pod, sort: &str) -> Self {
        let all = &pod.spec.topology_spread_constraints;
        let chosen: Vec<_> = all.iter().filter(|c| &*c.when_unsatisfiable == sort).collect();
        let mut constraints: Vec<_> = chosen
            .iter()
            .map(|constraint| Counted { constraint, domains: HashMap::new(), least: 0 })
            .collect();
        if chosen.is_empty() {
            return Self { pod, constraints };
        }
        for host in snapshot.hosts() {
            if !chosen.iter().all(|c| host.label(&c.topology_key).is_some()) {
                continue;
            }
            for counted in &mut constraints {
                let Some(domain) = host.label(&counted.constraint.topology_key) else { continue };
                if !counts(counted.constraint, pod, host) {
                    continue;
                }
                let found =
                    host.pods.values().filter(|other| matches(counted.constraint, pod, other)).count();
                *counted.domains.entry(domain.clone()).or_default() +=
                    i64::try_from(found).unwrap_or(i64::MAX);
            }
        }
        for counted in &mut constraints {
            let enough = counted.domains.len() as i64 >= counted.constraint.min_domains.unwrap_or(1);
            counted.least = if enough { counted.domains.values().min().copied().unwrap_or(0) } else { 0 };
        }
        Self { pod, constraints }
    }

    pub(super) fn refusal(&self, host: &Host) -> Option<&'static str> {
        for counted in &self.constraints {
            let Some(domain) = host.label(&counted.constraint.topology_key) else {
                return Some("node(s) didn't match pod topology spread constraints (missing required label)");
            };
            let itself = i64::from(selected(counted.constraint, self.pod, &self.pod.metadata.labels));
            let skew = counted.domains.get(domain).copied().unwrap_or(0) + itself - counted.least;
            if skew > counted.constraint.max_skew {
                return Some("node(s) didn't match pod topology spread constraints");
            }
        }
        None
    }

    /// How many matching pods the host's domains have already, over all constraints; the fewer the better.
    pub(super) fn crowd(&self, host: &Host) -> i64 {
        let crowds = self.constraints.iter().map(|counted| {
            let domain = host.label(&counted.constraint.topology_key);
            domain.map_or(i64::from(u16::MAX), |domain| counted.domains.get(domain).copied().unwrap_or(0))
        });
        crowds.sum()
    }
}

/// Whether the host's domain counts under the constraint's inclusion policies (KEP-3094).
fn counts(constraint: &TopologySpread, pod: &Pod, host: &Host) -> bool {
    (&*constraint.node_affinity_policy == "Ignore" || selects(pod, host.node(), host.child()))
        && (&*constraint.node_taints_policy != "Honor" || untolerated(host.node(), pod).is_none())
}

fn matches(constraint: &TopologySpread, pod: &Pod, other: &Pod) -> bool {
    other.metadata.namespace == pod.metadata.namespace
        && !other.metadata.is_deleting()
        && selected(constraint, pod, &other.metadata.labels)
}

fn selected(constraint: &TopologySpread, pod: &Pod, labels: &crate::model::Labels) -> bool {
    let same = |key: &Arc<str>| pod.metadata.labels.get(key).is_none_or(|own| labels.get(key) == Some(own));
    constraint.label_selector.as_deref().is_some_and(|selector| labels::matches(selector, labels))
        && constraint.match_label_keys.iter().all(same)
}
