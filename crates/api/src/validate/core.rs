//! The core group: configuration, namespaces, nodes, replication controllers, events; pods and services by their own files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::field::{At, Errors, same, same_texts};
use super::{
    FieldError, apps, limits, pod, pod_update, resources, scheduling, selectors, service, storage, syntax,
};
use crate::names::{annotation, secret_type};
use crate::selector::LabelSelector;

/// All values of a config map or secret together, in bytes.
const MAX_CONFIG: usize = 1024 * 1024;

pub(super) fn kind(kind: &str, object: &At, errors: &mut Errors) {
    let spec = object.get("spec");
    match kind {
        "Pod" => pod::spec(&spec, errors),
        "PodTemplate" => pod::template(&object.get("template"), errors),
        "ReplicationController" => replication_controller(&spec, errors),
        "Service" => service::service(&spec, errors),
        "ConfigMap" => config_map(object, errors),
        "Secret" => secret(object, errors),
        "Namespace" => {
            for item in spec.get("finalizers").items() {
                errors.complaints(&item, syntax::qualified_name(item.text()));
                if !item.text().contains('/') && item.text() != "kubernetes" {
                    errors.invalid(
                        &item,
                        "name is neither a standard finalizer name nor is it fully qualified",
                    );
                }
            }
        }
        "Node" => {
            scheduling::taints(&spec.get("taints"), errors);
            for cidr in spec.get("podCIDRs").items() {
                errors.complaints(&cidr, syntax::cidr(cidr.text()));
            }
            node_status(object, errors);
        }
        "PersistentVolumeClaim" => storage::claim_spec(&spec, errors),
        "PersistentVolume" => storage::volume(&spec, errors),
        "ResourceQuota" => limits::quota(&spec, errors),
        "LimitRange" => limits::range(&spec, errors),
        "Endpoints" => endpoints(object, errors),
        "Event" => event(object, errors),
        "Binding" => binding(object, errors),
        _ => {}
    }
}

pub(super) fn change(kind: &str, new: &At, old: &At, errors: &mut Errors) {
    match kind {
        "Pod" => pod_update::change(new, old, errors),
        "Service" => service::change(&new.get("spec"), &old.get("spec"), errors),
        "ConfigMap" => frozen(new, old, &["data", "binaryData"], errors),
        "Secret" => {
            errors.immutable(&new.get("type"), &old.get("type"));
            frozen(new, old, &["data"], errors);
        }
        "Node" => {
            for (field, words) in [
                ("podCIDRs", "node updates may not change podCIDR except from \"\" to valid"),
                ("providerID", "node updates may not change providerID except from \"\" to valid"),
            ] {
                let (now, before) = (new.path(&["spec", field]), old.path(&["spec", field]));
                if !before.is_empty() && !same(now.value, before.value) {
                    errors.forbidden(&now, words);
                }
            }
        }
        "PersistentVolumeClaim" => storage::claim_change(new, old, errors),
        "PersistentVolume" => storage::volume_change(&new.get("spec"), &old.get("spec"), errors),
        "ResourceQuota" => errors.immutable(&new.path(&["spec", "scopes"]), &old.path(&["spec", "scopes"])),
        _ => {}
    }
}

/// What a node reports of itself.
pub(super) fn node_status(node: &At, errors: &mut Errors) {
    for name in ["capacity", "allocatable"] {
        resources::list(&node.path(&["status", name]), errors);
    }
    let mut seen = Vec::new();
    for address in node.path(&["status", "addresses"]).items() {
        if seen.contains(&address.value) {
            errors.duplicate(&address);
        }
        seen.push(address.value);
    }
}

/// `immutable` cannot be taken back, and the data under it cannot change.
fn frozen(new: &At, old: &At, data: &[&str], errors: &mut Errors) {
    const WORDS: &str = "field is immutable when `immutable` is set";
    if !old.get("immutable").is_true() {
        return;
    }
    if !new.get("immutable").is_true() {
        errors.forbidden(&new.get("immutable"), WORDS);
    }
    for name in data {
        if !same_texts(new.get(name).value, old.get(name).value) {
            errors.forbidden(&new.get(name), WORDS);
        }
    }
}

/// Bytes of base64, without decoding them when only the size is asked for.
fn decoded_size(text: &str) -> usize {
    let padding = text.bytes().rev().take_while(|b| *b == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}

fn config_map(object: &At, errors: &mut Errors) {
    let (data, binary) = (object.get("data"), object.get("binaryData"));
    let mut size = 0;
    for (list, other, other_name) in [(&data, &binary, "binaryData"), (&binary, &data, "data")] {
        for (key, at) in list.entries() {
            errors.complaints_about(&at, key, syntax::config_key(key));
            if other.value.get(key).is_some() {
                errors.invalid_value(&at, key, format!("duplicate of key present in {other_name}"));
            }
            size += if other_name == "data" { decoded_size(at.text()) } else { at.text().len() };
        }
    }
    if size > MAX_CONFIG {
        // Kubernetes names no field here, which its paths print like this.
        errors.push(FieldError::too_long("[]", MAX_CONFIG));
    }
}

fn secret(object: &At, errors: &mut Errors) {
    let data = object.get("data");
    let mut size = 0;
    for (key, at) in data.entries() {
        errors.complaints_about(&at, key, syntax::config_key(key));
        match STANDARD.decode(at.text()) {
            Ok(bytes) => size += bytes.len(),
            Err(_) => errors.push(FieldError::invalid(&at.path, "<value omitted>", "must be base64 encoded")),
        }
    }
    if size > MAX_CONFIG {
        errors.push(FieldError::too_long(&data.path, MAX_CONFIG));
    }
    let need = |key: &str, errors: &mut Errors| {
        if data.value.get(key).is_none() {
            errors.push(FieldError::required(&format!("data[{key}]"), ""));
        }
    };
    match object.get("type").text() {
        secret_type::SERVICE_ACCOUNT_TOKEN => {
            let name = object.value["metadata"]["annotations"][annotation::SERVICE_ACCOUNT_NAME].as_str();
            if name.unwrap_or_default().is_empty() {
                let path = format!("metadata.annotations[{}]", annotation::SERVICE_ACCOUNT_NAME);
                errors.push(FieldError::required(&path, ""));
            }
        }
        secret_type::TLS => {
            need("tls.crt", errors);
            need("tls.key", errors);
        }
        secret_type::DOCKER_CONFIG_JSON => json_key(&data, ".dockerconfigjson", errors),
        secret_type::DOCKERCFG => json_key(&data, ".dockercfg", errors),
        secret_type::BASIC_AUTH
            if data.value.get("username").is_none() && data.value.get("password").is_none() =>
        {
            need("username", errors);
            need("password", errors);
        }
        secret_type::SSH_AUTH => need("ssh-privatekey", errors),
        _ => {}
    }
}

fn json_key(data: &At, key: &str, errors: &mut Errors) {
    let path = format!("data[{key}]");
    let Some(text) = data.value.get(key).and_then(|v| v.as_str()) else {
        errors.push(FieldError::required(&path, ""));
        return;
    };
    let bytes = STANDARD.decode(text).unwrap_or_default();
    if let Err(error) = serde_json::from_slice::<serde_json::Value>(&bytes) {
        errors.push(FieldError::invalid(&path, "<secret contents redacted>", error.to_string()));
    }
}

fn replication_controller(spec: &At, errors: &mut Errors) {
    apps::replicas(spec, errors);
    let selector = spec.get("selector");
    super::metadata::labels(&selector, errors);
    errors.need(&selector);
    if let Ok(parsed) = LabelSelector::from_map(selector.value)
        && !parsed.is_nothing()
    {
        selectors::fits_template(&parsed, spec, errors);
    }
    apps::always(spec, "ReplicationController", errors);
}

fn endpoints(object: &At, errors: &mut Errors) {
    for subset in object.get("subsets").items() {
        let (ready, waiting) = (subset.get("addresses"), subset.get("notReadyAddresses"));
        if ready.is_empty() && waiting.is_empty() {
            errors.required(&subset, "must specify `addresses` or `notReadyAddresses`");
        }
        for address in ready.items().into_iter().chain(waiting.items()) {
            errors.need_form(&address.get("ip"), syntax::ip);
        }
        let ports = subset.get("ports").items();
        for port in &ports {
            let name = port.get("name");
            if ports.len() > 1 && name.is_empty() {
                errors.required(&name, "");
            }
            errors.form(&name, syntax::dns_label);
            let number = port.get("port");
            errors.complaints(&number, syntax::port_number(number.int().unwrap_or_default()));
            errors.need_supported(&port.get("protocol"), &["SCTP", "TCP", "UDP"]);
        }
    }
}

fn event(object: &At, errors: &mut Errors) {
    let namespace = object.path(&["metadata", "namespace"]);
    let involved = object.path(&["involvedObject", "namespace"]);
    let fits = if involved.is_empty() {
        namespace.is_empty()
            || namespace.text() == crate::names::namespace::DEFAULT
            || namespace.text() == crate::names::namespace::SYSTEM
    } else {
        involved.text() == namespace.text()
    };
    if !fits {
        errors.invalid_value(&involved, involved.text(), "does not match event.namespace");
    }
}

fn binding(object: &At, errors: &mut Errors) {
    let target = object.get("target");
    errors.supported(&target.get("kind"), &["", "Node"]);
    errors.need(&target.get("name"));
}
