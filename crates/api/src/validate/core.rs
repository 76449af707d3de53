//! The core group: configuration, namespaces, nodes, replication controllers, events; pods and services by their own files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::field::{At, Errors, same, same_texts};
use super::{
    FieldError, apps, events, limits, pod, pod_annotations, pod_update, resources, scheduling, selectors,
    service, storage, syntax,
};
use crate::names::{annotation, secret_type};
use crate::selector::LabelSelector;

/// All values of a config map or secret together, in bytes.
const MAX_CONFIG: usize = 1024 * 1024;

pub(super) fn kind(kind: &str, object: &At, errors: &mut Errors) {
    let spec = object.get("spec");
    match kind {
        "Pod" => {
            pod_annotations::check(object, errors);
            pod::spec(&spec, errors);
        }
        "PodTemplate" => pod::template(&object.get("template"), errors),
        "ReplicationController" => replication_controller(&spec, errors),
        "Service" => service::service(&spec, errors),
        "ConfigMap" => config_map(object, errors),
        "Secret" => secret(object, errors),
        "Namespace" => {
            finalizers(object, errors);
            pod_security(&object.path(&["metadata", "labels"]), errors);
        }
        "Node" => {
            // The path that Kubernetes prints.
            scheduling::taints(&spec.get("taints").at("metadata.taints".to_owned()), errors);
            node_resources(object, errors);
            pod_networks(&spec.get("podCIDRs"), errors);
        }
        "PersistentVolumeClaim" => storage::claim_spec(&spec, errors),
        "PersistentVolume" => storage::volume(&spec, errors),
        "ResourceQuota" => limits::quota(&spec, errors),
        "LimitRange" => limits::range(&spec, errors),
        "Endpoints" => endpoints(object, errors),
        "Event" => events::core(object, errors),
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

/// `spec.finalizers` of a namespace.
pub(super) fn finalizers(namespace: &At, errors: &mut Errors) {
    for item in namespace.path(&["spec", "finalizers"]).items() {
        errors.complaints(&item, syntax::qualified_name(item.text()));
        super::metadata::known_finalizer(&item, errors);
    }
}

/// A namespace ends when it is deleted, and not because somebody says so.
pub(super) fn namespace_status(namespace: &At, errors: &mut Errors) {
    let deleted = namespace.path(&["metadata", "deletionTimestamp"]).is_set();
    let (wanted, not) = if deleted { ("Terminating", " not") } else { ("Active", "") };
    let phase = namespace.path(&["status", "phase"]);
    if phase.text() != wanted {
        let words = format!("may only be '{wanted}' if `deletionTimestamp` is{not} empty");
        // The name that Kubernetes prints.
        errors.invalid_value(&phase.at("status.Phase".to_owned()), phase.text(), words);
    }
}

/// The labels by which a namespace says how secure its pods must be.
fn pod_security(labels: &At, errors: &mut Errors) {
    for mode in ["enforce", "audit", "warn"] {
        for (key, level) in [(format!("{mode}-version"), false), (mode.to_owned(), true)] {
            let key = format!("pod-security.kubernetes.io/{key}");
            let Some(value) = labels.value.get(&key).and_then(|v| v.as_str()) else { continue };
            let (fits, words) = if level {
                let levels = ["privileged", "baseline", "restricted"];
                (levels.contains(&value), "must be one of privileged, baseline, restricted")
            } else {
                (crate::pod_security::Version::parse(value).is_some(), "must be \"latest\" or \"v1.x\"")
            };
            if !fits {
                errors.invalid_value(&labels.at(format!("{}[{key}]", labels.path)), value, words);
            }
        }
    }
}

/// The networks of a node's pods: at most one of each family.
fn pod_networks(list: &At, errors: &mut Errors) {
    let all = list.items();
    for cidr in &all {
        errors.complaints(cidr, syntax::cidr(cidr.text()));
    }
    if all.len() < 2 {
        return;
    }
    if let Some((index, bad)) = all.iter().enumerate().find(|(_, cidr)| !syntax::cidr(cidr.text()).is_empty())
    {
        let words = format!(
            "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{index}]: <nil> (invalid CIDR address: {})",
            bad.text()
        );
        errors.push(FieldError::internal(&list.path, words));
    }
    let six = |cidr: &At| cidr.text().contains(':');
    if all.len() > 2 || six(&all[0]) == six(&all[1]) {
        errors.invalid(list, "may specify no more than one CIDR for each IP family");
    }
}

fn node_resources(node: &At, errors: &mut Errors) {
    for name in ["capacity", "allocatable"] {
        let list = node.path(&["status", name]);
        for (key, at) in list.entries() {
            resources::non_negative(&at.at(format!("{}.{key}", list.path)), errors);
        }
    }
}

/// What a node reports of itself.
pub(super) fn node_status(node: &At, errors: &mut Errors) {
    node_resources(node, errors);
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
    errors.non_negative(&spec.get("minReadySeconds"));
    let selector = spec.get("selector");
    errors.need(&selector);
    errors.non_negative(&spec.get("replicas"));
    if !spec.get("template").is_set() {
        return errors.required(&spec.get("template"), "");
    }
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
            let (ip, node) = (address.get("ip"), address.get("nodeName"));
            let parsed = ip.text().parse::<std::net::IpAddr>();
            if parsed.is_err() {
                errors.complaints_about(&ip, ip.text(), syntax::ip(ip.text()));
            }
            errors.form(&address.get("hostname"), syntax::dns_label);
            if node.is_set() {
                errors.complaints(&node, syntax::dns_subdomain(node.text()));
            }
            match parsed {
                Ok(parsed) => super::network::special_address(&ip, parsed, errors),
                Err(_) => errors.invalid_value(&ip, ip.text(), "must be a valid IP address"),
            }
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
            let protocol = port.get("appProtocol");
            if protocol.is_set() {
                errors.complaints(&protocol, syntax::qualified_name(protocol.text()));
            }
        }
    }
}

fn binding(object: &At, errors: &mut Errors) {
    let target = object.get("target");
    errors.supported(&target.get("kind"), &["", "Node"]);
    errors.need(&target.get("name"));
}
