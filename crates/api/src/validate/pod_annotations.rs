//! Annotations of pods that mean something: of mirrors, and of profiles that had no fields once.

use super::field::{At, Errors};

const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Every container of a pod.
fn containers<'a>(spec: &At<'a>) -> Vec<At<'a>> {
    ["initContainers", "containers", "ephemeralContainers"]
        .iter()
        .flat_map(|list| spec.get(list).items())
        .collect()
}

pub(super) fn check(pod: &At, errors: &mut Errors) {
    let (notes, spec) = (pod.path(&["metadata", "annotations"]), pod.get("spec"));
    let note = |key: &str| notes.value.get(key).and_then(|value| value.as_str());
    let keyed = |key: &str| notes.at(format!("{}[{key}]", notes.path));
    if let Some(value) = note(MIRROR)
        && spec.get("nodeName").is_empty()
    {
        errors.invalid_value(&keyed(MIRROR), value, "must set spec.nodeName if mirror pod annotation is set");
    }
    if let Some(value) = note(DELETION_COST)
        && value.parse::<i32>().is_err()
    {
        errors.invalid_value(&keyed(DELETION_COST), value, "must be a 32bit integer");
    }
    let known = |value: &str| {
        matches!(value, "runtime/default" | "docker/default" | "unconfined")
            || value.strip_prefix("localhost/").is_some_and(|path| !path.is_empty())
    };
    for (key, at) in notes.entries() {
        if (key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER)) && !known(at.text()) {
            let at = at.at(format!("{}.{key}", notes.path));
            errors.invalid_value(&at, at.text(), "must be a valid seccomp profile");
        }
    }
    for (key, at) in notes.entries() {
        let Some(name) = key.strip_prefix(APP_ARMOR) else { continue };
        if !containers(&spec).iter().any(|container| container.get("name").text() == name) {
            errors.invalid_value(&at, name, "container not found");
        }
        let profile = at.text();
        let known = matches!(profile, "" | "runtime/default" | "unconfined");
        if !known && !profile.starts_with("localhost/") {
            let words = format!("invalid AppArmor profile name: {}", crate::status::quote(profile));
            errors.invalid_value(&at, profile, words);
        }
    }
}

/// In a new pod, fields and the annotations that they have replaced must not contradict each other.
pub(super) fn agree(pod: &At, errors: &mut Errors) {
    let (notes, spec) = (pod.path(&["metadata", "annotations"]), pod.get("spec"));
    let note = |key: &str| notes.value.get(key).and_then(|value| value.as_str());
    let whole = spec.path(&["securityContext", "seccompProfile"]);
    if let Some(note) = note(SECCOMP_POD) {
        compare(&whole, note, "seccomp", errors);
    }
    for container in containers(&spec) {
        let profile = container.path(&["securityContext", "seccompProfile"]);
        if let Some(note) = note(&format!("{SECCOMP_CONTAINER}{}", container.get("name").text())) {
            compare(&profile, note, "seccomp", errors);
        }
    }
    if spec.path(&["os", "name"]).text() == "windows" {
        return;
    }
    for container in containers(&spec) {
        let own = container.path(&["securityContext", "appArmorProfile"]);
        let whole = spec.path(&["securityContext", "appArmorProfile"]);
        let profile =
            At { path: own.path.clone(), value: if own.is_set() { own.value } else { whole.value } };
        if let Some(note) = note(&format!("{APP_ARMOR}{}", container.get("name").text())) {
            compare(&profile, note, "apparmor", errors);
        }
    }
}

fn compare(profile: &At, note: &str, what: &str, errors: &mut Errors) {
    let (kind, file) = (profile.get("type"), profile.get("localhostProfile"));
    let same_type = match kind.text() {
        "Unconfined" => note == "unconfined",
        "RuntimeDefault" => note == "runtime/default" || (what == "seccomp" && note == "docker/default"),
        "Localhost" => note.starts_with("localhost/"),
        _ => true,
    };
    if !same_type {
        errors.forbidden(&kind, &format!("{what} type in annotation and field must match"));
    } else if kind.text() == "Localhost" && note.strip_prefix("localhost/") != Some(file.text()) {
        errors.forbidden(&file, &format!("{what} profile in annotation and field must match"));
    }
}
