//! Answers in Kubernetes' protobuf form, for clients that prefer it: controllers, schedulers and kubectl's typed commands.
//!
//! Fields are written in the order of the table, absent ones are left out; a reader takes both for the same. Kinds that are
//! not in the table are never offered in this form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use super::{MAGIC, SPREAD, line, message_of};

/// Whether objects of a kind, and lists of them, can be written.
pub fn writes(api_version: &str, kind: &str) -> bool {
    message_of(api_version, kind).is_some()
}

/// An object in its envelope; `None` if its kind cannot be written.
pub fn encode(value: &Value) -> Option<Vec<u8>> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let raw = message(&message_of(api_version, kind)?, value);
    let mut types = Vec::new();
    bytes(&mut types, 1, api_version.as_bytes());
    bytes(&mut types, 2, kind.as_bytes());
    let mut out = MAGIC.to_vec();
    bytes(&mut out, 1, &types);
    bytes(&mut out, 2, &raw);
    // Content encoding and type, which are always written, and always empty.
    bytes(&mut out, 3, b"");
    bytes(&mut out, 4, b"");
    Some(out)
}

/// One event of a watch, from its line of JSON: a frame that begins with its length.
pub fn frame(line: &[u8]) -> Option<Bytes> {
    let event: Value = serde_json::from_slice(line).ok()?;
    let mut object = Vec::new();
    bytes(&mut object, 1, &encode(&event["object"])?);
    let mut out = Vec::new();
    bytes(&mut out, 1, event["type"].as_str()?.as_bytes());
    bytes(&mut out, 2, &object);
    let length = u32::try_from(out.len()).ok()?.to_be_bytes();
    Some(Bytes::from([&length[..], &out].concat()))
}

pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn bytes(out: &mut Vec<u8>, number: u64, payload: &[u8]) {
    varint(out, number << 3 | 2);
    varint(out, payload.len() as u64);
    out.extend_from_slice(payload);
}

pub fn integer(out: &mut Vec<u8>, number: u64, value: i64) {
    varint(out, number << 3);
    varint(out, value.cast_unsigned());
}

fn message(name: &str, value: &Value) -> Vec<u8> {
    if let Some(special) = special(name, value) {
        return special;
    }
    let mut out = Vec::new();
    for field in line(name).unwrap_or_default().split(' ') {
        let mut parts = field.splitn(3, ':');
        let (Some(number), Some(name), Some(kind)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let Ok(number) = number.parse::<u64>() else { continue };
        if SPREAD.contains(&name) && value.get(name).is_none() {
            bytes(&mut out, number, &message(kind, value));
            continue;
        }
        let Some(field) = value.get(name).filter(|v| !v.is_null()) else { continue };
        if let Some(kind) = kind.strip_prefix('*') {
            field.as_array().into_iter().flatten().for_each(|item| one(&mut out, number, kind, item));
        } else if let Some(kind) = kind.strip_prefix('%') {
            for (key, item) in field.as_object().into_iter().flatten() {
                let mut entry = Vec::new();
                bytes(&mut entry, 1, key.as_bytes());
                one(&mut entry, 2, kind, item);
                bytes(&mut out, number, &entry);
            }
        } else {
            one(&mut out, number, kind, field);
        }
    }
    out
}

fn one(out: &mut Vec<u8>, number: u64, kind: &str, value: &Value) {
    match kind {
        "s" => bytes(out, number, value.as_str().unwrap_or_default().as_bytes()),
        "y" => bytes(out, number, &STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default()),
        "i" => integer(out, number, value.as_i64().unwrap_or_default()),
        "b" => integer(out, number, i64::from(value.as_bool().unwrap_or_default())),
        "d" => {
            varint(out, number << 3 | 1);
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
        }
        kind => bytes(out, number, &message(kind, value)),
    }
}

/// Messages that are not objects in JSON.
fn special(name: &str, value: &Value) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match name.rsplit('.').next().unwrap_or(name) {
        "Time" | "MicroTime" => {
            let at: Timestamp = value.as_str().unwrap_or_default().parse().unwrap_or_default();
            integer(&mut out, 1, at.as_second());
            integer(&mut out, 2, i64::from(at.subsec_nanosecond()));
        }
        "Quantity" => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            bytes(&mut out, 1, text.as_bytes());
        }
        "IntOrString" => match value.as_str() {
            Some(text) => {
                integer(&mut out, 1, 1);
                integer(&mut out, 2, 0);
                bytes(&mut out, 3, text.as_bytes());
            }
            None => {
                integer(&mut out, 1, 0);
                integer(&mut out, 2, value.as_i64().unwrap_or_default());
                bytes(&mut out, 3, b"");
            }
        },
        "RawExtension" | "FieldsV1" => bytes(&mut out, 1, value.to_string().as_bytes()),
        "ExtraValue" | "Verbs" => {
            for item in value.as_array().into_iter().flatten() {
                bytes(&mut out, 1, item.as_str().unwrap_or_default().as_bytes());
            }
        }
        _ => return None,
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::handlers::protobuf::decode;

    fn survives(value: Value) {
        assert_eq!(decode(&encode(&value).unwrap()).unwrap(), value);
    }

    #[test]
    fn what_is_written_is_read_again() {
        survives(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "p", "labels": {"a": "b"}, "creationTimestamp": "2026-01-01T00:00:07Z",
                "managedFields": [{"manager": "m", "operation": "Update", "time": "2026-01-01T00:00:07Z",
                    "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:x": {}}}}],
                "ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": "x", "uid": "u", "controller": true}],
            },
            "spec": {
                "volumes": [{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
                    {"name": "c", "configMap": {"name": "c", "optional": true}}],
                "containers": [{
                    "name": "c", "image": "i", "args": ["a", "b"],
                    "env": [{"name": "e", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                    "resources": {"requests": {"cpu": "100m"}},
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 3},
                    "securityContext": {"runAsUser": 7, "privileged": false},
                }],
                "terminationGracePeriodSeconds": -1,
            },
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        }));
        survives(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "aGVsbG8="},
        }));
        survives(json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "w"},
            "webhooks": [{"name": "a.b.c", "timeoutSeconds": 5, "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": "https://a.b", "caBundle": "aGVsbG8="},
                "rules": [{"operations": ["CREATE"], "apiGroups": ["apps"], "resources": ["*"], "scope": "*"}]}],
        }));
        survives(json!({
            "apiVersion": "apps/v1", "kind": "DeploymentList", "metadata": {"resourceVersion": "7"},
            "items": [{"metadata": {"name": "d"}, "spec": {"replicas": 0, "strategy": {"rollingUpdate":
                {"maxSurge": "25%", "maxUnavailable": 1}}, "selector": {"matchLabels": {"a": "b"}}}}],
        }));
    }

    #[test]
    fn a_frame_carries_its_length() {
        let line = json!({"type": "ADDED", "object": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}});
        let framed = frame(line.to_string().as_bytes()).unwrap();
        let (length, rest) = framed.split_at(4);
        assert_eq!(u32::from_be_bytes(length.try_into().unwrap()) as usize, rest.len());
        assert!(rest.windows(4).any(|w| w == MAGIC));
    }

    #[test]
    fn what_is_not_in_the_table_is_not_offered() {
        const NOT_THERE: [&str; 3] = ["dunlin.io", "apiextensions.k8s.io", "metrics.k8s.io"];
        assert!(writes("v1", "Pod") && writes("apps/v1", "Deployment") && writes("v1", "Status"));
        assert!(!writes("dunlin.io/v1alpha1", "Cluster"));
        assert!(writes("autoscaling/v1", "Scale") && writes("apps/v1", "DeploymentList"));
        for resource in
            crate::resources::BUILTIN.iter().filter(|r| r.is_stored() && !NOT_THERE.contains(&&*r.group))
        {
            assert!(writes(&resource.api_version(), &resource.kind), "{}", resource.plural);
        }
    }
}
