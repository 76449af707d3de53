//! Deployments, replica sets, daemon sets, stateful sets, controller revisions.

use super::field::{At, Errors, same};
use super::{FieldError, pod, resources, selectors, storage};

pub(super) fn kind(kind: &str, object: &At, errors: &mut Errors) {
    let spec = object.get("spec");
    match kind {
        "Deployment" => deployment(&spec, errors),
        "ReplicaSet" => {
            replicas(&spec, errors);
            selectors::workload(&spec, "deployment", errors);
            always(&spec, "ReplicaSet", errors);
        }
        "DaemonSet" => daemon_set(&spec, errors),
        "StatefulSet" => stateful_set(&spec, errors),
        "ControllerRevision" => {
            errors.non_negative(&object.get("revision"));
            if !object.get("data").is_set() {
                errors.required(&object.get("data"), "data is mandatory");
            }
        }
        _ => {}
    }
}

pub(super) fn change(kind: &str, new: &At, old: &At, errors: &mut Errors) {
    let (spec, old_spec) = (new.get("spec"), old.get("spec"));
    match kind {
        "Deployment" | "ReplicaSet" | "DaemonSet" => {
            errors.immutable(&spec.get("selector"), &old_spec.get("selector"));
        }
        "StatefulSet" => stateful_set_change(&spec, &old_spec, errors),
        "ControllerRevision" => errors.immutable(&new.get("data"), &old.get("data")),
        _ => {}
    }
}

pub(super) fn replicas(spec: &At, errors: &mut Errors) {
    for name in ["replicas", "minReadySeconds", "revisionHistoryLimit"] {
        errors.non_negative(&spec.get(name));
    }
}

/// The template, whose pods must be restarted for ever.
pub(super) fn always(spec: &At, kind: &str, errors: &mut Errors) {
    let template = spec.get("template");
    if !template.is_set() {
        errors.required(&template, "");
        return;
    }
    pod::template(&template, errors);
    let policy = template.path(&["spec", "restartPolicy"]);
    if ["Never", "OnFailure"].contains(&policy.text()) {
        errors.push(FieldError::not_supported(&policy.path, policy.value.clone(), &["Always"]));
    }
    let deadline = template.path(&["spec", "activeDeadlineSeconds"]);
    if deadline.is_set() {
        errors.forbidden(&deadline, &format!("activeDeadlineSeconds in {kind} is not Supported"));
    }
}

fn deployment(spec: &At, errors: &mut Errors) {
    replicas(spec, errors);
    selectors::workload(spec, "deployment", errors);
    always(spec, "ReplicaSet", errors);
    let strategy = spec.get("strategy");
    let (kind, rolling) = (strategy.get("type"), strategy.get("rollingUpdate"));
    errors.need_supported(&kind, &["Recreate", "RollingUpdate"]);
    if kind.text() == "Recreate" && rolling.is_set() {
        errors.forbidden(&rolling, "may not be specified when strategy `type` is 'Recreate'");
    }
    if kind.text() == "RollingUpdate" && rolling.is_set() {
        rolling_update(&rolling, errors);
    }
    let (progress, ready) = (spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds"));
    errors.non_negative(&progress);
    if progress.int().is_some_and(|n| n <= ready.int().unwrap_or_default()) {
        errors.invalid(&progress, "must be greater than minReadySeconds");
    }
}

fn rolling_update(rolling: &At, errors: &mut Errors) {
    let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
    resources::int_or_percent(&unavailable, errors);
    resources::int_or_percent(&surge, errors);
    if resources::is_zero(&unavailable) && resources::is_zero(&surge) {
        errors.invalid(&unavailable, "may not be 0 when `maxSurge` is 0");
    }
    resources::at_most_hundred(&unavailable, errors);
}

fn daemon_set(spec: &At, errors: &mut Errors) {
    replicas(spec, errors);
    selectors::workload(spec, "daemonset", errors);
    always(spec, "DaemonSet", errors);
    let strategy = spec.get("updateStrategy");
    errors.need_supported(&strategy.get("type"), &["OnDelete", "RollingUpdate"]);
    if strategy.get("type").text() != "RollingUpdate" {
        return;
    }
    let rolling = strategy.get("rollingUpdate");
    let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
    resources::int_or_percent(&unavailable, errors);
    resources::int_or_percent(&surge, errors);
    resources::at_most_hundred(&unavailable, errors);
    resources::at_most_hundred(&surge, errors);
    match (resources::is_zero(&unavailable), resources::is_zero(&surge)) {
        (true, true) => errors.required(&unavailable, "cannot be 0 when maxSurge is 0"),
        (false, false) if surge.is_set() && unavailable.is_set() => {
            errors.invalid(&surge, "may not be set when maxUnavailable is non-zero");
        }
        _ => {}
    }
}

fn stateful_set(spec: &At, errors: &mut Errors) {
    replicas(spec, errors);
    errors.need_supported(&spec.get("podManagementPolicy"), &["OrderedReady", "Parallel"]);
    let strategy = spec.get("updateStrategy");
    let rolling = strategy.get("rollingUpdate");
    errors.need_supported(&strategy.get("type"), &["OnDelete", "RollingUpdate"]);
    if strategy.get("type").text() == "OnDelete" && rolling.is_set() {
        errors.invalid(&rolling, "only allowed for updateStrategy 'RollingUpdate'");
    }
    errors.non_negative(&rolling.get("partition"));
    let unavailable = rolling.get("maxUnavailable");
    resources::int_or_percent(&unavailable, errors);
    resources::at_most_hundred(&unavailable, errors);
    if resources::is_zero(&unavailable) {
        errors.invalid(&unavailable, "cannot be 0");
    }
    errors.non_negative(&spec.path(&["ordinals", "start"]));
    for name in ["whenDeleted", "whenScaled"] {
        let field = spec.path(&["persistentVolumeClaimRetentionPolicy", name]);
        errors.supported(&field, &["Delete", "Retain"]);
    }
    selectors::workload(spec, "statefulset", errors);
    // The volumes of the claims are mounted by name but stand in no pod spec yet.
    let claims = spec.get("volumeClaimTemplates").items();
    for claim in &claims {
        storage::claim_spec(&claim.get("spec"), errors);
    }
    let with_claims = with_claim_volumes(&spec.value["template"], &claims);
    let with_claims = At { path: spec.path.clone(), value: &with_claims };
    always(&with_claims, "StatefulSet", errors);
}

/// `{"template": ...}` whose pods have the claims of the set as volumes, behind its own so that no path shifts.
fn with_claim_volumes(template: &serde_json::Value, claims: &[At]) -> serde_json::Value {
    let mut template = template.clone();
    let Some(spec) = template.get_mut("spec").and_then(serde_json::Value::as_object_mut) else {
        return serde_json::json!({ "template": template });
    };
    let mut volumes = spec.get("volumes").and_then(|v| v.as_array().cloned()).unwrap_or_default();
    for claim in claims {
        let name = claim.path(&["metadata", "name"]).text();
        let source = serde_json::json!({"claimName": name});
        let volume = serde_json::json!({"name": name, "persistentVolumeClaim": source});
        // A volume of the same name is replaced by the claim when the pod is made.
        match volumes.iter_mut().find(|volume| volume["name"] == name) {
            Some(same_name) => *same_name = volume,
            None => volumes.push(volume),
        }
    }
    spec.insert("volumes".into(), volumes.into());
    serde_json::json!({ "template": template })
}

fn stateful_set_change(new: &At, old: &At, errors: &mut Errors) {
    const ALLOWED: [&str; 7] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let fixed = |value: &serde_json::Value| {
        let mut value = value.clone();
        if let Some(map) = value.as_object_mut() {
            map.retain(|key, _| !ALLOWED.contains(&key.as_str()));
        }
        value
    };
    if !same(&fixed(new.value), &fixed(old.value)) {
        errors.forbidden(
            new,
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        );
    }
}
