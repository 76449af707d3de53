//! Claims of a pod: where their volumes are, and where there may be volumes for those that have none.
//!
//! As kube-scheduler's plugins VolumeBinding and VolumeRestrictions, in their words. A claim whose class waits for its
//! first consumer gets its volume after the pod has got its place: the claim is told the node, or a volume that the node
//! reaches is kept for it, and the pod is bound when the claim is.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use dunlin_api::names::{annotation, label, storage};
use serde_json::json;

use crate::controllers::{claim::keep, ephemeral};
use crate::model::{Claim, Held, Node, PersistentVolume, Pod, StorageClass};
use crate::plan::{Action, Precondition};
use crate::volumes;

use super::snapshot::{Host, Snapshot};

const IMMEDIATE: &str = "pod has unbound immediate PersistentVolumeClaims";
const AFFINITY: &str = "node(s) didn't match PersistentVolume's node affinity";
const ABOVE: &str = "cluster(s) can't use volumes of their parent";
const NOTHING: &str = "node(s) didn't find available persistent volumes to bind";
const IN_USE: &str =
    "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
const ONE_POD: &str = "ReadWriteOncePod";

/// What the snapshot knows of storage.
#[derive(Debug, Clone, Default)]
pub struct Storage {
    /// By namespace and name.
    pub claims: HashMap<(Arc<str>, Arc<str>), Arc<Claim>>,
    pub volumes: BTreeMap<Arc<str>, Arc<PersistentVolume>>,
    pub classes: HashMap<Arc<str>, Arc<StorageClass>>,
}

/// A claim without a volume, and the one that it gets; none where one is made.
type Choice<'a> = (&'a Arc<Claim>, Option<&'a Arc<PersistentVolume>>);

/// The claims of one pod.
#[derive(Default)]
pub(super) struct Volumes<'a> {
    storage: Option<&'a Storage>,
    bound: Vec<&'a PersistentVolume>,
    /// With their classes, those that want most first.
    waiting: Vec<(&'a Arc<Claim>, &'a StorageClass)>,
    /// Another pod has one of them for itself.
    in_use: bool,
}

impl<'a> Volumes<'a> {
    /// # Errors
    /// Why the pod can be nowhere as long as its claims are as they are.
    pub(super) fn of(snapshot: &'a Snapshot, pod: &Pod) -> Result<Self, String> {
        let storage = snapshot.storage();
        let mut this = Self { storage: Some(storage), ..Self::default() };
        let mut immediate = false;
        for volume in &pod.spec.claims {
            let name = volume.claim(pod);
            let Some(claim) = storage.claims.get(&(pod.metadata.namespace.clone(), name.clone())) else {
                return Err(match volume.template {
                    Some(_) => format!(
                        "waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"
                    ),
                    None => format!("persistentvolumeclaim {name:?} not found"),
                });
            };
            if volume.template.is_some() && !ephemeral::is_of(pod, &claim.metadata) {
                return Err(format!(
                    "PVC {}/{name} was not created for pod (pod is not owner)",
                    pod.metadata.namespace
                ));
            }
            if &*claim.status.phase == "Lost" {
                let volume = &claim.spec.volume_name;
                return Err(format!(
                    "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"
                ));
            }
            if claim.metadata.is_deleting() {
                return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
            }
            if claim.spec.access_modes.iter().any(|mode| &**mode == ONE_POD) {
                this.in_use |= is_used_by_another(snapshot, pod, &name);
            }
            if claim.is_bound() {
                let Some(volume) = storage.volumes.get(&claim.spec.volume_name) else {
                    return Err(
                        "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)".into()
                    );
                };
                this.bound.push(volume);
                continue;
            }
            match storage.classes.get(claim.class()) {
                // A claim that names its volume is bound without us.
                Some(class) if class.waits_for_consumer() && claim.spec.volume_name.is_empty() => {
                    this.waiting.push((claim, class));
                }
                _ => immediate = true,
            }
        }
        if immediate {
            return Err(IMMEDIATE.into());
        }
        this.waiting
            .sort_by_key(|(claim, _)| (std::cmp::Reverse(claim.wanted()), claim.metadata.name.clone()));
        Ok(this)
    }

    pub(super) fn refusal(&self, host: &Host) -> Option<&'static str> {
        if self.in_use {
            return Some(IN_USE);
        }
        if !self.bound.iter().all(|volume| volumes::reaches(volume, host.node())) {
            return Some(AFFINITY);
        }
        if host.node().is_below() && !self.bound.iter().all(|volume| is_below(volume, host.node())) {
            return Some(ABOVE);
        }
        self.choose(host.node()).is_none().then_some(NOTHING)
    }

    /// A volume for every claim that has none, `None` where one can be made; nothing if there is no way.
    fn choose(&self, node: &Node) -> Option<Vec<Choice<'a>>> {
        let mut chosen: Vec<Choice<'_>> = Vec::new();
        for (claim, class) in &self.waiting {
            let taken = |volume: &&Arc<PersistentVolume>| {
                !chosen
                    .iter()
                    .any(|(_, other)| other.is_some_and(|o| o.metadata.name == volume.metadata.name))
            };
            let selected = claim.selected_node();
            if selected.is_some_and(|selected| *selected != node.metadata.name) {
                return None;
            }
            let free = self.storage.into_iter().flat_map(|s| s.volumes.values()).filter(taken);
            // What is under way is not changed, and volumes that people made here are none of the cluster below.
            let only_kept = selected.is_some() || node.is_below();
            let found = volumes::best(free, claim, Some(node), only_kept)
                .filter(|volume| !node.is_below() || is_below(volume, node));
            if found.is_none() && !can_make(class, node) {
                return None;
            }
            chosen.push((claim, found));
        }
        Some(chosen)
    }
}

/// Whether a volume of the class can be made for pods on the node.
fn can_make(class: &StorageClass, node: &Node) -> bool {
    let able = match &*class.provisioner {
        storage::NO_PROVISIONER => false,
        storage::LOCAL_PATH => node.is_below() || node.metadata.annotations.contains_key(annotation::VOLUMES),
        _ => !node.is_below(),
    };
    able && volumes::allows(class, node)
}

/// Whether the volume is a claim in the cluster that the node is, or is a machine of.
fn is_below(volume: &PersistentVolume, node: &Node) -> bool {
    let of = volume.metadata.labels.get(label::VOLUME_NODE);
    of.is_some_and(|of| **of == *storage::node_label(&node.metadata.name))
}

fn is_used_by_another(snapshot: &Snapshot, pod: &Pod, claim: &str) -> bool {
    snapshot.hosts.values().flat_map(|host| host.pods.values()).any(|other| {
        other.metadata.uid != pod.metadata.uid
            && other.metadata.namespace == pod.metadata.namespace
            && other.uses_claim(claim)
    })
}

/// What is to be done before a pod that has got a place can be bound to it.
#[derive(Debug, Clone, PartialEq)]
pub enum Prepared {
    /// Nothing: all its claims are bound.
    Ready,
    /// These writes, if they were not made before; then its claims will be bound.
    Writes(Vec<Action>),
    /// The place is none any more.
    Lost,
}

/// How far the claims of `pod` are for its place on `node`.
pub fn prepare(snapshot: &Snapshot, pod: &Pod, node: &str) -> Prepared {
    if pod.spec.claims.is_empty() {
        return Prepared::Ready;
    }
    let Some(host) = snapshot.host_named(node) else { return Prepared::Lost };
    let Ok(of_pod) = Volumes::of(snapshot, pod) else { return Prepared::Lost };
    if !of_pod.bound.iter().all(|volume| volumes::reaches(volume, host.node())) {
        return Prepared::Lost;
    }
    if of_pod.waiting.is_empty() {
        return Prepared::Ready;
    }
    let Some(chosen) = of_pod.choose(host.node()) else { return Prepared::Lost };
    let mut writes = Vec::new();
    for (claim, volume) in chosen {
        match volume {
            Some(volume) if volume.spec.claim_ref.as_ref().is_none_or(|kept| kept.uid.is_empty()) => {
                writes.push(keep(volume, claim));
            }
            Some(_) => {}
            None if claim.selected_node().is_some() => {}
            None => writes.push(Action::Patch {
                target: claim.key(),
                subresource: None,
                patch: json!({"metadata": {"annotations": {annotation::SELECTED_NODE: node}}}),
                only_if: Precondition::unchanged(&claim.metadata),
            }),
        }
    }
    Prepared::Writes(writes)
}
