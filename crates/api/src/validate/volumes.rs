//! Volumes of a pod, and paths inside volumes.

mod projected;
pub(super) mod sources;

use super::container::{FILE_FIELDS, field_ref, resource_field_ref};
use super::field::{At, Errors};
use super::{FieldError, resources, syntax};

/// Every field of a volume that is a source, in the order in which Kubernetes looks for them.
const SOURCES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// A path must be relative and stay below where it starts.
pub(super) fn descending(at: &At, errors: &mut Errors) {
    if at.is_empty() {
        return;
    }
    if at.text().starts_with('/') {
        errors.invalid(at, "must be a relative path");
    }
    no_backsteps(at, errors);
}

/// A path must not lead upwards.
pub(super) fn no_backsteps(at: &At, errors: &mut Errors) {
    if at.text().split('/').any(|part| part == "..") {
        errors.invalid(at, "must not contain '..'");
    }
}

/// The volumes of a pod; gives back the names of those that are right, which alone can be mounted.
pub(super) fn list<'a>(list: &At<'a>, errors: &mut Errors) -> Vec<&'a str> {
    let mut names = Vec::new();
    for volume in list.items() {
        let mut found = Errors::default();
        let mut count = 0;
        for kind in SOURCES {
            let source = volume.get(kind);
            if !source.is_set() {
                continue;
            }
            count += 1;
            if count > 1 {
                found.forbidden(&source, "may not specify more than 1 volume type");
            } else {
                one(kind, &source, &mut found);
            }
        }
        if count == 0 {
            found.required(&volume, "must specify a volume type");
        }
        let name = volume.get("name");
        found.need_form(&name, syntax::dns_label);
        if names.contains(&name.text()) {
            found.duplicate(&name);
        }
        let found = found.into_vec();
        if found.is_empty() {
            names.push(name.text());
        }
        found.into_iter().for_each(|error| errors.push(error));
    }
    names
}

fn one(kind: &str, source: &At, errors: &mut Errors) {
    match kind {
        "emptyDir" => {
            if let Some(limit) = resources::quantity(&source.get("sizeLimit"), errors)
                && limit.is_negative()
            {
                errors
                    .forbidden(&source.get("sizeLimit"), "SizeLimit field must be a valid resource quantity");
            }
        }
        "secret" => {
            errors.need(&source.get("secretName"));
            files(source, errors);
        }
        "configMap" => {
            errors.need(&source.get("name"));
            files(source, errors);
        }
        "downwardAPI" => {
            mode(&source.get("defaultMode"), errors);
            for item in source.get("items").items() {
                downward_file(&item.at(source.path.clone()), errors);
            }
        }
        "projected" => projected::volume(source, errors),
        "ephemeral" => {
            let template = source.get("volumeClaimTemplate");
            if template.is_set() {
                super::metadata::claim_template(&template.get("metadata"), errors);
                super::storage::claim_spec(&template.get("spec"), errors);
            } else {
                errors.required(&template, "");
            }
        }
        "csi" => {
            csi_driver(&source.get("driver"), errors);
            let secret = source.get("nodePublishSecretRef");
            if secret.is_set() && errors.need(&secret.get("name")) {
                let name = secret.get("name").at(source.get("name").path);
                errors.complaints(&name, syntax::dns_subdomain(name.text()));
            }
        }
        "image" => {
            errors.need(&source.get("reference"));
            errors.need_supported(&source.get("pullPolicy"), &["Always", "IfNotPresent", "Never"]);
        }
        _ => sources::source(kind, source, errors),
    }
}

/// The name of a CSI driver.
pub(super) fn csi_driver(name: &At, errors: &mut Errors) {
    if !errors.need(name) {
        return;
    }
    if name.text().len() > 63 {
        errors.push(FieldError::too_long(&name.path, 63));
    }
    errors.complaints(name, syntax::dns_subdomain(&name.text().to_lowercase()));
}

/// A `hostPath`, of pods and of persistent volumes.
pub(super) fn host_path(source: &At, errors: &mut Errors) {
    let path = source.get("path");
    if errors.need(&path) {
        no_backsteps(&path, errors);
    }
    let kinds =
        ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    errors.supported(&source.get("type"), &kinds);
}

/// Permissions of a file.
pub(super) fn mode(at: &At, errors: &mut Errors) {
    if at.int().is_some_and(|n| !(0..=0o777).contains(&n)) {
        errors.invalid(at, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

/// `defaultMode` and `items` of a volume that is made of keys.
fn files(source: &At, errors: &mut Errors) {
    mode(&source.get("defaultMode"), errors);
    keys(&source.get("items"), errors);
}

/// Keys and the files that they become.
pub(super) fn keys(list: &At, errors: &mut Errors) {
    for item in list.items() {
        errors.need(&item.get("key"));
        errors.need(&item.get("path"));
        file_name(&item.get("path"), errors);
        mode(&item.get("mode"), errors);
    }
}

/// The path of a file in a volume.
pub(super) fn file_name(path: &At, errors: &mut Errors) {
    descending(path, errors);
    if path.text().starts_with("..") && !path.text().starts_with("../") {
        errors.invalid(path, "must not start with '..'");
    }
}

/// A file of the downward API. Kubernetes reports what is in it at the volume.
pub(super) fn downward_file(item: &At, errors: &mut Errors) {
    errors.need(&item.get("path"));
    file_name(&item.get("path"), errors);
    let (field, resource) = (item.get("fieldRef"), item.get("resourceFieldRef"));
    match (field.is_set(), resource.is_set()) {
        (true, set) => {
            field_ref(&field, FILE_FIELDS, errors);
            if set {
                let words = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.invalid_value(item, "resource", words);
            }
        }
        (false, true) => {
            // Whose resources, and then which: the first of the two that is missing.
            if errors.need(&resource.get("containerName")) {
                resource_field_ref(&resource, errors);
            }
        }
        (false, false) => errors.required(item, "one of fieldRef and resourceFieldRef is required"),
    }
    mode(&item.get("mode"), errors);
}
