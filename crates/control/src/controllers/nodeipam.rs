//! Gives every node its own range of pod addresses.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::json;

use crate::model::Key;
use crate::plan::{Action, Plan, Precondition, Report};
use crate::view::View;

pub fn plan(view: &View, key: &Key, _now: i64, _seed: u64) -> (Plan, Report) {
    let (mut plan, mut report) = (Plan::default(), Report::default());
    let Some(node) = view.nodes.by_key(key).cloned() else { return (plan, report) };
    // Pods below a child cluster get their addresses there.
    let below = node.is_below();
    if !node.spec.pod_cidr.is_empty() || node.metadata.is_deleting() || below {
        return (plan, report);
    }
    let taken: BTreeSet<String> =
        view.nodes.all().iter().map(|node| node.spec.pod_cidr.to_string()).collect();
    match free(&view.settings.cluster_cidr, view.settings.node_mask, &taken) {
        Some(cidr) => plan.push(Action::Patch {
            target: key.clone(),
            subresource: None,
            patch: json!({"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}}),
            // Two nodes planned at once would get the same range; the driver plans nodes one after the other.
            only_if: Precondition::unchanged(&node.metadata),
        }),
        None => report.waits(format!(
            "a free range in {}: widen the cluster's range or delete nodes",
            view.settings.cluster_cidr
        )),
    }
    (plan, report)
}

/// The first range of `mask` bits in `cluster` that is not taken.
pub fn free(cluster: &str, mask: u8, taken: &BTreeSet<String>) -> Option<String> {
    let (base, prefix) = cluster.split_once('/')?;
    let (base, prefix) = (u32::from(base.parse::<Ipv4Addr>().ok()?), prefix.parse::<u8>().ok()?);
    if mask < prefix || mask > 30 {
        return None;
    }
    let step = 1u32 << (32 - mask);
    (0..1u32 << (mask - prefix).min(24))
        .map(|n| format!("{}/{mask}", Ipv4Addr::from(base.wrapping_add(n * step))))
        .find(|cidr| !taken.contains(cidr))
}
