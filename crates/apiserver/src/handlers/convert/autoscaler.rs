//! HorizontalPodAutoscalers as `autoscaling/v1` shows them: CPU utilisation has fields of its own, and everything that
//! `v2` says beyond it is in annotations, so that a client of either version loses nothing.

use serde_json::{Map, Value, json};

/// Annotation of `v1`, and where its content is in `v2`.
const BEYOND: &[(&str, &str, &str)] = &[
    ("autoscaling.alpha.kubernetes.io/metrics", "spec", "metrics"),
    ("autoscaling.alpha.kubernetes.io/behavior", "spec", "behavior"),
    ("autoscaling.alpha.kubernetes.io/current-metrics", "status", "currentMetrics"),
    ("autoscaling.alpha.kubernetes.io/conditions", "status", "conditions"),
];
const TARGET: &str = "targetCPUUtilizationPercentage";
const CURRENT: &str = "currentCPUUtilizationPercentage";

pub fn to_v1(mut value: Value) -> Value {
    value["apiVersion"] = json!("autoscaling/v1");
    if let Some(target) = take_cpu(&mut value["spec"]["metrics"], "target") {
        value["spec"][TARGET] = target;
    }
    if let Some(current) = take_cpu(&mut value["status"]["currentMetrics"], "current") {
        value["status"][CURRENT] = current;
    }
    for (annotation, part, field) in BEYOND {
        let Some(fields) = value[*part].as_object_mut() else { continue };
        let Some(beyond) = fields.remove(*field) else { continue };
        let empty = beyond.is_null() || beyond.as_array().is_some_and(Vec::is_empty);
        if !empty {
            value["metadata"]["annotations"][*annotation] = json!(beyond.to_string());
        }
    }
    without_nulls(value)
}

pub fn to_v2(mut value: Value) -> Value {
    value["apiVersion"] = json!("autoscaling/v2");
    for (annotation, part, field) in BEYOND {
        let Some(annotations) = value["metadata"]["annotations"].as_object_mut() else { break };
        let Some(Value::String(text)) = annotations.remove(*annotation) else { continue };
        // What a person wrote there and cannot be read is dropped, as Kubernetes does.
        if let Ok(beyond) = serde_json::from_str(&text) {
            value[*part][*field] = beyond;
        }
    }
    for (part, old, list, new, kind) in [
        ("spec", TARGET, "metrics", "target", Some("Utilization")),
        ("status", CURRENT, "currentMetrics", "current", None),
    ] {
        let Some(utilization) = value[part].as_object_mut().and_then(|fields| fields.remove(old)) else {
            continue;
        };
        let mut amount = json!({"averageUtilization": utilization});
        if let Some(kind) = kind {
            amount["type"] = json!(kind);
        }
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", new: amount}});
        match value[part][list].as_array_mut() {
            Some(all) => all.insert(0, metric),
            None => value[part][list] = json!([metric]),
        }
    }
    without_nulls(value)
}

/// Takes the CPU utilisation out of a list of metrics.
fn take_cpu(metrics: &mut Value, what: &str) -> Option<Value> {
    let all = metrics.as_array_mut()?;
    let is_cpu = |metric: &Value| {
        metric["type"] == "Resource"
            && metric["resource"]["name"] == "cpu"
            && metric["resource"][what]["averageUtilization"].is_number()
    };
    let at = all.iter().position(is_cpu)?;
    let metric = all.remove(at);
    Some(metric["resource"][what]["averageUtilization"].clone())
}

/// Drops what was only looked at.
fn without_nulls(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let keep = |value: &Value| {
        !value.is_null() && value.as_object().is_none_or(|map| !map.values().all(Value::is_null))
    };
    let clean = |value: Value| match value {
        Value::Object(map) => Value::Object(map.into_iter().filter(|(_, v)| !v.is_null()).collect()),
        other => other,
    };
    Value::Object(
        fields.into_iter().filter(|(_, v)| keep(v)).map(|(k, v)| (k, clean(v))).collect::<Map<_, _>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_say_the_same() {
        let rich = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
            "spec": {"maxReplicas": 3, "behavior": {"scaleUp": {"selectPolicy": "Min"}}, "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
                {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}}]},
            "status": {"currentReplicas": 1, "conditions": [{"type": "AbleToScale"}]}});
        let old = to_v1(rich.clone());
        assert_eq!(old["spec"][TARGET], 50);
        assert!(old["spec"]["metrics"].is_null() && old["status"]["conditions"].is_null());
        assert!(
            old["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"]
                .as_str()
                .is_some_and(|t| t.contains("memory"))
        );
        let mut back = to_v2(old);
        back["metadata"] = json!({"name": "h"});
        assert_eq!(back, rich);
        let plain = json!({"apiVersion": "autoscaling/v1", "metadata": {"name": "h"}, "spec": {"maxReplicas": 3, TARGET: 70}});
        let new = to_v2(plain.clone());
        assert_eq!(
            new["spec"]["metrics"][0]["resource"]["target"],
            json!({"type": "Utilization", "averageUtilization": 70})
        );
        assert_eq!(to_v1(new), plain);
    }
}
