//! Sources of volumes that pods and persistent volumes have in common: disks and shares.

use super::super::FieldError;
use super::super::field::{At, Errors};
use super::super::syntax;
use super::{descending, host_path};

/// Checks the source `kind` of a volume.
pub(in crate::validate) fn source(kind: &str, source: &At, errors: &mut Errors) {
    let needed: &[&str] = match kind {
        "gitRepo" => &["repository"],
        "nfs" => &["server", "path"],
        "glusterfs" => &["endpoints", "path"],
        "persistentVolumeClaim" => &["claimName"],
        "rbd" => &["monitors", "image"],
        "cephfs" => &["monitors"],
        "cinder" => &["volumeID"],
        "flexVolume" => &["driver"],
        "azureFile" => &["secretName", "shareName"],
        "vsphereVolume" => &["volumePath"],
        "photonPersistentDisk" => &["pdID"],
        "portworxVolume" => &["volumeID"],
        "azureDisk" => &["diskName", "diskURI"],
        "storageos" => &["volumeName"],
        "scaleIO" => &["gateway", "system", "volumeName"],
        _ => &[],
    };
    for name in needed {
        errors.need(&source.get(name));
    }
    match kind {
        "hostPath" => host_path(source, errors),
        "gitRepo" => descending(&source.get("directory"), errors),
        "gcePersistentDisk" => {
            // The name that Kubernetes prints.
            let (parent, _) = source.path.rsplit_once('.').unwrap_or_default();
            let source = source.at(format!("{parent}.persistentDisk"));
            errors.need(&source.get("pdName"));
            partition(&source, errors);
        }
        "awsElasticBlockStore" => {
            errors.need(&source.get("volumeID"));
            partition(source, errors);
        }
        "nfs" => {
            let path = source.get("path");
            if !path.text().starts_with('/') {
                errors.invalid_value(&path, path.text(), "must be an absolute path");
            }
        }
        "iscsi" => iscsi(source, errors),
        "flocker" => flocker(source, errors),
        "cinder" => secret(source, errors),
        "quobyte" => quobyte(source, errors),
        "fc" => fibre_channel(source, errors),
        "flexVolume" => {
            for (key, at) in source.get("options").entries() {
                let domain = format!(".{}", key.split('/').next().unwrap_or_default().to_lowercase());
                if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
                    errors.invalid_value(&at, key, "kubernetes.io and k8s.io namespaces are reserved");
                }
            }
        }
        "azureDisk" => azure_disk(source, errors),
        "storageos" => {
            errors.form(&source.get("volumeName"), syntax::dns_label);
            errors.form(&source.get("volumeNamespace"), syntax::dns_label);
            secret(source, errors);
        }
        _ => {}
    }
}

/// A secret, if one is named, has a name.
fn secret(source: &At, errors: &mut Errors) {
    let secret = source.get("secretRef");
    if secret.is_set() {
        errors.need(&secret.get("name"));
    }
}

fn partition(source: &At, errors: &mut Errors) {
    let partition = source.get("partition");
    if partition.int().is_some_and(|n| !(0..=255).contains(&n)) {
        // The words of Kubernetes, which does allow 0.
        errors.invalid(&partition, syntax::inclusive_range(1, 255));
    }
}

/// Why a text is no name of an iSCSI target or initiator (RFC 3720, 3721, 3980).
fn bad_iscsi_name(name: &str) -> Option<&'static str> {
    let fits = match name.get(..3) {
        Some("iqn") => iqn(name),
        Some("eui") => rest_is(name, 16),
        Some("naa") => rest_is(name, 32),
        _ => return Some("must be valid format starting with iqn, eui, or naa"),
    };
    (!fits).then_some("must be valid format")
}

fn rest_is(name: &str, length: usize) -> bool {
    name.get(4..).is_some_and(|rest| rest.len() == length && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// `iqn.2001-04.com.example:storage`.
fn iqn(name: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let Some(rest) = name.strip_prefix("iqn.") else { return false };
    let (Some(year), Some("-"), Some(month), Some(".")) =
        (rest.get(..4), rest.get(4..5), rest.get(5..7), rest.get(7..8))
    else {
        return false;
    };
    let Some((authority, own)) = rest[8..].split_once(':') else { return false };
    digits(year)
        && digits(month)
        && !authority.is_empty()
        && authority.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
        && !own.is_empty()
        && !own.contains([',', ';', '*', '&', '$', '|'])
        && !own.contains(char::is_whitespace)
}

fn iscsi(source: &At, errors: &mut Errors) {
    errors.need(&source.get("targetPortal"));
    let target = source.get("iqn");
    if errors.need(&target)
        && let Some(words) = bad_iscsi_name(target.text())
    {
        errors.invalid(&target, words);
    }
    errors.range(&source.get("lun"), 0, 255);
    let authenticated =
        ["chapAuthDiscovery", "chapAuthSession"].iter().any(|name| source.get(name).is_true());
    if authenticated && !source.get("secretRef").is_set() {
        errors.required(&source.get("secretRef"), "");
    }
    let initiator = source.get("initiatorName");
    if initiator.is_set()
        && let Some(words) = bad_iscsi_name(initiator.text())
    {
        errors.invalid(&initiator.at(source.get("initiatorname").path), words);
    }
}

fn flocker(source: &At, errors: &mut Errors) {
    let (name, id) = (source.get("datasetName"), source.get("datasetUUID"));
    match (name.is_empty(), id.is_empty()) {
        (true, true) => errors.required(source, "one of datasetName and datasetUUID is required"),
        (false, false) => {
            let words = "datasetName and datasetUUID can not be specified simultaneously";
            errors.invalid_value(source, "resource", words);
        }
        _ => {}
    }
    if name.text().contains('/') {
        errors.invalid(&name, "must not contain '/'");
    }
}

fn quobyte(source: &At, errors: &mut Errors) {
    let words = "must be a host:port pair or multiple pairs separated by commas";
    let (registry, tenant) = (source.get("registry"), source.get("tenant"));
    if registry.is_empty() {
        errors.required(&registry, words);
    } else if tenant.text().len() >= 65 {
        errors.required(&tenant, "must be a UUID and may not exceed a length of 64 characters");
    } else {
        for pair in registry.text().split(',') {
            let host = pair.rsplit_once(':').map(|(host, _)| host);
            let one = |host: &str| !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
            if !host.is_some_and(one) {
                errors.invalid(&registry, words);
            }
        }
    }
    errors.need(&source.get("volume"));
}

fn fibre_channel(source: &At, errors: &mut Errors) {
    let (targets, ids, lun) = (source.get("targetWWNs"), source.get("wwids"), source.get("lun"));
    match (targets.is_empty(), ids.is_empty()) {
        (true, true) => errors.required(&targets, "must specify either targetWWNs or wwids, but not both"),
        (false, false) => {
            errors.invalid(&targets, "targetWWNs and wwids can not be specified simultaneously");
        }
        _ => {}
    }
    if !targets.is_empty() {
        if lun.is_set() {
            errors.range(&lun, 0, 255);
        } else {
            errors.required(&lun, "lun is required if targetWWNs is specified");
        }
    }
}

fn azure_disk(source: &At, errors: &mut Errors) {
    let (kind, uri) = (source.get("kind"), source.get("diskURI"));
    errors.supported(&source.get("cachingMode"), &["None", "ReadOnly", "ReadWrite"]);
    errors.supported(&kind, &["Dedicated", "Managed", "Shared"]);
    let (start, form) = match kind.text() {
        "Managed" => (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        ),
        _ => ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"),
    };
    if !uri.text().starts_with(start) {
        errors.push(FieldError::not_supported(&uri.path, uri.text(), &[form]));
    }
}
