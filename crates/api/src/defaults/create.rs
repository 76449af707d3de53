//! What the creation of an object sets, and no later write: states to start from, and selectors made of the uid.

use serde_json::Value;

use super::fill::{at, ensure, set, set_text, text};
use super::pod;
use crate::gvk::GroupVersionKind;
use crate::names::{finalizer, label};

/// Sets what only a new object gets. Call it after [`super::apply`] and after `metadata.uid` is set. What a client
/// wrote into `status` of kinds that have a status subresource is the caller's to drop, before this.
pub fn create(gvk: &GroupVersionKind, object: &mut Value) {
    if (gvk.group.as_str(), gvk.kind.as_str()) == ("batch", "Job") {
        generate_job_selector(object);
        return;
    }
    if !gvk.group.is_empty() {
        return;
    }
    let qos = pod::qos_class(&object["spec"]);
    let Some(object) = object.as_object_mut() else { return };
    match gvk.kind.as_str() {
        "Pod" => {
            if let Some(status) = ensure(object, "status") {
                set_text(status, "phase", "Pending");
                set_text(status, "qosClass", qos);
            }
        }
        "Namespace" => {
            if let Some(spec) = ensure(object, "spec") {
                let list = spec.entry("finalizers").or_insert_with(|| Vec::<Value>::new().into());
                if list.is_null() {
                    *list = Vec::<Value>::new().into();
                }
                if let Some(list) = list.as_array_mut()
                    && !list.iter().any(|item| item == finalizer::NAMESPACE)
                {
                    list.push(finalizer::NAMESPACE.into());
                }
            }
            if let Some(status) = ensure(object, "status") {
                status.insert("phase".into(), "Active".into());
            }
        }
        "PersistentVolume" | "PersistentVolumeClaim" => {
            if let Some(status) = ensure(object, "status") {
                status.insert("phase".into(), "Pending".into());
            }
        }
        _ => {}
    }
}

/// Gives a job the selector of its own uid and its template the matching labels, unless it has `manualSelector`.
pub fn generate_job_selector(object: &mut Value) {
    let Some(job) = object.as_object_mut() else { return };
    let (uid, name) = match job.get("metadata").and_then(Value::as_object) {
        Some(metadata) => (text(metadata, "uid").to_owned(), text(metadata, "name").to_owned()),
        None => return,
    };
    let Some(spec) = at(job, &["spec"]) else { return };
    if uid.is_empty() || spec.get("manualSelector") == Some(&Value::Bool(true)) {
        return;
    }
    if let Some(labels) =
        ensure(spec, "template").and_then(|t| ensure(t, "metadata")).and_then(|m| ensure(m, "labels"))
    {
        for (key, value) in [
            (label::CONTROLLER_UID, &uid),
            (label::CONTROLLER_UID_LEGACY, &uid),
            (label::JOB_NAME, &name),
            (label::JOB_NAME_LEGACY, &name),
        ] {
            set(labels, key, value.as_str());
        }
    }
    if let Some(labels) = ensure(spec, "selector").and_then(|s| ensure(s, "matchLabels")) {
        set(labels, label::CONTROLLER_UID, uid);
    }
}
