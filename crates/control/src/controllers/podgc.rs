//! Deletes pods that nothing else would: of nodes that no longer exist, finished ones beyond a number. Pods that were held
//! for a job that no longer counts them are let go.

use std::sync::Arc;

use super::{common, job};
use crate::model::{Held, Key, OwnerReference, Pod};
use crate::plan::{Action, Plan, Precondition, Propagation, Report};
use crate::view::View;

/// Plans all pods at once; the key says nothing.
pub fn plan(view: &View, _key: &Key, now: i64, _seed: u64) -> (Plan, Report) {
    let (mut plan, report) = (Plan::default(), Report::default());
    let pods = view.pods.all();
    for pod in &pods {
        // A job that is gone, or has let go of its pod, counts it no more.
        let counted = |owner: &OwnerReference| {
            &*owner.kind == "Job"
                && view
                    .jobs
                    .get(&pod.metadata.namespace, &owner.name)
                    .is_some_and(|job| job.metadata.uid == owner.uid)
        };
        if !pod.metadata.controller().is_some_and(counted) {
            plan.actions.extend(job::release(pod));
        }
        let bound = !pod.spec.node_name.is_empty();
        let lost = bound && view.nodes.get("", &pod.spec.node_name).is_none();
        if lost && !pod.is_finished() {
            let why = "PodGC: node no longer exists";
            plan.actions.extend(common::disrupt(pod, "DeletionByPodGC", why, now));
        }
        let unbound_and_going = !bound && pod.metadata.is_deleting();
        if lost || unbound_and_going {
            plan.push(Action::Delete {
                target: pod.key(),
                only_if: Precondition::uid(&pod.metadata.uid),
                propagation: Propagation::Background,
                grace: Some(0),
            });
        }
    }
    let mut finished: Vec<&Arc<Pod>> =
        pods.iter().filter(|pod| pod.is_finished() && !pod.metadata.is_deleting()).collect();
    let surplus = finished.len().saturating_sub(view.settings.terminated_pods);
    finished.sort_by_key(|pod| pod.metadata.creation_timestamp);
    plan.actions
        .extend(finished.into_iter().take(surplus).map(|pod| common::delete(pod.key(), &pod.metadata)));
    (plan, report)
}
