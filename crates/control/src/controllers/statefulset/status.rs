//! What a StatefulSet says of itself; `kubectl rollout status` reads it.

use std::sync::Arc;

use serde_json::json;

use super::{POD_LABEL, Set};
use crate::controllers::common;
use crate::model::Pod;
use crate::plan::Plan;

pub fn write(this: &Set, plan: &mut Plan, pods: &[Arc<Pod>]) {
    let count = |test: &dyn Fn(&Pod) -> bool| pods.iter().filter(|pod| test(pod)).count() as i32;
    let of = |pod: &Pod, revision: &str| {
        !pod.metadata.is_deleting()
            && pod.metadata.labels.get(POD_LABEL).is_some_and(|name| **name == *revision)
    };
    let runs = |pod: &Pod| &*pod.status.phase == "Running" && pod.is_ready();
    let min_ready = this.set.spec.min_ready_seconds;
    let (mut current, update) = (this.current.0.clone(), this.revisions.name.clone());
    let wanted = this.set.spec.replicas.unwrap_or(1);
    let (replicas, ready) = (pods.len() as i32, count(&runs));
    let updated = count(&|pod| of(pod, &update));
    let rolling = &*this.set.spec.update_strategy.kind != "OnDelete";
    if rolling && [updated, ready, replicas] == [wanted; 3] {
        current = update.clone();
    }
    let old = &this.set.status;
    let before = json!({
        "observedGeneration": old.observed_generation, "replicas": old.replicas, "readyReplicas": old.ready_replicas,
        "availableReplicas": old.available_replicas, "currentReplicas": old.current_replicas,
        "updatedReplicas": old.updated_replicas, "currentRevision": old.current_revision,
        "updateRevision": old.update_revision, "collisionCount": old.collision_count,
    });
    let new = json!({
        "observedGeneration": this.set.metadata.generation, "replicas": replicas, "readyReplicas": ready,
        "availableReplicas": count(&|pod| runs(pod) && pod.is_available(min_ready, this.now)),
        "currentReplicas": count(&|pod| of(pod, &current)),
        "updatedReplicas": updated, "currentRevision": current, "updateRevision": update,
        "collisionCount": this.revisions.collisions,
    });
    common::patch_status(plan, this.key, &this.set.metadata, &before, new);
}
