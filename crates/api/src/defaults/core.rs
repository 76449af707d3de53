//! The core group without pods: services, secrets, namespaces, nodes, volumes, claims, limits.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::fill::{self, Object, at, child, ensure, has, items, resource_list, set, set_text, text};
use super::pod;
use crate::names::{label, secret_type};

pub(super) fn apply(kind: &str, object: &mut Object) {
    match kind {
        "Pod" => pod::pod(object),
        "PodTemplate" => pod::template(object),
        "ReplicationController" => replication_controller(object),
        "Service" => service(object),
        "Endpoints" => endpoints(object),
        "Secret" => secret(object),
        "Namespace" => namespace(object),
        "Node" => node(object),
        "PersistentVolume" => volume(object),
        "PersistentVolumeClaim" => claim(object),
        "LimitRange" => limit_range(object),
        "ResourceQuota" => {
            for part in ["spec", "status"] {
                if let Some(part) = child(object, part) {
                    resource_list(part, "hard");
                    resource_list(part, "used");
                }
            }
        }
        _ => {}
    }
}

fn replication_controller(object: &mut Object) {
    let Some(spec) = ensure(object, "spec") else { return };
    set(spec, "replicas", 1);
    pod::template(spec);
    let labels = at(spec, &["template", "metadata", "labels"]).cloned();
    let Some(labels) = labels else { return };
    if spec.get("selector").and_then(Value::as_object).is_none_or(Object::is_empty) {
        spec.insert("selector".into(), labels.clone().into());
    }
    if let Some(metadata) = ensure(object, "metadata")
        && metadata.get("labels").and_then(Value::as_object).is_none_or(Object::is_empty)
    {
        metadata.insert("labels".into(), labels.into());
    }
}

fn service(object: &mut Object) {
    let Some(spec) = ensure(object, "spec") else { return };
    set_text(spec, "type", "ClusterIP");
    set_text(spec, "sessionAffinity", "None");
    if text(spec, "sessionAffinity") == "ClientIP" {
        if let Some(client) = ensure(spec, "sessionAffinityConfig").and_then(|c| ensure(c, "clientIP")) {
            set(client, "timeoutSeconds", 10_800);
        }
    } else {
        spec.remove("sessionAffinityConfig");
    }
    for port in items(spec, "ports") {
        set_text(port, "protocol", "TCP");
        let number = port.get("port").cloned().unwrap_or_default();
        let unset = port.get("targetPort").is_none_or(|t| t.is_null() || t == "" || t.as_i64() == Some(0));
        if unset && !number.is_null() {
            port.insert("targetPort".into(), number);
        }
    }
    let kind = text(spec, "type").to_owned();
    let external_ips = spec.get("externalIPs").and_then(Value::as_array).is_some_and(|l| !l.is_empty());
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && external_ips) {
        set_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        set_text(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", true);
        for ingress in at(object, &["status", "loadBalancer"]).into_iter().flat_map(|lb| items(lb, "ingress"))
        {
            if !text(ingress, "ip").is_empty() {
                set(ingress, "ipMode", "VIP");
            }
        }
    }
}

fn endpoints(object: &mut Object) {
    for subset in items(object, "subsets") {
        for port in items(subset, "ports") {
            set_text(port, "protocol", "TCP");
        }
    }
}

/// `stringData` is for writing only: it goes into `data` and wins over what stands there.
fn secret(object: &mut Object) {
    set_text(object, "type", secret_type::OPAQUE);
    let Some(Value::Object(plain)) = object.get("stringData") else { return };
    if plain.values().any(|value| !value.is_string()) {
        return;
    }
    let encoded: Vec<(String, Value)> = plain
        .iter()
        .map(|(key, value)| (key.clone(), STANDARD.encode(value.as_str().unwrap_or_default()).into()))
        .collect();
    if !encoded.is_empty() {
        let Some(data) = ensure(object, "data") else { return };
        data.extend(encoded);
    }
    object.remove("stringData");
}

fn namespace(object: &mut Object) {
    if let Some(metadata) = child(object, "metadata") {
        let name = text(metadata, "name").to_owned();
        if !name.is_empty()
            && let Some(labels) = ensure(metadata, "labels")
        {
            labels.insert(label::METADATA_NAME.into(), name.into());
        }
    }
    if let Some(status) = ensure(object, "status") {
        set_text(status, "phase", "Active");
    }
}

fn node(object: &mut Object) {
    if let Some(spec) = child(object, "spec") {
        let first = spec.get("podCIDRs").and_then(|list| list.get(0)).cloned();
        match (text(spec, "podCIDR").to_owned(), first) {
            (one, None) if !one.is_empty() => {
                spec.insert("podCIDRs".into(), vec![one].into());
            }
            (one, Some(first)) if one.is_empty() => {
                spec.insert("podCIDR".into(), first);
            }
            _ => {}
        }
    }
    if let Some(status) = child(object, "status") {
        if has(status, "capacity") && !has(status, "allocatable") {
            let capacity = status.get("capacity").cloned().unwrap_or_default();
            status.insert("allocatable".into(), capacity);
        }
        resource_list(status, "capacity");
        resource_list(status, "allocatable");
    }
}

fn volume(object: &mut Object) {
    if let Some(spec) = ensure(object, "spec") {
        set_text(spec, "persistentVolumeReclaimPolicy", "Retain");
        set(spec, "volumeMode", "Filesystem");
        resource_list(spec, "capacity");
        volume_source(spec);
    }
    if let Some(status) = ensure(object, "status") {
        set_text(status, "phase", "Pending");
    }
}

/// What volumes of pods and persistent volumes have in common.
pub(super) fn volume_source(object: &mut Object) {
    if let Some(host) = child(object, "hostPath") {
        set(host, "type", "");
    }
    if let Some(iscsi) = child(object, "iscsi") {
        set_text(iscsi, "iscsiInterface", "default");
    }
    if let Some(rbd) = child(object, "rbd") {
        set_text(rbd, "pool", "rbd");
        set_text(rbd, "user", "admin");
        set_text(rbd, "keyring", "/etc/ceph/keyring");
    }
    if let Some(disk) = child(object, "azureDisk") {
        set(disk, "cachingMode", "ReadWrite");
        set(disk, "kind", "Shared");
        set(disk, "fsType", "ext4");
        set(disk, "readOnly", false);
    }
}

/// A whole claim.
pub(super) fn claim(object: &mut Object) {
    if let Some(spec) = ensure(object, "spec") {
        claim_spec(spec);
    }
    if let Some(status) = ensure(object, "status") {
        set_text(status, "phase", "Pending");
        resource_list(status, "capacity");
        resource_list(status, "allocatedResources");
    }
}

/// The spec of a claim, also in templates.
pub(super) fn claim_spec(spec: &mut Object) {
    set(spec, "volumeMode", "Filesystem");
    fill::resources(spec);
    // The older field can say less, and what it cannot say is dropped; the newer one always has both.
    let old_kind = |source: &Value| {
        let group = source["apiGroup"].as_str().unwrap_or_default();
        matches!(
            (group, source["kind"].as_str().unwrap_or_default()),
            ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
        )
    };
    if spec.get("dataSource").is_some_and(|source| !old_kind(source)) {
        spec.remove("dataSource");
    }
    if has(spec, "dataSource") && !has(spec, "dataSourceRef") {
        let source = spec.get("dataSource").cloned().unwrap_or_default();
        spec.insert("dataSourceRef".into(), source);
    } else if has(spec, "dataSourceRef") && !has(spec, "dataSource") {
        let source = spec.get("dataSourceRef").cloned().unwrap_or_default();
        if old_kind(&source) && source["namespace"].as_str().unwrap_or_default().is_empty() {
            spec.insert("dataSource".into(), source);
        }
    }
}

fn limit_range(object: &mut Object) {
    for item in child(object, "spec").into_iter().flat_map(|spec| items(spec, "limits")) {
        for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
            resource_list(item, list);
        }
        if text(item, "type") != "Container" {
            continue;
        }
        for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
            let Some(values) = child(item, from).cloned() else { continue };
            let Some(target) = ensure(item, to) else { continue };
            for (name, value) in values {
                set(target, &name, value);
            }
        }
    }
}

/// Numbers that several kinds of port have; used by services of webhooks too.
pub(super) fn service_port(service: &mut Object) {
    set(service, "port", 443);
}
