//! What the server decides about an object's metadata, on creation and on change. Pure.

use serde_json::{Value, json};

use crate::failure::{Cause, Failure, Result};
use crate::object::{self, at, carry, carry_top, meta, text};
use crate::resources::Resource;
use crate::server::Call;
use crate::time;

/// Names longer than this are cut before a suffix is added, so that labels can hold them.
const GENERATED_BASE: usize = 58;

/// A name from a prefix.
pub fn generated(base: &str) -> String {
    let cut: String = base.chars().take(GENERATED_BASE).collect();
    format!("{cut}{}", object::suffix())
}

/// Settles name and namespace of a new object; tells whether the name was generated.
pub fn identity(call: &Call, value: &mut Value) -> Result<bool> {
    let resource = &call.resource;
    namespace(call, value)?;
    let base = text(value, &["metadata", "generateName"]).to_owned();
    if !object::name(value).is_empty() {
        return Ok(false);
    }
    if base.is_empty() {
        let cause = Cause::new(
            "FieldValueRequired",
            "metadata.name",
            "Required value: name or generateName is required",
        );
        return Err(Failure::invalid(resource, "", &[cause]));
    }
    meta(value).insert("name".into(), json!(generated(&base)));
    Ok(true)
}

/// The namespace of the path is the object's, and must not contradict it.
pub fn namespace(call: &Call, value: &mut Value) -> Result<()> {
    let given = object::namespace(value).to_owned();
    match call.namespace.as_deref() {
        Some(namespace) => {
            if !given.is_empty() && given != namespace {
                return Err(Failure::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            meta(value).insert("namespace".into(), json!(namespace));
        }
        None => {
            if !given.is_empty() && !call.resource.namespaced {
                return Err(Failure::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            meta(value).remove("namespace");
        }
    }
    Ok(())
}

/// Fresh identity and no history.
pub fn new_object(resource: &Resource, value: &mut Value) {
    let meta = meta(value);
    for field in
        ["resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"]
    {
        meta.remove(field);
    }
    meta.insert("uid".into(), json!(object::new_uid()));
    meta.insert("creationTimestamp".into(), json!(time::now()));
    if resource.generation {
        meta.insert("generation".into(), json!(1));
    }
    if resource.has_status()
        && let Some(object) = value.as_object_mut()
        // A node registers itself with the status that it knows.
        && resource.stored != "nodes"
    {
        object.remove("status");
    }
}

/// Checks that a changed object is still the one of the path.
pub fn same_object(call: &Call, old: &Value, new: &mut Value) -> Result<()> {
    let resource = &call.resource;
    namespace(call, new)?;
    match object::name(new) {
        "" => {
            meta(new).insert("name".into(), json!(call.name()));
        }
        name if name != call.name() => {
            return Err(Failure::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                call.name()
            )));
        }
        _ => {}
    }
    let (wanted, is) = (object::uid(new), object::uid(old));
    if !wanted.is_empty() && wanted != is {
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {is}");
        return Err(Failure::conflict(resource, call.name(), &why));
    }
    let wanted = text(new, &["metadata", "resourceVersion"]);
    if !wanted.is_empty() && wanted != text(old, &["metadata", "resourceVersion"]) {
        return Err(Failure::modified(resource, call.name()));
    }
    Ok(())
}

/// Keeps what a change through this subresource may not touch.
pub fn isolate(resource: &Resource, sub: &str, old: &Value, new: &mut Value) {
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "generation",
        "generateName",
        "resourceVersion",
    ] {
        carry(field, old, new);
    }
    match sub {
        "status" | "approval" => {
            keep_all_but_status(resource, old, new);
            // The class of a pod is settled when it is made; a node need not repeat it.
            let class = text(old, &["status", "qosClass"]).to_owned();
            if resource.stored == "pods" && text(new, &["status", "qosClass"]).is_empty() && !class.is_empty()
            {
                object::map(new, "status").insert("qosClass".into(), json!(class));
            }
        }
        "" if resource.has_status() => carry_top("status", old, new),
        "ephemeralcontainers" => {
            let added = at(new, &["spec", "ephemeralContainers"]).cloned();
            keep_metadata(old, new);
            carry_top("status", old, new);
            carry_top("spec", old, new);
            if let Some(added) = added {
                object::map(new, "spec").insert("ephemeralContainers".into(), added);
            }
        }
        "resize" => {
            carry_top("status", old, new);
            keep_metadata(old, new);
            only_resources(old, new);
        }
        "finalize" => carry_top("status", old, new),
        _ => {}
    }
}

/// Of a pod that is resized, only the resources of its containers and its own are taken.
fn only_resources(old: &Value, new: &mut Value) {
    let mut spec = old["spec"].clone();
    for list in ["containers", "initContainers"] {
        let wanted = new["spec"][list].as_array().cloned().unwrap_or_default();
        let kept = spec.get_mut(list).and_then(Value::as_array_mut);
        if kept.as_ref().is_none_or(|kept| kept.len() != wanted.len()) {
            continue;
        }
        for (container, wanted) in kept.into_iter().flatten().zip(&wanted) {
            for field in ["resources", "resizePolicy"] {
                match wanted.get(field) {
                    Some(value) => container[field] = value.clone(),
                    None => {
                        container.as_object_mut().map(|container| container.remove(field));
                    }
                }
            }
        }
    }
    if let Some(resources) = new["spec"].get("resources") {
        spec["resources"] = resources.clone();
    }
    new["spec"] = spec;
}

fn keep_all_but_status(resource: &Resource, old: &Value, new: &mut Value) {
    let Some(object) = old.as_object() else { return };
    let fields: Vec<String> = object
        .keys()
        .chain(new.as_object().into_iter().flat_map(|o| o.keys()))
        .filter(|k| !matches!(k.as_str(), "status" | "metadata" | "apiVersion" | "kind"))
        .cloned()
        .collect();
    for field in fields {
        carry_top(&field, old, new);
    }
    if matches!(&*resource.stored, "pods" | "nodes") {
        carry("ownerReferences", old, new);
        carry("finalizers", old, new);
    } else {
        keep_metadata(old, new);
    }
}

fn keep_metadata(old: &Value, new: &mut Value) {
    let managed = at(new, &["metadata", "managedFields"]).cloned();
    carry_top("metadata", old, new);
    if let Some(managed) = managed {
        meta(new).insert("managedFields".into(), managed);
    }
}

/// Counts a change of what is wanted, as opposed to what is observed.
pub fn generation(resource: &Resource, old: &Value, new: &mut Value) {
    if !resource.generation {
        return;
    }
    // Without a subresource of its own the status of a custom object is like everything else in it.
    let apart = resource.custom.is_none() || resource.has_status();
    let wanted = |v: &Value| -> Vec<(String, Value)> {
        let Some(map) = v.as_object() else { return Vec::new() };
        let mut fields: Vec<_> = map
            .iter()
            .filter(|(k, _)| k.as_str() != "metadata" && (k.as_str() != "status" || !apart))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        fields
    };
    let before = object::int(old, &["metadata", "generation"]);
    let after = if wanted(old) == wanted(new) { before } else { before + 1 };
    if after > 0 {
        meta(new).insert("generation".into(), json!(after));
    }
}

/// Whether two states differ in anything but the times in `managedFields`.
pub fn unchanged(old: &Value, new: &Value) -> bool {
    let (Some(a), Some(b)) = (old.as_object(), new.as_object()) else { return false };
    let plain = |k: &str| k != "metadata";
    let count = |m: &serde_json::Map<String, Value>| m.keys().filter(|k| plain(k)).count();
    if count(a) != count(b) || a.iter().any(|(k, v)| plain(k) && b.get(k) != Some(v)) {
        return false;
    }
    let empty = serde_json::Map::new();
    let of = |m: &'_ serde_json::Map<String, Value>| m.get("metadata").and_then(Value::as_object).cloned();
    let (mut x, mut y) = (of(a).unwrap_or(empty.clone()), of(b).unwrap_or(empty));
    for meta in [&mut x, &mut y] {
        meta.remove("resourceVersion");
        if let Some(Value::Array(entries)) = meta.get_mut("managedFields") {
            for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
                entry.remove("time");
            }
        }
    }
    x == y
}
