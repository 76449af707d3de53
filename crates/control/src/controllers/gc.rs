//! Deletes what nobody owns any more, and carries out the three ways of deleting an owner.
//!
//! Background: dependents go after their last owner. Foreground: they go first. Orphan: they stay and forget the owner.

use serde_json::json;

use super::common::{self, reference_json};
use crate::model::{Key, Object};
use crate::plan::{Action, Plan, Precondition, Propagation, Report};
use crate::view::View;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// Plans one object of any resource: as an owner that is going, and as a dependent whose owners may be gone.
pub fn plan(view: &View, key: &Key, _now: i64, _seed: u64) -> (Plan, Report) {
    let (mut plan, mut report) = (Plan::default(), Report::default());
    let Some(object) = view.objects.get(key).cloned() else { return (plan, report) };
    if object.metadata.is_deleting() {
        owner(view, &object, &mut plan, &mut report);
    } else if !object.metadata.owner_references.is_empty() {
        dependent(view, &object, &mut plan);
    }
    (plan, report)
}

fn owner(view: &View, object: &Object, plan: &mut Plan, report: &mut Report) {
    let has = |finalizer: &str| object.metadata.finalizers.iter().any(|f| &**f == finalizer);
    let dependents = view.objects.dependents(&object.metadata.uid);
    if has(ORPHAN) {
        for dependent in &dependents {
            let others: Vec<_> = dependent
                .metadata
                .owner_references
                .iter()
                .filter(|o| o.uid != object.metadata.uid)
                .map(reference_json)
                .collect();
            plan.push(Action::Patch {
                target: dependent.key(),
                subresource: None,
                patch: json!({"metadata": {"ownerReferences": others}}),
                only_if: Precondition::unchanged(&dependent.metadata),
            });
        }
        if dependents.is_empty() {
            release(object, ORPHAN, plan);
        }
    } else if has(FOREGROUND) {
        let blocking = dependents.iter().filter(|dependent| {
            dependent
                .metadata
                .owner_references
                .iter()
                .any(|o| o.uid == object.metadata.uid && o.block_owner_deletion)
        });
        let count = blocking.count();
        for dependent in dependents.iter().filter(|dependent| !dependent.metadata.is_deleting()) {
            plan.push(Action::Delete {
                target: dependent.key(),
                only_if: Precondition::uid(&dependent.metadata.uid),
                propagation: Propagation::Foreground,
                grace: None,
            });
        }
        if count == 0 {
            release(object, FOREGROUND, plan);
        } else {
            report.waits(format!("{count} dependents to be gone"));
        }
    }
}

fn release(object: &Object, finalizer: &str, plan: &mut Plan) {
    let left: Vec<_> = object.metadata.finalizers.iter().filter(|f| &***f != finalizer).collect();
    plan.push(Action::Patch {
        target: object.key(),
        subresource: None,
        patch: json!({"metadata": {"finalizers": left}}),
        only_if: Precondition::unchanged(&object.metadata),
    });
}

/// A dependent goes when all its owners are gone. An owner of a resource that is not watched counts as there.
fn dependent(view: &View, object: &Object, plan: &mut Plan) {
    let gone = |owner: &crate::model::OwnerReference| {
        let Some(resource) = view.resources.of_kind(&owner.api_version, &owner.kind) else { return false };
        let namespace = if resource.namespaced { object.metadata.namespace.clone() } else { "".into() };
        let found = view.objects.get(&Key::new(resource.name.clone(), namespace, owner.name.clone()));
        found.is_none_or(|found| found.metadata.uid != owner.uid)
    };
    let (lost, left): (Vec<_>, Vec<_>) =
        object.metadata.owner_references.iter().partition(|owner| gone(owner));
    if lost.is_empty() {
        return;
    }
    if left.is_empty() {
        plan.push(common::delete(object.key(), &object.metadata));
    } else {
        let left: Vec<_> = left.into_iter().map(reference_json).collect();
        plan.push(Action::Patch {
            target: object.key(),
            subresource: None,
            patch: json!({"metadata": {"ownerReferences": left}}),
            only_if: Precondition::unchanged(&object.metadata),
        });
    }
}
