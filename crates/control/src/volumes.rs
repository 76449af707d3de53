//! Which volume a claim gets, and which nodes reach a volume: asked by the controllers that bind and by the scheduler.
//!
//! As Kubernetes decides it (`pkg/controller/volume/persistentvolume/index.go` and
//! `k8s.io/component-helpers/storage/volume`).

use std::sync::Arc;

use crate::labels;
use crate::model::{Claim, Node, PersistentVolume, StorageClass};
use crate::scheduler::filter::term_selects;

/// Why a claim cannot have this very volume; nothing if it can.
pub fn mismatch(volume: &PersistentVolume, claim: &Claim) -> Option<&'static str> {
    if volume.size() < claim.wanted() {
        return Some("requested PV is too small");
    }
    if &*volume.spec.storage_class_name != claim.class() {
        return Some("storageClassName does not match");
    }
    if volume.is_block() != claim.is_block() {
        return Some("incompatible volumeMode");
    }
    let offers = |mode| volume.spec.access_modes.contains(mode);
    (!claim.spec.access_modes.iter().all(offers)).then_some("incompatible accessMode")
}

/// Whether the volume may be given to the claim though neither names the other.
fn is_free_for(volume: &PersistentVolume, claim: &Claim) -> bool {
    &*volume.status.phase == "Available"
        && volume.spec.claim_ref.is_none()
        && !volume.metadata.is_deleting()
        && mismatch(volume, claim).is_none()
        && claim.spec.selector.as_ref().is_none_or(|s| labels::matches(s, &volume.metadata.labels))
}

/// The volume for a claim: one that was kept for it, else the smallest of those that fit. With `node` only those that
/// it reaches count; without, and if `only_kept`, none is taken that was not kept for the claim.
pub fn best<'a>(
    volumes: impl Iterator<Item = &'a Arc<PersistentVolume>>,
    claim: &Claim,
    node: Option<&Node>,
    only_kept: bool,
) -> Option<&'a Arc<PersistentVolume>> {
    let mut best: Option<&Arc<PersistentVolume>> = None;
    for volume in volumes {
        let reached = node.is_none_or(|node| reaches(volume, node));
        if volume.is_for(claim) && !volume.metadata.is_deleting() {
            if volume.size() < claim.wanted() || volume.is_block() != claim.is_block() {
                continue;
            }
            return reached.then_some(volume);
        }
        let smaller = |than: &Arc<PersistentVolume>| {
            (volume.size(), &volume.metadata.name) < (than.size(), &than.metadata.name)
        };
        if reached && !only_kept && is_free_for(volume, claim) && best.is_none_or(smaller) {
            best = Some(volume);
        }
    }
    best
}

/// Whether pods on the node can use the volume. Its selector is about the node itself, also if the node stands for a
/// cluster.
pub fn reaches(volume: &PersistentVolume, node: &Node) -> bool {
    let Some(required) = &volume.spec.node_affinity.required else { return true };
    let mut terms = required["nodeSelectorTerms"].as_array().into_iter().flatten();
    terms.any(|term| term_selects(term, node, None))
}

/// Whether volumes of the class may be on the node.
pub fn allows(class: &StorageClass, node: &Node) -> bool {
    let meets = |term: &Arc<serde_json::Value>| {
        let mut wanted = term["matchLabelExpressions"].as_array().into_iter().flatten();
        wanted.all(|one| {
            let have = one["key"].as_str().and_then(|key| node.metadata.labels.get(key));
            let mut values = one["values"].as_array().into_iter().flatten();
            have.is_some_and(|have| values.any(|value| value.as_str() == Some(have)))
        })
    };
    class.allowed_topologies.is_empty() || class.allowed_topologies.iter().any(meets)
}
