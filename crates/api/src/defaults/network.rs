//! Network policies, ingress classes, endpoint slices.

use serde_json::{Value, json};

use super::fill::{Object, at, child, ensure, items, set};

pub(super) fn apply(kind: &str, object: &mut Object) {
    match kind {
        "NetworkPolicy" => network_policy(object),
        "IngressClass" => {
            if let Some(parameters) = at(object, &["spec", "parameters"]) {
                set(parameters, "scope", "Cluster");
            }
        }
        "EndpointSlice" => {
            for port in items(object, "ports") {
                set(port, "name", "");
                set(port, "protocol", "TCP");
            }
        }
        _ => {}
    }
}

fn network_policy(object: &mut Object) {
    let Some(spec) = ensure(object, "spec") else { return };
    for rules in ["ingress", "egress"] {
        for rule in items(spec, rules) {
            for port in items(rule, "ports") {
                set(port, "protocol", "TCP");
            }
        }
    }
    let filled =
        |spec: &Object, key: &str| spec.get(key).and_then(Value::as_array).is_some_and(|l| !l.is_empty());
    if !filled(spec, "policyTypes") {
        let types = if filled(spec, "egress") { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        spec.insert("policyTypes".into(), types);
    }
    if let Some(spec) = child(object, "spec") {
        set(spec, "podSelector", Object::new());
    }
}
