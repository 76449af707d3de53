//! Horizontal pod autoscalers.

use serde_json::{Value, json};

use super::fill::{Object, at, ensure, has, items, quantity, set};
use crate::gvk::GroupVersionKind;

pub(super) fn apply(gvk: &GroupVersionKind, object: &mut Object) {
    if gvk.kind != "HorizontalPodAutoscaler" {
        return;
    }
    let Some(spec) = ensure(object, "spec") else { return };
    set(spec, "minReplicas", 1);
    if gvk.version == "v1" {
        return;
    }
    if spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        spec.insert("metrics".into(), vec![metric].into());
    }
    for metric in items(spec, "metrics") {
        for source in ["resource", "containerResource", "pods", "object", "external"] {
            if let Some(target) = at(metric, &[source, "target"]) {
                quantity(target, "value");
                quantity(target, "averageValue");
            }
        }
    }
    if has(spec, "behavior")
        && let Some(behavior) = ensure(spec, "behavior")
    {
        let all = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        let four = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        if let Some(up) = ensure(behavior, "scaleUp") {
            set(up, "stabilizationWindowSeconds", 0);
            rules(up, vec![four, all.clone()]);
        }
        if let Some(down) = ensure(behavior, "scaleDown") {
            rules(down, vec![all]);
        }
    }
}

fn rules(rules: &mut Object, policies: Vec<Value>) {
    set(rules, "selectPolicy", "Max");
    if rules.get("policies").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        rules.insert("policies".into(), policies.into());
    }
}
