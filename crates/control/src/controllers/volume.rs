//! The life of persistent volumes: Available, Bound, Released, and what becomes of them then.
//!
//! The word that a claim is gone costs data, so it is taken from the API server itself and never from an informer that
//! may be behind. Reasons and words of events are those of Kubernetes' `persistentvolume-controller`.

use std::sync::Arc;

use dunlin_api::names::{annotation, finalizer, label, storage};
use serde_json::{Value, json};

use super::common;
use crate::model::{Held, Key, PersistentVolume, Time};
use crate::plan::{Action, Plan, Precondition, Report};
use crate::view::View;

const COMPONENT: &str = "persistentvolume-controller";

/// Plans the volume `key`.
pub fn plan(view: &View, key: &Key, now: i64, _seed: u64) -> (Plan, Report) {
    let (mut plan, mut report) = (Plan::default(), Report::default());
    let Some(volume) = view.volumes.by_key(key).cloned() else { return (plan, report) };
    follow_claim(view, &volume, now, &mut plan, &mut report);
    if plan.actions.is_empty() && volume.metadata.is_deleting() {
        release(view, &volume, &mut plan, &mut report);
    }
    (plan, report)
}

fn follow_claim(view: &View, volume: &PersistentVolume, now: i64, plan: &mut Plan, report: &mut Report) {
    let wanted = volume.spec.claim_ref.as_ref().filter(|wanted| !wanted.uid.is_empty());
    let Some(wanted) = wanted else { return phase(volume, "Available", "", now, plan) };
    let claim =
        view.claims.get(&wanted.namespace, &wanted.name).filter(|claim| claim.metadata.uid == wanted.uid);
    let Some(claim) = claim else {
        plan.absent.push((
            Key::new("persistentvolumeclaims", wanted.namespace.clone(), wanted.name.clone()),
            Some(wanted.uid.clone()),
        ));
        return reclaim(volume, now, plan, report);
    };
    if claim.spec.volume_name.is_empty() {
        report.waits("its claim to be bound");
    } else if claim.spec.volume_name == volume.metadata.name {
        phase(volume, "Bound", "", now, plan);
    } else if volume.provisioner().is_some() && &*volume.spec.persistent_volume_reclaim_policy == "Delete" {
        // It was made for a claim that has got another.
        reclaim(volume, now, plan, report);
    } else {
        let patch = match volume.is_bound_by_controller() {
            true => {
                json!({"metadata": {"annotations": {annotation::BOUND_BY_CONTROLLER: null}}, "spec": {"claimRef": null}})
            }
            false => json!({"spec": {"claimRef": {"uid": null, "resourceVersion": null}}}),
        };
        plan.push(patch_of(volume, None, patch));
    }
}

/// Nobody claims it any more.
fn reclaim(volume: &PersistentVolume, now: i64, plan: &mut Plan, report: &mut Report) {
    if !matches!(&*volume.status.phase, "Released" | "Failed") {
        return phase(volume, "Released", "", now, plan);
    }
    let name = &volume.metadata.name;
    match (&*volume.spec.persistent_volume_reclaim_policy, volume.provisioner()) {
        ("Delete", Some(storage::LOCAL_PATH)) => {
            if !volume.metadata.is_deleting() {
                plan.push(common::delete(volume.key(), &volume.metadata));
            }
        }
        ("Delete", Some(other)) => report.waits(format!("provisioner {other} to delete it")),
        ("Delete", None) => {
            let why = format!(
                "error getting deleter volume plugin for volume {name:?}: no deletable volume plugin matched"
            );
            fail(volume, "VolumeFailedDelete", why, now, plan);
        }
        ("Recycle", _) => {
            fail(volume, "VolumeFailedRecycle", "No recycler plugin found for the volume!".into(), now, plan);
        }
        _ => report.waits("a person, since its policy is Retain"),
    }
}

fn fail(volume: &PersistentVolume, reason: &str, message: String, now: i64, plan: &mut Plan) {
    if &*volume.status.phase == "Failed" {
        return;
    }
    phase(volume, "Failed", &message, now, plan);
    plan.push(Action::Event {
        target: volume.key(),
        uid: volume.metadata.uid.clone(),
        warning: true,
        reason: reason.into(),
        message,
        component: COMPONENT,
    });
}

fn phase(volume: &PersistentVolume, phase: &str, message: &str, now: i64, plan: &mut Plan) {
    if &*volume.status.phase == phase && &*volume.status.message == message {
        return;
    }
    let status =
        json!({"phase": phase, "message": message, "lastPhaseTransitionTime": Time(now).to_string()});
    plan.push(patch_of(volume, Some("status"), json!({"status": status})));
}

/// Lets a deleted volume go that no claim has. What is behind it is removed by its node before; a node that was taken
/// out of the cluster will not do that any more.
fn release(view: &View, volume: &PersistentVolume, plan: &mut Plan, report: &mut Report) {
    let meta = &volume.metadata;
    if &*volume.status.phase == "Bound" {
        return report.waits("its claim to be deleted");
    }
    let lost = volume_node(volume)
        .is_some_and(|node| !view.nodes.keys().iter().any(|k| storage::node_label(&k.name) == *node));
    let ours = |f: &Arc<str>| &**f == finalizer::PV_PROTECTION || (lost && &**f == storage::LOCAL_PATH);
    let left: Vec<_> = meta.finalizers.iter().filter(|f| !ours(f)).collect();
    if left.len() == meta.finalizers.len() {
        return report.waits("its node to remove what is behind it");
    }
    plan.push(patch_of(volume, None, json!({"metadata": {"finalizers": left}})));
}

fn volume_node(volume: &PersistentVolume) -> Option<&str> {
    volume.metadata.labels.get(label::VOLUME_NODE).map(|node| &**node)
}

fn patch_of(volume: &PersistentVolume, subresource: Option<&'static str>, patch: Value) -> Action {
    let only_if = Precondition::unchanged(&volume.metadata);
    Action::Patch { target: volume.key(), subresource, patch, only_if }
}
