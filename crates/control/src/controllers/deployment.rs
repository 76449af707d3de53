//! Rolls a Deployment's pods from one template to the next through ReplicaSets, and back.
//!
//! Source of the arithmetic: the Deployment documentation's rules for `maxSurge`, `maxUnavailable`, proportional scaling,
//! revisions and the progress deadline.

mod rolling;
mod sets;
mod status;

use serde_json::json;

use super::common;
use crate::model::Key;
use crate::plan::{Action, Plan, Report};
use crate::view::View;
use sets::Sets;

pub(super) const COMPONENT: &str = "deployment-controller";

pub fn plan(view: &View, key: &Key, now: i64, _seed: u64) -> (Plan, Report) {
    let (mut plan, mut report) = (Plan::default(), Report::default());
    let Some(deployment) = view.deployments.by_key(key).cloned() else { return (plan, report) };
    let mut sets = Sets::find(view, key, &deployment);
    if deployment.metadata.is_deleting() {
        status::write(&mut plan, key, &deployment, &sets, None, now);
        return (plan, report);
    }
    let revision = sets.next_revision();
    match &sets.new {
        None if !deployment.spec.paused => {
            if let Some(taken) = sets.name_taken(view, key, &deployment) {
                // Another template has the same hash: salt it.
                report.waits(format!("a free name instead of {taken}"));
                let count = deployment.status.collision_count.unwrap_or(0) + 1;
                let old = json!({"collisionCount": deployment.status.collision_count});
                common::patch_status(
                    &mut plan,
                    key,
                    &deployment.metadata,
                    &old,
                    json!({"collisionCount": count}),
                );
                return (plan, report);
            }
            let replicas = rolling::first_size(&deployment, &sets);
            if replicas > 0
                || deployment.spec.replicas == Some(0)
                || !rolling::is_recreate(&deployment)
                || sets.old_pods() == 0
            {
                let object = sets.make(&deployment, key, replicas, revision);
                let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                plan.push(Action::Create {
                    resource: "replicasets.apps".into(),
                    namespace: key.namespace.clone(),
                    object,
                });
                if replicas > 0 {
                    let message = format!("Scaled up replica set {name} from 0 to {replicas}");
                    plan.push(common::event(
                        key,
                        &deployment.metadata,
                        COMPONENT,
                        "ScalingReplicaSet",
                        message,
                    ));
                }
                report.waits(format!("the new ReplicaSet {name}"));
            } else {
                rolling::recreate(&mut plan, key, &deployment, &sets, &mut report);
            }
        }
        None => rolling::scale_only(&mut plan, key, &deployment, &sets),
        Some(_) => {
            sets.annotate_new(&mut plan, &deployment, revision);
            if deployment.spec.paused || rolling::is_scaling(&deployment, &sets) {
                rolling::scale_only(&mut plan, key, &deployment, &sets);
            } else if rolling::is_recreate(&deployment) {
                rolling::recreate(&mut plan, key, &deployment, &sets, &mut report);
            } else {
                rolling::roll(&mut plan, key, &deployment, &mut sets, &mut report);
            }
            sets.clean_history(&mut plan, &deployment);
        }
    }
    let shown = sets.shown_revision(revision);
    if deployment.metadata.annotations.get(sets::REVISION).map(|r| &**r) != Some(shown.to_string().as_str()) {
        plan.push(Action::Patch {
            target: key.clone(),
            subresource: None,
            patch: json!({"metadata": {"annotations": {sets::REVISION: shown.to_string()}}}),
            only_if: crate::plan::Precondition::uid(&deployment.metadata.uid),
        });
    }
    status::write(&mut plan, key, &deployment, &sets, Some(&mut report), now);
    (plan, report)
}
