//! Claims, persistent volumes, attachments.

mod classes;

use super::error::Shown;
use super::field::{At, Errors, same, same_texts};
use super::{FieldError, resources, selectors, syntax, volumes};
use crate::quantity::Quantity;

const ACCESS: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const MODES: &[&str] = &["Block", "Filesystem"];
const RECLAIM: &[&str] = &["Delete", "Recycle", "Retain"];

pub(super) fn kind(kind: &str, object: &At, errors: &mut Errors) {
    let spec = object.get("spec");
    match kind {
        "StorageClass" => classes::class(object, errors),
        "VolumeAttributesClass" => classes::attributes(object, errors),
        "VolumeAttachment" => {
            volumes::csi_driver(&spec.get("attacher"), errors);
            let volume = spec.path(&["source", "persistentVolumeName"]);
            let source = spec.get("source");
            match (volume.is_set(), source.get("inlineVolumeSpec").is_set()) {
                (false, false) => errors.required(
                    &source,
                    "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
                ),
                (true, true) => errors.forbidden(
                    &source,
                    "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
                ),
                (true, false) if volume.is_empty() => {
                    errors.required(&volume, "must specify non empty persistentVolumeName");
                }
                _ => {}
            }
            let node = spec.get("nodeName");
            errors.complaints_about(&node, node.text(), syntax::dns_subdomain(node.text()));
            if volume.is_set() {
                errors.complaints(&volume, syntax::dns_subdomain(volume.text()));
            }
        }
        "CSINode" => classes::csi_node(&spec, errors),
        "CSIDriver" => classes::csi_driver(&spec, errors),
        "CSIStorageCapacity" => {
            selectors::label_selector(&object.get("nodeTopology"), errors);
            let class = object.get("storageClassName");
            errors.complaints_about(&class, class.text(), syntax::dns_subdomain(class.text()));
            resources::non_negative(&object.get("capacity"), errors);
        }
        _ => {}
    }
}

pub(super) fn change(kind: &str, new: &At, old: &At, errors: &mut Errors) {
    match kind {
        "StorageClass" => {
            if !same_texts(new.get("parameters").value, old.get("parameters").value) {
                let at = new.get("parameters");
                errors.push(FieldError::immutable(&at.path, at.value.clone()));
            }
            for field in ["provisioner", "reclaimPolicy", "volumeBindingMode"] {
                errors.immutable(&new.get(field), &old.get(field));
            }
        }
        "VolumeAttachment" => errors.immutable(&new.get("spec"), &old.get("spec")),
        "VolumeAttributesClass" => classes::attributes_change(new, old, errors),
        "CSIStorageCapacity" => {
            for field in ["nodeTopology", "storageClassName"] {
                errors.immutable(&new.get(field), &old.get(field));
            }
        }
        _ => {}
    }
}

/// `words` say that there must be one.
fn access(spec: &At, words: &str, errors: &mut Errors) {
    let modes = spec.get("accessModes");
    if modes.is_empty() {
        errors.required(&modes, words);
    }
    for mode in modes.items() {
        errors.one_of(&mode.at(modes.path.clone()), ACCESS);
    }
    let alone = |mode: &&At| mode.text() == "ReadWriteOncePod";
    let others = |mode: &&At| ACCESS.contains(&mode.text()) && !alone(mode);
    let items = modes.items();
    if items.iter().any(|mode| alone(&mode)) && items.iter().any(|mode| others(&mode)) {
        errors.forbidden(&modes, "may not use ReadWriteOncePod with other access modes");
    }
}

/// What a claim is filled from.
fn data_source(source: &At, errors: &mut Errors) {
    if !source.is_set() {
        return;
    }
    errors.need(&source.get("name"));
    errors.need(&source.get("kind"));
    let (group, kind) = (source.get("apiGroup"), source.get("kind"));
    if group.is_empty() && kind.text() != "PersistentVolumeClaim" {
        let words = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.invalid_value(source, kind.text(), words);
    }
    errors.form(&group, syntax::dns_subdomain);
    errors.form(&source.get("namespace"), syntax::dns_label);
}

/// The spec of a claim, in claims and in templates.
pub(super) fn claim_spec(spec: &At, errors: &mut Errors) {
    let modes = spec.get("accessModes");
    if modes.is_empty() {
        errors.required(&modes, "at least 1 access mode is required");
    }
    selectors::label_selector(&spec.get("selector"), errors);
    if !modes.is_empty() {
        access(spec, "", errors);
    }
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
    let (source, reference) = (spec.get("dataSource"), spec.get("dataSourceRef"));
    data_source(&source, errors);
    data_source(&reference, errors);
    if source.is_set() && reference.is_set() {
        // What Kubernetes shows here is the path of the field, whose parts it keeps to itself.
        let shown = serde_json::json!({});
        if !reference.get("namespace").is_empty() {
            let words = "may not be specified when dataSourceRef.namespace is specified";
            errors.invalid_value(spec, shown, words);
        } else if ["apiGroup", "kind", "name"].iter().any(|f| source.get(f).text() != reference.get(f).text())
        {
            errors.invalid_value(spec, shown, "must match dataSourceRef");
        }
    }
    errors.form(&spec.get("volumeAttributesClassName"), syntax::dns_subdomain);
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
        && bound
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
    access(spec, "", errors);
    let capacity = spec.get("capacity");
    if capacity.is_empty() {
        errors.required(&capacity, "");
    }
    if capacity.value.get("storage").is_none() || capacity.entries().len() > 1 {
        let shown = if capacity.is_set() { Shown::Value(capacity.value.clone()) } else { Shown::Null };
        let error = FieldError::not_supported(&capacity.path, "", &["storage"]);
        errors.push(FieldError { bad_value: Some(shown), ..error });
    }
    for (key, at) in capacity.entries() {
        if !matches!(key, "storage") && resources::standard_anywhere(key) {
            continue;
        }
        if let Some(size) = resources::quantity(&at, errors) {
            if size.is_negative() {
                let error = FieldError::invalid(&at.path, "", "must be a valid resource quantity");
                errors.push(FieldError { bad_value: Some(Shown::Text(size.to_string())), ..error });
            }
            if size <= Quantity::ZERO {
                errors.invalid_value(&at, size.to_string(), "must be greater than zero");
            }
        }
    }
    let reclaim = spec.get("persistentVolumeReclaimPolicy");
    errors.supported(&reclaim, RECLAIM);
    let affinity = spec.path(&["nodeAffinity", "required"]);
    if affinity.is_set() {
        selectors::node_selector(&affinity, errors);
    } else if spec.get("nodeAffinity").is_set() {
        errors.required(&affinity, "must specify required node constraints");
    }
    let found = sources(spec);
    for (index, (kind, source)) in found.iter().enumerate() {
        if index > 0 {
            errors.forbidden(source, "may not specify more than 1 volume type");
            continue;
        }
        match *kind {
            "local" => {
                let path = source.get("path");
                if errors.need(&path) {
                    volumes::no_backsteps(&path, errors);
                }
                if !affinity.is_set() {
                    errors.required(&spec.get("nodeAffinity"), "Local volume requires node affinity");
                }
            }
            "csi" => csi_source(source, errors),
            _ => volumes::sources::source(kind, source, errors),
        }
    }
    if found.is_empty() {
        errors.required(spec, "must specify a volume type");
    }
    if reclaim.text() == "Recycle" && spec.path(&["hostPath", "path"]).text() == "/" {
        errors.forbidden(&reclaim, "may not be 'recycle' for a hostPath mount of '/'");
    }
    errors.form(&spec.get("storageClassName"), syntax::dns_subdomain);
    errors.supported(&spec.get("volumeMode"), MODES);
    let attributes = spec.get("volumeAttributesClassName");
    if attributes.is_set() {
        if attributes.is_empty() {
            errors.required(&attributes, "an empty string is disallowed");
        }
        errors.form(&attributes, syntax::dns_subdomain);
        if !spec.get("csi").is_set() {
            let words = "has to be specified when using volumeAttributesClassName";
            errors.required(&spec.get("csi"), words);
        }
    }
}

fn csi_source(source: &At, errors: &mut Errors) {
    volumes::csi_driver(&source.get("driver"), errors);
    errors.need(&source.get("volumeHandle"));
    for name in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        let secret = source.get(name);
        if secret.is_set() {
            errors.need(&secret.get("name"));
            errors.need(&secret.get("namespace"));
        }
    }
}

pub(super) fn volume_change(new: &At, old: &At, errors: &mut Errors) {
    let as_value = |at: &At| {
        let all = sources(at);
        serde_json::Value::Object(all.iter().map(|(key, at)| ((*key).to_owned(), at.value.clone())).collect())
    };
    if !same(&as_value(new), &as_value(old)) {
        errors.push(FieldError::forbidden(
            "spec.persistentvolumesource",
            "spec.persistentvolumesource is immutable after creation",
        ));
    }
    // These are the paths that Kubernetes prints.
    let mode = new.get("volumeMode");
    errors.immutable(&mode.at("volumeMode".to_owned()), &old.get("volumeMode"));
    let affinity = old.get("nodeAffinity");
    if affinity.is_set() && !same(new.get("nodeAffinity").value, affinity.value) {
        let at = new.get("nodeAffinity").at("nodeAffinity".to_owned());
        errors.invalid(&at, "field is immutable, except for updating from beta label to GA");
    }
}
