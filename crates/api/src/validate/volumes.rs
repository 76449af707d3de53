//! Volumes of a pod, and paths inside volumes.

use super::container::{FILE_FIELDS, field_ref, resource_field_ref};
use super::field::{At, Errors};
use super::{FieldError, resources, syntax};

/// Every field of a volume that is a source.
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
    "persistentVolumeClaim",
    "rbd",
    "flexVolume",
    "configMap",
    "cinder",
    "cephfs",
    "flocker",
    "downwardAPI",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "projected",
    "portworxVolume",
    "scaleIO",
    "storageos",
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

fn no_backsteps(at: &At, errors: &mut Errors) {
    if at.text().split('/').any(|part| part == "..") {
        errors.invalid(at, "must not contain '..'");
    }
}

/// The volumes of a pod.
pub(super) fn list(list: &At, errors: &mut Errors) {
    let mut names = Vec::new();
    for volume in list.items() {
        let name = volume.get("name");
        errors.need_form(&name, syntax::dns_label);
        if !name.is_empty() && names.contains(&name.text()) {
            errors.duplicate(&name);
        }
        names.push(name.text());
        let mut count = 0;
        for kind in SOURCES {
            let source = volume.get(kind);
            if !source.is_set() {
                continue;
            }
            count += 1;
            if count > 1 {
                errors.forbidden(&source, "may not specify more than 1 volume type");
            } else {
                one(kind, &source, errors);
            }
        }
        if count == 0 {
            errors.required(&volume, "must specify a volume type");
        }
    }
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
        "hostPath" => host_path(source, errors),
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
            downward_files(source, errors);
        }
        "projected" => projected(source, errors),
        "persistentVolumeClaim" => {
            errors.need(&source.get("claimName"));
        }
        "ephemeral" => {
            let template = source.get("volumeClaimTemplate");
            if template.is_set() {
                super::storage::claim_spec(&template.get("spec"), errors);
            } else {
                errors.required(&template, "");
            }
        }
        "nfs" => {
            errors.need(&source.get("server"));
            let path = source.get("path");
            if errors.need(&path) && !path.text().starts_with('/') {
                errors.invalid(&path, "must be an absolute path");
            }
        }
        "csi" => {
            errors.need(&source.get("driver"));
        }
        "image" => errors.supported(&source.get("pullPolicy"), &["Always", "IfNotPresent", "Never"]),
        "iscsi" => {
            for name in ["targetPortal", "iqn"] {
                errors.need(&source.get(name));
            }
        }
        _ => {}
    }
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

fn mode(at: &At, errors: &mut Errors) {
    if at.int().is_some_and(|n| !(0..=0o777).contains(&n)) {
        errors.invalid(at, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

/// `defaultMode` and `items` of a volume that is made of keys.
fn files(source: &At, errors: &mut Errors) {
    mode(&source.get("defaultMode"), errors);
    for item in source.get("items").items() {
        errors.need(&item.get("key"));
        let path = item.get("path");
        if errors.need(&path) {
            file_name(&path, errors);
        }
        mode(&item.get("mode"), errors);
    }
}

fn file_name(path: &At, errors: &mut Errors) {
    descending(path, errors);
    if path.text().starts_with("..") && !path.text().starts_with("../") && path.text() != ".." {
        errors.invalid(path, "must not start with '..'");
    }
}

fn downward_files(source: &At, errors: &mut Errors) {
    for item in source.get("items").items() {
        let path = item.get("path");
        if errors.need(&path) {
            file_name(&path, errors);
        }
        let (field, resource) = (item.get("fieldRef"), item.get("resourceFieldRef"));
        match (field.is_set(), resource.is_set()) {
            (true, set) => {
                field_ref(&field, FILE_FIELDS, errors);
                if set {
                    errors.invalid_value(
                        &item,
                        "",
                        "fieldRef and resourceFieldRef can not be specified simultaneously",
                    );
                }
            }
            (false, true) => {
                errors.need(&resource.get("containerName"));
                resource_field_ref(&resource, errors);
            }
            (false, false) => errors.required(&item, "one of fieldRef and resourceFieldRef is required"),
        }
        mode(&item.get("mode"), errors);
    }
}

fn projected(source: &At, errors: &mut Errors) {
    mode(&source.get("defaultMode"), errors);
    for item in source.get("sources").items() {
        let kinds = [
            "secret",
            "configMap",
            "downwardAPI",
            "serviceAccountToken",
            "clusterTrustBundle",
            "podCertificate",
        ];
        let mut count = 0;
        for kind in kinds {
            let part = item.get(kind);
            if !part.is_set() {
                continue;
            }
            count += 1;
            if count > 1 {
                errors.forbidden(&part, "may not specify more than 1 volume type per source");
                continue;
            }
            match kind {
                "secret" | "configMap" => {
                    errors.need(&part.get("name"));
                    files(&part, errors);
                }
                "downwardAPI" => downward_files(&part, errors),
                "serviceAccountToken" => token(&part, errors),
                "clusterTrustBundle" => {
                    errors.need(&part.get("path"));
                }
                _ => {}
            }
        }
        if count == 0 {
            errors.required(&item, "must specify a projection type");
        }
    }
}

fn token(part: &At, errors: &mut Errors) {
    let seconds = part.get("expirationSeconds");
    match seconds.int() {
        Some(n) if n < 600 => errors.invalid(&seconds, "may not specify a duration less than 10 minutes"),
        Some(n) if n > 1 << 32 => {
            errors.invalid(&seconds, "may not specify a duration larger than 2^32 seconds")
        }
        _ => {}
    }
    let path = part.get("path");
    if path.is_empty() {
        errors.push(FieldError::required(&path.path, ""));
    } else {
        file_name(&path, errors);
    }
}
