//! What the server decides about an object's metadata, on creation and on change. Pure.

use serde_json::{Value, json};

use crate::aggregate;
use crate::failure::{Cause, Failure, Result};
use crate::model;
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

/// Settles the name of a new object; tells whether it was generated.
pub fn identity(resource: &Resource, value: &mut Value) -> Result<bool> {
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
        // An object of the whole cluster has none, whatever its body says.
        None => {
            meta(value).remove("namespace");
        }
    }
    Ok(())
}

/// Takes owners that are named twice for one, and says so.
pub fn owners_once(call: &mut Call, value: &mut Value) {
    let mut seen = Vec::new();
    let mut again: Vec<String> = Vec::new();
    if let Some(Value::Array(owners)) = meta(value).get_mut("ownerReferences") {
        owners.retain(|owner| {
            let new = !seen.contains(owner);
            if new {
                seen.push(owner.clone());
            } else {
                again.push(text(owner, &["uid"]).to_owned());
            }
            new
        });
    }
    if !again.is_empty() {
        call.warnings.push(format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may \
             reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            again.join(", ")
        ));
    }
}

/// The name of the path has to be the object's.
pub fn named(call: &Call, value: &Value) -> Result<()> {
    match object::name(value) {
        "" => Err(Failure::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            call.name()
        ))),
        name if name != call.name() => Err(Failure::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.name()
        ))),
        _ => Ok(()),
    }
}

/// Takes out what a new object cannot have.
pub fn no_history(value: &mut Value) {
    let meta = meta(value);
    for field in ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        meta.remove(field);
    }
}

/// Fresh identity and no history.
pub fn new_object(resource: &Resource, value: &mut Value) {
    no_history(value);
    let meta = meta(value);
    meta.remove("resourceVersion");
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
        if let Some(status) = model::empty(resource).get("status") {
            object.insert("status".into(), status.clone());
        }
    }
}

/// What does not exist yet has no revision.
pub fn no_revision(value: &Value) -> Result<()> {
    if matches!(text(value, &["metadata", "resourceVersion"]), "" | "0") {
        return Ok(());
    }
    Err(Failure::new(500, "", "resourceVersion should not be set on objects to be created"))
}

/// Checks that a changed object is still the one of the path.
pub fn same_object(call: &Call, old: &Value, new: &mut Value) -> Result<()> {
    let resource = &call.resource;
    namespace(call, new)?;
    if object::name(new).is_empty() {
        meta(new).insert("name".into(), json!(call.name()));
    }
    named(call, new)?;
    let (wanted, is) = (object::uid(new), object::uid(old));
    if !wanted.is_empty() && wanted != is && call.patching {
        let cause = Cause::value("metadata.uid", &json!(wanted), "field is immutable");
        return Err(Failure::invalid(resource, call.name(), &[cause.clone(), cause]));
    }
    if !wanted.is_empty() && wanted != is {
        let key = resource.key(call.ns(), call.name());
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}, ResourceVersion: 0, AdditionalErrorMsg: \
             Precondition failed: UID in precondition: {wanted}, UID in object meta: {is}",
            [&*resource.plural, &*key.namespace, &*key.name]
                .into_iter()
                .filter(|p| !p.is_empty())
                .collect::<Vec<_>>()
                .join("/")
        );
        return Err(Failure::conflict(resource, call.name(), &why));
    }
    let wanted = text(new, &["metadata", "resourceVersion"]);
    if let Err(error) = wanted.parse::<u64>()
        && !wanted.is_empty()
    {
        let why = match error.kind() {
            std::num::IntErrorKind::PosOverflow => "value out of range",
            _ => "invalid syntax",
        };
        return Err(Failure::new(500, "", format!("strconv.ParseUint: parsing {wanted:?}: {why}")));
    }
    // Which server answers for a group is too much to be overwritten unseen.
    if matches!(wanted, "" | "0") && resource.stored == aggregate::STORED && !call.patching {
        let why = "Invalid value: 0: must be specified for an update";
        let cause = Cause::new("FieldValueInvalid", "metadata.resourceVersion", why);
        return Err(Failure::refused(&resource.group, &resource.plural, call.name(), &[cause]));
    }
    if wanted == "0" {
        // The same as none.
    } else if !wanted.is_empty() && wanted != text(old, &["metadata", "resourceVersion"]) {
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
            let spec = object::map(new, "spec");
            match added {
                Some(added) => spec.insert("ephemeralContainers".into(), added),
                // Whether they may go is for validation to say.
                None => spec.remove("ephemeralContainers"),
            };
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
    // Of metadata each kind keeps what its authors thought of.
    match (&*resource.group, &*resource.stored) {
        ("", "pods") => carry("ownerReferences", old, new),
        ("apps", "deployments.apps") => carry("labels", old, new),
        (
            "storage.k8s.io"
            | "dunlin.io"
            | "admissionregistration.k8s.io"
            | "apiregistration.k8s.io"
            | "flowcontrol.apiserver.k8s.io"
            | "resource.k8s.io",
            _,
        )
        | (_, "servicecidrs.networking.k8s.io") => keep_metadata(old, new),
        _ if resource.custom.is_some() => keep_metadata(old, new),
        _ => {}
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
