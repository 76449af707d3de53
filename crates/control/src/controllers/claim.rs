//! Binds claims to volumes, and keeps a claim that pods use.
//!
//! One step per plan, each seen before the next: the volume names the claim, the claim names the volume, the claim's
//! status follows. So a crash between two steps, or somebody faster, leaves nothing that the next plan cannot go on
//! from. Reasons and words of events are those of Kubernetes' `persistentvolume-controller`.

mod provision;

use std::sync::Arc;

use dunlin_api::names::{annotation, finalizer};
use serde_json::json;

use super::common;
use crate::model::{Claim, Held, Key, PersistentVolume};
use crate::plan::{Action, Plan, Precondition, Report};
use crate::view::View;
use crate::volumes;

const COMPONENT: &str = "persistentvolume-controller";

/// Plans the claim `key`.
pub fn plan(view: &View, key: &Key, _now: i64, _seed: u64) -> (Plan, Report) {
    let (mut plan, mut report) = (Plan::default(), Report::default());
    let Some(claim) = view.claims.by_key(key).cloned() else { return (plan, report) };
    let step = Step { view, key, claim: &claim, plan: &mut plan, report: &mut report };
    match (claim.metadata.is_deleting(), claim.metadata.annotations.contains_key(annotation::BIND_COMPLETED))
    {
        (true, _) => step.release(),
        (false, true) => step.look_at_bound(),
        (false, false) => step.look_for_volume(),
    }
    (plan, report)
}

/// What one plan works on.
struct Step<'a> {
    view: &'a View,
    key: &'a Key,
    claim: &'a Arc<Claim>,
    plan: &'a mut Plan,
    report: &'a mut Report,
}

impl Step<'_> {
    /// Lets a deleted claim go once no pod that has a node uses it. Pods without one do not count: they get none while
    /// the claim is being deleted.
    fn release(self) {
        let meta = &self.claim.metadata;
        let is_protection = |f: &Arc<str>| &**f == finalizer::PVC_PROTECTION;
        if !meta.finalizers.iter().any(is_protection) {
            return;
        }
        let pods = self.view.pods.in_namespace(&meta.namespace);
        let uses = |pod: &&Arc<crate::model::Pod>| {
            !pod.spec.node_name.is_empty() && !pod.is_finished() && pod.uses_claim(&meta.name)
        };
        if let Some(pod) = pods.iter().find(uses) {
            return self.report.waits(format!("the end of pod {}, which uses the claim", pod.metadata.name));
        }
        let left: Vec<_> = meta.finalizers.iter().filter(|f| !is_protection(f)).collect();
        self.plan.push(Action::Patch {
            target: self.key.clone(),
            subresource: None,
            patch: json!({"metadata": {"finalizers": left}}),
            only_if: Precondition::unchanged(meta),
        });
    }

    /// A claim that was bound: its volume must be there and must be its own.
    fn look_at_bound(self) {
        let claim = self.claim;
        if claim.spec.volume_name.is_empty() {
            return self.lose(
                "ClaimLost",
                "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
            );
        }
        match self.view.volumes.get("", &claim.spec.volume_name) {
            None => {
                // The informer of volumes may be behind.
                let volume = Key::new("persistentvolumes", "", claim.spec.volume_name.clone());
                self.plan.absent.push((volume, None));
                self.lose(
                    "ClaimLost",
                    "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
                );
            }
            Some(volume) if volume.spec.claim_ref.is_none() || volume.is_for(claim) => {
                let volume = volume.clone();
                self.bind(&volume);
            }
            Some(_) => self.lose(
                "ClaimMisbound",
                "Two claims are bound to the same volume, this one is bound incorrectly",
            ),
        }
    }

    fn lose(self, reason: &str, message: &str) {
        if &*self.claim.status.phase == "Lost" {
            return;
        }
        self.plan.push(Action::Patch {
            target: self.key.clone(),
            subresource: Some("status"),
            patch: json!({"status": {"phase": "Lost", "accessModes": null, "capacity": null}}),
            only_if: Precondition::unchanged(&self.claim.metadata),
        });
        warn(self.plan, self.claim, reason, message.to_owned());
    }

    fn look_for_volume(mut self) {
        let (view, claim) = (self.view, self.claim);
        if !claim.spec.volume_name.is_empty() {
            return self.look_at_named();
        }
        if claim.spec.storage_class_name.is_none()
            && let Some(class) = default_class(view)
        {
            self.plan.push(Action::Patch {
                target: self.key.clone(),
                subresource: None,
                patch: json!({"spec": {"storageClassName": class}}),
                only_if: Precondition::unchanged(&claim.metadata),
            });
            return;
        }
        let class = view.storage_classes.get("", claim.class()).cloned();
        // A claim that waits for a pod gets a volume that the pod's node reaches: the scheduler chooses it.
        let waits = class.as_ref().is_some_and(|class| class.waits_for_consumer());
        let all = view.volumes.all();
        if let Some(volume) = volumes::best(all.iter(), claim, None, waits) {
            return self.bind(volume);
        }
        self.pending();
        match class {
            Some(_) if waits && claim.selected_node().is_none() => {
                self.report.waits("a first consumer");
                let text = "waiting for first consumer to be created before binding".to_owned();
                self.plan.push(common::event(
                    self.key,
                    &claim.metadata,
                    COMPONENT,
                    "WaitForFirstConsumer",
                    text,
                ));
            }
            Some(class) => provision::plan(&mut self, &class),
            None if claim.class().is_empty() => {
                self.report.waits("a volume");
                let text =
                    "no persistent volumes available for this claim and no storage class is set".to_owned();
                self.plan.push(common::event(self.key, &claim.metadata, COMPONENT, "FailedBinding", text));
            }
            None => {
                self.report.waits("its storage class");
                let text = format!("storageclass.storage.k8s.io {:?} not found", claim.class());
                warn(self.plan, claim, "ProvisioningFailed", text);
            }
        }
    }

    /// A claim that asks for one volume by name waits for it, if need be.
    fn look_at_named(mut self) {
        let claim = self.claim;
        let Some(volume) = self.view.volumes.get("", &claim.spec.volume_name).cloned() else {
            self.report.waits(format!("volume {}", claim.spec.volume_name));
            return self.pending();
        };
        if volume.is_for(claim) {
            return self.bind(&volume);
        }
        self.pending();
        let why = match &volume.spec.claim_ref {
            Some(_) => "volume already bound to a different claim.".to_owned(),
            None => match volumes::mismatch(&volume, claim) {
                None => return self.bind(&volume),
                Some(why) => {
                    let name = &volume.metadata.name;
                    let text = format!("Cannot bind to requested volume {name:?}: {why}");
                    return warn(self.plan, claim, "VolumeMismatch", text);
                }
            },
        };
        warn(self.plan, claim, "FailedBinding", why);
    }

    fn pending(&mut self) {
        let old = json!({"phase": self.claim.status.phase});
        common::patch_status(self.plan, self.key, &self.claim.metadata, &old, json!({"phase": "Pending"}));
    }

    /// The next step towards being bound to the volume.
    fn bind(self, volume: &PersistentVolume) {
        let claim = self.claim;
        let kept = volume.spec.claim_ref.as_ref();
        if kept.is_none_or(|kept| kept.uid.is_empty()) {
            self.plan.push(keep(volume, claim));
            return;
        }
        if claim.spec.volume_name != volume.metadata.name || !claim.is_bound() {
            let mut annotations = json!({annotation::BIND_COMPLETED: "yes"});
            if claim.spec.volume_name.is_empty() {
                annotations[annotation::BOUND_BY_CONTROLLER] = json!("yes");
            }
            self.plan.push(Action::Patch {
                target: self.key.clone(),
                subresource: None,
                patch: json!({"metadata": {"annotations": annotations}, "spec": {"volumeName": volume.metadata.name}}),
                only_if: Precondition::unchanged(&claim.metadata),
            });
            return;
        }
        let of = |phase: &str, modes: &[Arc<str>], capacity: &serde_json::Value| json!({"phase": phase, "accessModes": modes, "capacity": capacity});
        let (status, spec) = (&claim.status, &volume.spec);
        let old = of(&status.phase, &status.access_modes, &status.capacity);
        let new = of("Bound", &spec.access_modes, &spec.capacity);
        common::patch_status(self.plan, self.key, &claim.metadata, &old, new);
    }
}

/// Makes the volume name the claim, so that no other gets it.
pub fn keep(volume: &PersistentVolume, claim: &Claim) -> Action {
    let mut patch = json!({"spec": {"claimRef": {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.metadata.namespace,
        "name": claim.metadata.name, "uid": claim.metadata.uid, "resourceVersion": claim.metadata.resource_version,
    }}});
    if volume.spec.claim_ref.is_none() {
        patch["metadata"] = json!({"annotations": {annotation::BOUND_BY_CONTROLLER: "yes"}});
    }
    Action::Patch {
        target: volume.key(),
        subresource: None,
        patch,
        only_if: Precondition::unchanged(&volume.metadata),
    }
}

/// The newest class that is marked as the default one.
fn default_class(view: &View) -> Option<Arc<str>> {
    let all = view.storage_classes.all();
    let newest = all.iter().filter(|class| class.is_default()).max_by_key(|c| c.metadata.creation_timestamp);
    newest.map(|class| class.metadata.name.clone())
}

fn warn(plan: &mut Plan, claim: &Claim, reason: &str, message: String) {
    plan.push(Action::Event {
        target: claim.key(),
        uid: claim.metadata.uid.clone(),
        warning: true,
        reason: reason.into(),
        message,
        component: COMPONENT,
    });
}
