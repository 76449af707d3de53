//! `metadata`: names, labels, annotations, finalizers, owners.

use serde_json::Value;

use super::error::FieldError;
use super::field::{At, Errors};
use super::syntax::{self, Complaints};
use crate::gvk::GroupVersionKind;
use crate::names::finalizer;

/// All keys and values of the annotations of an object together, in bytes.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// Which names a kind allows.
fn name_check(gvk: &GroupVersionKind) -> Option<fn(&str) -> Complaints> {
    Some(match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("", "Namespace" | "Service") => syntax::dns_label,
        // Kubernetes does not look at this one's name, but that it can be a part of a path.
        ("policy", "PodDisruptionBudget") => syntax::path_segment,
        // Names with colons, slashes written as colons, or a dot at the end (`v1.`).
        ("rbac.authorization.k8s.io" | "apiregistration.k8s.io", _)
        | ("certificates.k8s.io", "ClusterTrustBundle") => syntax::path_segment,
        ("networking.k8s.io", "IPAddress") => syntax::ip,
        // Requests that are answered and not stored.
        ("authentication.k8s.io" | "authorization.k8s.io", _)
        | (
            "",
            "Binding" | "PodExecOptions" | "PodAttachOptions" | "PodPortForwardOptions" | "PodLogOptions",
        )
        | ("policy", "Eviction")
        | ("autoscaling", "Scale") => return None,
        _ => syntax::dns_subdomain,
    })
}

pub(super) fn create(gvk: &GroupVersionKind, object: &At, errors: &mut Errors) {
    let Some(check) = name_check(gvk) else { return };
    common(gvk, object, check, errors);
}

fn common(gvk: &GroupVersionKind, object: &At, check: fn(&str) -> Complaints, errors: &mut Errors) {
    let metadata = object.get("metadata");
    let (name, generate) = (metadata.get("name"), metadata.get("generateName"));
    if !generate.is_empty() {
        // What is appended starts with a letter, so a trailing dash is fine.
        let text = generate.text();
        let masked = text.strip_suffix('-').map_or_else(|| text.to_owned(), |stem| format!("{stem}-a"));
        errors.complaints(&generate, check(&masked));
    }
    if !name.is_empty() {
        errors.complaints(&name, check(name.text()));
    } else if generate.is_empty() {
        errors.required(&name, "name or generateName is required");
    }
    errors.form(&metadata.get("namespace"), syntax::dns_label);
    errors.non_negative(&metadata.get("generation"));
    labels(&metadata.get("labels"), errors);
    annotations(&metadata.get("annotations"), errors);
    owners(&metadata.get("ownerReferences"), errors);
    finalizers(gvk, &metadata.get("finalizers"), errors);
}

/// Labels, and other maps that must look like labels.
pub(super) fn labels(labels: &At, errors: &mut Errors) {
    for (key, value) in labels.entries() {
        errors.complaints_about(labels, key, syntax::qualified_name(key));
        errors.complaints_about(labels, value.text(), syntax::label_value(value.text()));
    }
}

pub(super) fn annotations(annotations: &At, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in annotations.entries() {
        errors.complaints_about(annotations, key, syntax::qualified_name(&key.to_lowercase()));
        size += key.len() + value.text().len();
    }
    if size > ANNOTATIONS_LIMIT {
        errors.push(FieldError::too_long(&annotations.path, ANNOTATIONS_LIMIT));
    }
}

/// Metadata of a pod template: labels and annotations only.
pub(super) fn template(metadata: &At, errors: &mut Errors) {
    labels(&metadata.get("labels"), errors);
    annotations(&metadata.get("annotations"), errors);
    for item in metadata.get("finalizers").items() {
        errors.complaints(&item, syntax::qualified_name(item.text()));
    }
}

/// Metadata of a claim that is made from a template: labels and annotations only.
pub(super) fn claim_template(metadata: &At, errors: &mut Errors) {
    annotations(&metadata.get("annotations"), errors);
    labels(&metadata.get("labels"), errors);
    for (name, at) in metadata.value.as_object().into_iter().flatten() {
        if !at.is_null() && !matches!(name.as_str(), "labels" | "annotations") {
            errors.forbidden(&metadata.get(name), "cannot be set");
        }
    }
}

/// Finalizers that need no domain.
const STANDARD: [&str; 3] = [finalizer::NAMESPACE, finalizer::FOREGROUND, finalizer::ORPHAN];

/// A finalizer of a built-in kind has a domain, or is known.
pub(super) fn known_finalizer(item: &At, errors: &mut Errors) {
    if !item.text().contains('/') && !STANDARD.contains(&item.text()) {
        errors.invalid(item, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

fn is_built_in(gvk: &GroupVersionKind) -> bool {
    !gvk.group.contains('.') || gvk.group.ends_with(".k8s.io")
}

fn finalizers(gvk: &GroupVersionKind, list: &At, errors: &mut Errors) {
    for item in list.items() {
        errors.complaints(&item.at(list.path.clone()), syntax::qualified_name(item.text()));
    }
    let has = |name: &str| list.items().iter().any(|item| item.text() == name);
    if has(finalizer::FOREGROUND) && has(finalizer::ORPHAN) {
        errors.invalid(list, "finalizer orphan and foregroundDeletion cannot be both set");
    }
    if is_built_in(gvk) {
        list.items().iter().for_each(|item| known_finalizer(item, errors));
    }
}

fn owners(list: &At, errors: &mut Errors) {
    let mut controller: Option<At> = None;
    for owner in list.items() {
        let owner = owner.at(list.path.clone());
        let version = owner.get("apiVersion");
        if version.is_empty() || version.text().matches('/').count() > 1 {
            errors.invalid_value(&version, version.text(), "version must not be empty");
        }
        for name in ["kind", "name", "uid"] {
            let field = owner.get(name);
            if field.is_empty() {
                errors.invalid_value(&field, "", "must not be empty");
            }
        }
        if (version.text(), owner.get("kind").text()) == ("v1", "Event") {
            errors.invalid(&owner, "/v1, Kind=Event is disallowed from being an owner");
        }
        if !owner.get("controller").is_true() {
            continue;
        }
        match &controller {
            None => controller = Some(owner),
            Some(first) => {
                let (kind, name) = (first.get("kind").text(), first.get("name").text());
                let (other, second) = (owner.get("kind").text(), owner.get("name").text());
                errors.invalid(
                    list,
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {kind}/{name} and {other}/{second}"
                    ),
                );
            }
        }
    }
}

pub(super) fn update(gvk: &GroupVersionKind, new: &At, old: &At, errors: &mut Errors) {
    let Some(check) = name_check(gvk) else { return };
    let (root, new, old) = (new, new.get("metadata"), old.get("metadata"));
    // Kubernetes' machinery looks twice at what may change, and each kind once more.
    for _ in 0..3 {
        labels(&new.get("labels"), errors);
        annotations(&new.get("annotations"), errors);
        owners(&new.get("ownerReferences"), errors);
    }
    if is_built_in(gvk) {
        new.get("finalizers").items().iter().for_each(|item| known_finalizer(item, errors));
    }
    for name in ["name", "namespace"] {
        errors.immutable(&new.get(name), &old.get(name));
    }
    // The API server copies these from the stored object when a client leaves them out.
    for name in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let field = new.get(name);
        if field.is_set() {
            errors.immutable(&field, &old.get(name));
        }
    }
    let generation = new.get("generation");
    if let (Some(now), Some(before)) = (generation.int(), old.get("generation").int())
        && now < before
    {
        errors.invalid(&generation, "must not be decremented");
    }
    if old.get("deletionTimestamp").is_set() {
        // Kubernetes looks twice, and lists what it finds twice.
        late_finalizers(&new.get("finalizers"), &old.get("finalizers"), errors);
        late_finalizers(&new.get("finalizers"), &old.get("finalizers"), errors);
    }
    if WHOLE.contains(&(gvk.group.as_str(), gvk.kind.as_str())) {
        common(gvk, root, check, errors);
    }
}

/// Kinds that check all of their metadata again when they change.
const WHOLE: &[(&str, &str)] = &[
    ("", "ConfigMap"),
    ("", "Endpoints"),
    ("", "Node"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("", "Pod"),
    ("", "Secret"),
    ("", "ServiceAccount"),
    ("discovery.k8s.io", "EndpointSlice"),
    ("networking.k8s.io", "IngressClass"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
    ("storage.k8s.io", "CSINode"),
    ("storage.k8s.io", "VolumeAttachment"),
];

fn late_finalizers(new: &At, old: &At, errors: &mut Errors) {
    let before: Vec<&Value> = old.items().iter().map(|item| item.value).collect();
    let added: Vec<String> = new
        .items()
        .iter()
        .filter(|item| !before.contains(&item.value))
        .map(|item| crate::status::quote(item.text()))
        .collect();
    if !added.is_empty() {
        let list = added.join(", ");
        errors.forbidden(
            new,
            &format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{list}}}"
            ),
        );
    }
}
