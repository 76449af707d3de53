//! What a Deployment says of itself, in the words that `kubectl rollout status` waits for.

use serde_json::json;

use super::rolling::max_unavailable;
use super::sets::Sets;
use crate::controllers::common::{self, Conditions};
use crate::model::{Deployment, Key};
use crate::plan::{Plan, Report};

/// Writes the counts and conditions if they changed. `report` is absent when nothing is being rolled out.
pub fn write(
    plan: &mut Plan,
    key: &Key,
    deployment: &Deployment,
    sets: &Sets,
    report: Option<&mut Report>,
    now: i64,
) {
    let sum = |count: fn(&crate::model::ReplicaSetStatus) -> i32| {
        sets.all().map(|set| count(&set.status)).sum::<i32>()
    };
    let (total, ready, available) =
        (sum(|s| s.replicas), sum(|s| s.ready_replicas), sum(|s| s.available_replicas));
    let updated = sets.new.as_ref().map_or(0, |set| set.status.replicas);
    let want = deployment.spec.replicas.unwrap_or(1);
    let unavailable = (sets.wanted() - available).max(0);
    let old = &deployment.status;

    let mut conditions = Conditions::new(&old.conditions);
    if available >= want - max_unavailable(deployment) {
        conditions.set(
            "Available",
            true,
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
            now,
            false,
        );
    } else {
        let text = "Deployment does not have minimum availability.";
        conditions.set("Available", false, "MinimumReplicasUnavailable", text, now, false);
    }
    if let Some(report) = report {
        let complete = updated == want && total == want && available == want;
        let progressed = updated > old.updated_replicas
            || total - updated < old.replicas - old.updated_replicas
            || ready > old.ready_replicas
            || available > old.available_replicas;
        progress(&mut conditions, plan, deployment, sets, (complete, progressed), report, now);
    }
    let before = json!({
        "observedGeneration": old.observed_generation, "replicas": old.replicas, "updatedReplicas": old.updated_replicas,
        "readyReplicas": old.ready_replicas, "availableReplicas": old.available_replicas,
        "unavailableReplicas": old.unavailable_replicas,
    });
    let mut new = json!({
        "observedGeneration": deployment.metadata.generation, "replicas": total, "updatedReplicas": updated,
        "readyReplicas": ready, "availableReplicas": available, "unavailableReplicas": unavailable,
    });
    if let Some(conditions) = conditions.into_changed() {
        new["conditions"] = conditions;
    }
    common::patch_status(plan, key, &deployment.metadata, &before, new);
}

fn progress(
    conditions: &mut Conditions,
    plan: &mut Plan,
    deployment: &Deployment,
    sets: &Sets,
    (complete, progressed): (bool, bool),
    report: &mut Report,
    now: i64,
) {
    let name = sets.new.as_ref().map_or(&deployment.metadata.name, |set| &set.metadata.name);
    let current = deployment.status.conditions.iter().find(|c| &*c.kind == "Progressing");
    if deployment.spec.paused {
        conditions.put("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now, false);
    } else if complete {
        let text = format!("ReplicaSet \"{name}\" has successfully progressed.");
        conditions.set("Progressing", true, "NewReplicaSetAvailable", &text, now, false);
    } else if progressed
        || current.is_none_or(|c| matches!(&*c.reason, "NewReplicaSetAvailable" | "DeploymentPaused"))
    {
        let text = format!("ReplicaSet \"{name}\" is progressing.");
        conditions.set("Progressing", true, "ReplicaSetUpdated", &text, now, true);
        report.waits("its pods to become available");
    } else if let (Some(current), Some(limit)) = (current, deployment.spec.progress_deadline_seconds) {
        let since = current.last_update_time.or(current.last_transition_time).map_or(now, |t| t.0);
        if now >= since + limit {
            let text = format!("ReplicaSet \"{name}\" has timed out progressing.");
            conditions.set("Progressing", false, "ProgressDeadlineExceeded", &text, now, false);
        } else {
            plan.again_at(since + limit);
        }
        report.waits("its pods to become available");
    }
}
