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
    finalizers(gvk, &metadata.get("finalizers"), errors);
    owners(&metadata.get("ownerReferences"), errors);
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

fn finalizers(gvk: &GroupVersionKind, list: &At, errors: &mut Errors) {
    const STANDARD: [&str; 3] = [finalizer::NAMESPACE, finalizer::FOREGROUND, finalizer::ORPHAN];
    let built_in = gvk.group.is_empty() || !gvk.group.contains('.') || gvk.group.ends_with(".k8s.io");
    for item in list.items() {
        errors.complaints_about(list, item.text(), syntax::qualified_name(item.text()));
    }
    let has = |name: &str| list.items().iter().any(|item| item.text() == name);
    if has(finalizer::FOREGROUND) && has(finalizer::ORPHAN) {
        errors.invalid(list, "finalizer orphan and foregroundDeletion cannot be both set");
    }
    for item in list.items().iter().filter(|_| built_in) {
        let qualified = item.text().contains('/') || STANDARD.contains(&item.text());
        if syntax::qualified_name(item.text()).is_empty() && !qualified {
            errors.invalid(item, "name is neither a standard finalizer name nor is it fully qualified");
        }
    }
}

fn owners(list: &At, errors: &mut Errors) {
    let mut controller: Option<At> = None;
    for mut owner in list.items() {
        // Kubernetes does not say which of them.
        owner.path.clone_from(&list.path);
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
    common(gvk, new, check, errors);
    let (new, old) = (new.get("metadata"), old.get("metadata"));
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
}

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
