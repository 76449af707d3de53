//! Claims, persistent volumes, storage classes.

use super::field::{At, Errors, same, same_texts};
use super::{resources, selectors, syntax, volumes};
use crate::quantity::Quantity;

const ACCESS: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const MODES: &[&str] = &["Block", "Filesystem"];
const RECLAIM: &[&str] = &["Delete", "Recycle", "Retain"];

pub(super) fn kind(kind: &str, object: &At, errors: &mut Errors) {
    match kind {
        "StorageClass" => {
            errors.need(&object.get("provisioner"));
            errors.need_supported(&object.get("reclaimPolicy"), &["Delete", "Retain"]);
            errors.need_supported(&object.get("volumeBindingMode"), &["Immediate", "WaitForFirstConsumer"]);
        }
        "VolumeAttachment" => {
            errors.need(&object.path(&["spec", "attacher"]));
            errors.need(&object.path(&["spec", "nodeName"]));
        }
        "CSINode" => {
            for driver in object.path(&["spec", "drivers"]).items() {
                errors.need(&driver.get("name"));
                errors.need(&driver.get("nodeID"));
            }
        }
        _ => {}
    }
}

pub(super) fn change(kind: &str, new: &At, old: &At, errors: &mut Errors) {
    match kind {
        "StorageClass" => {
            for (field, words) in [
                ("parameters", "updates to parameters are forbidden."),
                ("provisioner", "updates to provisioner are forbidden."),
                ("reclaimPolicy", "updates to reclaimPolicy are forbidden."),
            ] {
                if !same_texts(new.get(field).value, old.get(field).value) {
                    errors.forbidden(&new.get(field), words);
                }
            }
            errors.immutable(&new.get("volumeBindingMode"), &old.get("volumeBindingMode"));
        }
        "VolumeAttachment" => errors.immutable(&new.get("spec"), &old.get("spec")),
        _ => {}
    }
}

fn access(spec: &At, errors: &mut Errors) {
    let modes = spec.get("accessModes");
    if modes.is_empty() {
        errors.required(&modes, "at least 1 access mode is required");
    }
    for mode in modes.items() {
        errors.supported(&mode, ACCESS);
    }
    if modes.items().len() > 1 && modes.items().iter().any(|mode| mode.text() == "ReadWriteOncePod") {
        errors.forbidden(&modes, "may not use ReadWriteOncePod with other access modes");
    }
}

/// The spec of a claim, in claims and in templates.
pub(super) fn claim_spec(spec: &At, errors: &mut Errors) {
    access(spec, errors);
    selectors::label_selector(&spec.get("selector"), errors);
    let storage = spec.path(&["resources", "requests", "storage"]);
    let at = At { path: format!("{}[storage]", spec.path(&["resources"]).path), value: storage.value };
    if !storage.is_set() {
        errors.required(&at, "");
    } else if let Some(size) = resources::quantity(&at, errors)
        && size <= Quantity::ZERO
    {
        errors.invalid_value(&at, size.to_string(), "must be greater than zero");
    }
    errors.form(&spec.get("storageClassName"), syntax::dns_subdomain);
    errors.supported(&spec.get("volumeMode"), MODES);
    for source in ["dataSource", "dataSourceRef"] {
        let source = spec.get(source);
        if source.is_set() {
            errors.need(&source.get("name"));
            errors.need(&source.get("kind"));
        }
    }
}

pub(super) fn claim_change(new: &At, old: &At, errors: &mut Errors) {
    let (spec, before) = (new.get("spec"), old.get("spec"));
    let mut copy = spec.value.clone();
    let bound = old.path(&["status", "phase"]).text() == "Bound";
    if let Some(copy) = copy.as_object_mut() {
        let mut allow = |name: &str| {
            copy.insert(name.into(), before.value[name].clone());
        };
        // A claim is bound once, and its size and attributes can change from then on.
        if before.get("volumeName").is_empty() {
            allow("volumeName");
        }
        if before.get("storageClassName").value.is_null() {
            allow("storageClassName");
        }
        if bound {
            allow("resources");
            allow("volumeAttributesClassName");
        }
    }
    if !same(&copy, before.value) {
        errors.forbidden(
            &spec,
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        );
    }
    let size = |at: &At| Quantity::from_value(at.path(&["resources", "requests", "storage"]).value).ok();
    let capacity = Quantity::from_value(old.path(&["status", "capacity", "storage"]).value).ok();
    if let (Some(now), Some(was)) = (size(&spec), size(&before))
        && now < was
        && capacity.is_none_or(|capacity| now < capacity)
    {
        errors.forbidden(
            &spec.path(&["resources", "requests", "storage"]),
            "field can not be less than status.capacity",
        );
    }
}

/// Fields of the spec of a persistent volume that are not its source.
const NOT_SOURCES: &[&str] = &[
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

fn sources<'a>(spec: &At<'a>) -> Vec<(&'a str, At<'a>)> {
    let entries = spec.value.as_object().into_iter().flatten();
    entries
        .filter(|(key, value)| !NOT_SOURCES.contains(&key.as_str()) && !value.is_null())
        .map(|(key, _)| (key.as_str(), spec.get(key)))
        .collect()
}

pub(super) fn volume(spec: &At, errors: &mut Errors) {
    access(spec, errors);
    let capacity = spec.get("capacity");
    if capacity.is_empty() {
        errors.required(&capacity, "");
    } else if capacity.value.get("storage").is_none() || capacity.entries().len() > 1 {
        let keys: Vec<&str> = capacity.entries().iter().map(|(key, _)| *key).collect();
        errors.push(super::FieldError::not_supported(&capacity.path, keys.join(","), &["storage"]));
    }
    for (_, at) in capacity.entries() {
        if let Some(size) = resources::quantity(&at, errors)
            && size <= Quantity::ZERO
        {
            errors.invalid_value(&at, size.to_string(), "must be greater than zero");
        }
    }
    errors.supported(&spec.get("persistentVolumeReclaimPolicy"), RECLAIM);
    errors.supported(&spec.get("volumeMode"), MODES);
    errors.form(&spec.get("storageClassName"), syntax::dns_subdomain);
    let affinity = spec.path(&["nodeAffinity", "required"]);
    if affinity.is_set() {
        selectors::node_selector(&affinity, errors);
    }
    let found = sources(spec);
    if found.is_empty() {
        errors.required(spec, "must specify a volume type");
    }
    for (index, (kind, source)) in found.iter().enumerate() {
        if index > 0 {
            errors.forbidden(source, "may not specify more than 1 volume type");
            continue;
        }
        match *kind {
            "hostPath" => volumes::host_path(source, errors),
            "local" => {
                errors.need(&source.get("path"));
                if !affinity.is_set() {
                    errors.required(&spec.get("nodeAffinity"), "Local volume requires node affinity");
                }
            }
            "nfs" => {
                errors.need(&source.get("server"));
                errors.need(&source.get("path"));
            }
            "csi" => {
                errors.need(&source.get("driver"));
                errors.need(&source.get("volumeHandle"));
            }
            _ => {}
        }
    }
}

pub(super) fn volume_change(new: &At, old: &At, errors: &mut Errors) {
    let as_value = |at: &At| {
        let all = sources(at);
        serde_json::Value::Object(all.iter().map(|(key, at)| ((*key).to_owned(), at.value.clone())).collect())
    };
    if !same(&as_value(new), &as_value(old)) {
        errors.push(super::FieldError::forbidden(
            "spec.persistentvolumesource",
            "spec.persistentvolumesource is immutable after creation",
        ));
    }
    errors.immutable(&new.get("volumeMode"), &old.get("volumeMode"));
}
