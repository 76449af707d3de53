//! Deployments, replica sets, daemon sets, stateful sets, controller revisions.

use super::field::{At, Errors, same};
use super::{FieldError, metadata, pod, resources, selectors, storage, syntax};
use crate::selector::LabelSelector;

pub(super) fn kind(kind: &str, object: &At, errors: &mut Errors) {
    let spec = object.get("spec");
    match kind {
        "Deployment" => deployment(&spec, errors),
        "ReplicaSet" => {
            errors.non_negative(&spec.get("replicas"));
            errors.non_negative(&spec.get("minReadySeconds"));
            if selectors::workload(&spec, "deployment", "invalid label selector", errors) {
                always(&spec, "ReplicaSet", errors);
            }
        }
        "DaemonSet" => daemon_set(&spec, errors),
        "StatefulSet" => stateful_set(&spec, None, errors),
        "ControllerRevision" => {
            errors.non_negative(&object.get("revision"));
            if !object.get("data").is_set() {
                errors.required(&object.get("data"), "data is mandatory");
            }
        }
        _ => {}
    }
}

/// The checks of a changed object as such, which for a stateful set are fewer than those of a new one.
pub(super) fn changed_kind(kind: &str, new: &At, old: &At, errors: &mut Errors) {
    match kind {
        "StatefulSet" => stateful_set(&new.get("spec"), Some(&old.get("spec")), errors),
        _ => self::kind(kind, new, errors),
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

/// What controllers report.
pub(super) fn status(kind: &str, object: &At, errors: &mut Errors) {
    let status = object.get("status");
    let names: &[&str] = match kind {
        "Deployment" => &[
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "terminatingReplicas",
            "collisionCount",
        ],
        "ReplicaSet" => &[
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
            "observedGeneration",
            "terminatingReplicas",
        ],
        "StatefulSet" => &[
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
            "collisionCount",
        ],
        "DaemonSet" => &[
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ],
        _ => return,
    };
    for name in names {
        errors.non_negative(&status.get(name));
    }
    let parts: &[&str] = match kind {
        "Deployment" => &["updatedReplicas", "readyReplicas", "availableReplicas"],
        "ReplicaSet" => &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
        "StatefulSet" => &["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"],
        _ => return,
    };
    let number = |name: &str| status.get(name).int().unwrap_or_default();
    for name in parts {
        if number(name) > number("replicas") {
            errors.invalid_value(&status.get(name), number(name), "cannot be greater than status.replicas");
        }
    }
    if number("availableReplicas") > number("readyReplicas") {
        let whole = if kind == "StatefulSet" { "status.readyReplicas" } else { "readyReplicas" };
        let words = format!("cannot be greater than {whole}");
        errors.invalid_value(&status.get("availableReplicas"), number("availableReplicas"), words);
    }
}

/// The template, whose pods must be restarted for ever.
pub(super) fn always(spec: &At, kind: &str, errors: &mut Errors) {
    pod::template(&spec.get("template"), errors);
    only_always(spec, kind, errors);
}

fn only_always(spec: &At, kind: &str, errors: &mut Errors) {
    let template = spec.get("template");
    let policy = template.path(&["spec", "restartPolicy"]);
    errors.one_of(&policy, &["Always"]);
    let deadline = template.path(&["spec", "activeDeadlineSeconds"]);
    if deadline.is_set() {
        errors.forbidden(&deadline, &format!("activeDeadlineSeconds in {kind} is not Supported"));
    }
}

fn deployment(spec: &At, errors: &mut Errors) {
    errors.non_negative(&spec.get("replicas"));
    if selectors::workload(spec, "deployment", "invalid label selector", errors) {
        always(spec, "ReplicaSet", errors);
    }
    let strategy = spec.get("strategy");
    let (kind, rolling) = (strategy.get("type"), strategy.get("rollingUpdate"));
    match kind.text() {
        "Recreate" => {
            if rolling.is_set() {
                errors.forbidden(&rolling, "may not be specified when strategy `type` is 'Recreate'");
            }
        }
        "RollingUpdate" => rolling_update(&rolling, errors),
        _ => {
            let known = &["Recreate", "RollingUpdate"];
            errors.push(FieldError::not_supported(&strategy.path, strategy.value.clone(), known));
        }
    }
    let (progress, ready) = (spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds"));
    errors.non_negative(&ready);
    errors.non_negative(&spec.get("revisionHistoryLimit"));
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
    let selector = spec.get("selector");
    selectors::label_selector(&selector, errors);
    if let Ok(parsed) = LabelSelector::from_value(selector.value) {
        let labels = spec.path(&["template", "metadata", "labels"]);
        if !selector.is_set() || !parsed.matches(labels.value) {
            selectors::unfit(&labels, errors);
        }
    }
    if selector.is_set()
        && selector.get("matchLabels").is_empty()
        && selector.get("matchExpressions").is_empty()
    {
        errors.invalid(&selector, "empty selector is invalid for daemonset");
    }
    always(spec, "DaemonSet", errors);
    errors.non_negative(&spec.get("minReadySeconds"));
    daemon_update(&spec.get("updateStrategy"), errors);
    errors.non_negative(&spec.get("revisionHistoryLimit"));
}

fn daemon_update(strategy: &At, errors: &mut Errors) {
    match strategy.get("type").text() {
        "OnDelete" => return,
        "RollingUpdate" => {}
        _ => {
            let known = &["RollingUpdate", "OnDelete"];
            return errors.push(FieldError::not_supported(&strategy.path, strategy.value.clone(), known));
        }
    }
    let rolling = strategy.get("rollingUpdate");
    let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
    resources::int_or_percent(&unavailable, errors);
    resources::int_or_percent(&surge, errors);
    match (resources::is_zero(&unavailable), resources::is_zero(&surge)) {
        (true, true) => errors.required(&unavailable, "cannot be 0 when maxSurge is 0"),
        (false, false) if surge.is_set() && unavailable.is_set() => {
            errors.invalid(&surge, "may not be set when maxUnavailable is non-zero");
        }
        _ => {}
    }
    resources::at_most_hundred(&unavailable, errors);
    resources::at_most_hundred(&surge, errors);
}

/// A stateful set; `old` is the specification that it replaces.
fn stateful_set(spec: &At, old: Option<&At>, errors: &mut Errors) {
    let management = spec.get("podManagementPolicy");
    match management.text() {
        "" => errors.required(&management, ""),
        "OrderedReady" | "Parallel" => {}
        _ => errors.invalid(&management, "must be 'OrderedReady' or 'Parallel'"),
    }
    let strategy = spec.get("updateStrategy");
    let rolling = strategy.get("rollingUpdate");
    match strategy.get("type").text() {
        "" => errors.required(&strategy, ""),
        "OnDelete" => {
            if rolling.is_set() {
                errors.invalid(&rolling, "only allowed for updateStrategy 'RollingUpdate'");
            }
        }
        "RollingUpdate" => {
            errors.non_negative(&rolling.get("partition"));
            let unavailable = rolling.get("maxUnavailable");
            resources::int_or_percent(&unavailable, errors);
            if resources::is_zero(&unavailable) {
                errors.invalid(&unavailable, "cannot be 0");
            }
            resources::at_most_hundred(&unavailable, errors);
        }
        _ => errors.invalid(&strategy, "must be 'RollingUpdate' or 'OnDelete'"),
    }
    for name in ["whenDeleted", "whenScaled"] {
        let field = spec.path(&["persistentVolumeClaimRetentionPolicy", name]);
        errors.supported(&field, &["Retain", "Delete"]);
    }
    if old.is_none() {
        for claim in spec.get("volumeClaimTemplates").items() {
            storage::claim_spec(&claim.get("spec"), errors);
        }
    }
    errors.non_negative(&spec.get("replicas"));
    errors.non_negative(&spec.get("minReadySeconds"));
    errors.non_negative(&spec.path(&["ordinals", "start"]));
    if old.is_none() {
        errors.form(&spec.get("serviceName"), syntax::dns_label);
    }
    // The volumes of the claims are mounted by name but stand in no pod spec yet.
    let claims = spec.get("volumeClaimTemplates").items();
    if selectors::workload(spec, "statefulset", "", errors) {
        let mut with_claims = with_claim_volumes(&spec.value["template"], &claims);
        // These two the controller sets for each pod.
        if let Some(pod) = with_claims.pointer_mut("/template/spec").and_then(|spec| spec.as_object_mut()) {
            pod.remove("subdomain");
            pod.remove("hostname");
        }
        let template = At { path: spec.get("template").path, value: &with_claims["template"] };
        pod::template(&template, errors);
        metadata::labels(&template.path(&["metadata", "labels"]).at(template.get("labels").path), errors);
        metadata::annotations(
            &template.path(&["metadata", "annotations"]).at(template.get("annotations").path),
            errors,
        );
    }
    only_always(spec, "StatefulSet", errors);
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
