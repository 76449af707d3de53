//! Deployments, replica sets, daemon sets, stateful sets.

use serde_json::json;

use super::fill::{Object, child, ensure, items, set, set_text, text};
use super::{core, pod};

pub(super) fn apply(kind: &str, object: &mut Object) {
    if !matches!(kind, "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet") {
        return;
    }
    let Some(spec) = ensure(object, "spec") else { return };
    pod::template(spec);
    match kind {
        "Deployment" => deployment(spec),
        "ReplicaSet" => set(spec, "replicas", 1),
        "DaemonSet" => daemon_set(spec),
        _ => stateful_set(spec),
    }
}

fn deployment(spec: &mut Object) {
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "progressDeadlineSeconds", 600);
    rolling(spec, "strategy", &[("maxUnavailable", json!("25%")), ("maxSurge", json!("25%"))]);
}

fn daemon_set(spec: &mut Object) {
    set(spec, "revisionHistoryLimit", 10);
    rolling(spec, "updateStrategy", &[("maxUnavailable", json!(1)), ("maxSurge", json!(0))]);
}

/// A strategy of type `RollingUpdate` unless it says another type, with its numbers.
fn rolling(spec: &mut Object, key: &str, numbers: &[(&str, serde_json::Value)]) {
    let Some(strategy) = ensure(spec, key) else { return };
    set_text(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate"
        && let Some(rolling) = ensure(strategy, "rollingUpdate")
    {
        for (name, value) in numbers {
            set(rolling, name, value.clone());
        }
    }
}

fn stateful_set(spec: &mut Object) {
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    set_text(spec, "podManagementPolicy", "OrderedReady");
    rolling(spec, "updateStrategy", &[("partition", json!(0))]);
    if let Some(retention) = ensure(spec, "persistentVolumeClaimRetentionPolicy") {
        set_text(retention, "whenDeleted", "Retain");
        set_text(retention, "whenScaled", "Retain");
    }
    for claim in items(spec, "volumeClaimTemplates") {
        set_text(claim, "apiVersion", "v1");
        set_text(claim, "kind", "PersistentVolumeClaim");
        core::claim(claim);
        if let Some(status) = child(claim, "status") {
            set_text(status, "phase", "Pending");
        }
    }
}
