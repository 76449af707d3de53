//! Horizontal pod autoscalers as `autoscaling/v1`: one target for the CPU, all else in annotations.

use dunlin_api::gvk::GroupVersionKind;
use serde_json::{Map, Value, json};

use crate::object::{map, meta};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Fields of `v2` by path, and their names in `v1`.
type Paths = &'static [(&'static [&'static str], &'static str)];

/// Each type of metric: its field, its fields in `v2` by path and their names in `v1`, in the order of the latter.
const FIELDS: &[(&str, Paths)] = &[
    (
        "object",
        &[
            (&["describedObject"], "target"),
            (&["metric", "name"], "metricName"),
            (&["target", "value"], "targetValue"),
            (&["metric", "selector"], "selector"),
            (&["target", "averageValue"], "averageValue"),
        ],
    ),
    (
        "pods",
        &[
            (&["metric", "name"], "metricName"),
            (&["target", "averageValue"], "targetAverageValue"),
            (&["metric", "selector"], "selector"),
        ],
    ),
    (
        "resource",
        &[
            (&["name"], "name"),
            (&["target", "averageUtilization"], "targetAverageUtilization"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            (&["name"], "name"),
            (&["target", "averageUtilization"], "targetAverageUtilization"),
            (&["target", "averageValue"], "targetAverageValue"),
            (&["container"], "container"),
        ],
    ),
    (
        "external",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "metricSelector"),
            (&["target", "value"], "targetValue"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
];
/// The same for what was measured.
const MEASURED: &[(&str, Paths)] = &[
    (
        "object",
        &[
            (&["describedObject"], "target"),
            (&["metric", "name"], "metricName"),
            (&["current", "value"], "currentValue"),
            (&["metric", "selector"], "selector"),
            (&["current", "averageValue"], "averageValue"),
        ],
    ),
    (
        "pods",
        &[
            (&["metric", "name"], "metricName"),
            (&["current", "averageValue"], "currentAverageValue"),
            (&["metric", "selector"], "selector"),
        ],
    ),
    (
        "resource",
        &[
            (&["name"], "name"),
            (&["current", "averageUtilization"], "currentAverageUtilization"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            (&["name"], "name"),
            (&["current", "averageUtilization"], "currentAverageUtilization"),
            (&["current", "averageValue"], "currentAverageValue"),
            (&["container"], "container"),
        ],
    ),
    (
        "external",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "metricSelector"),
            (&["current", "value"], "currentValue"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
];

type Table = &'static [(&'static str, &'static [(&'static [&'static str], &'static str)])];

/// The share of the CPU that a metric is about, if it is about nothing else.
fn cpu(metric: &Value, part: &str) -> Option<i64> {
    let resource = &metric["resource"];
    if metric["type"] != "Resource" || resource["name"] != "cpu" {
        return None;
    }
    resource[part]["averageUtilization"].as_i64()
}

fn older(metric: &Value, table: Table) -> Value {
    let mut made = json!({"type": metric["type"]});
    for (field, names) in table.iter().filter(|(field, _)| metric[*field].is_object()) {
        let mut source = Map::new();
        for (path, name) in *names {
            let value = path.iter().fold(&metric[*field], |value, part| &value[*part]);
            if !value.is_null() {
                source.insert((*name).to_owned(), value.clone());
            }
        }
        made[*field] = Value::Object(source);
    }
    made
}

fn newer(metric: &Value, table: Table) -> Value {
    let mut made = json!({"type": metric["type"]});
    for (field, names) in table.iter().filter(|(field, _)| metric[*field].is_object()) {
        let mut source = json!({});
        for (path, name) in *names {
            let value = &metric[*field][*name];
            if !value.is_null() {
                let (last, parents) = path.split_last().unwrap_or((&"", &[]));
                parents.iter().fold(&mut source, |value, part| &mut value[*part])[*last] = value.clone();
            }
        }
        let target = &mut source["target"];
        if target.is_object() {
            // A target has a type in this form only, which follows from what is set.
            let is = |name: &str| !target[name].is_null();
            let kind = match (is("averageUtilization"), is("value")) {
                (true, _) => "Utilization",
                (_, true) => "Value",
                _ => "AverageValue",
            };
            target["type"] = json!(kind);
        } else if target.is_null() {
            source.as_object_mut().map(|source| source.remove("target"));
        }
        made[*field] = source;
    }
    made
}

fn note(value: &mut Value, key: &str, content: &Value) {
    let notes = meta(value).entry("annotations").or_insert_with(|| json!({}));
    if !notes.is_object() {
        *notes = json!({});
    }
    notes[key] = json!(content.to_string());
}

fn taken(value: &mut Value, key: &str) -> Option<Value> {
    let notes = meta(value).get_mut("annotations")?.as_object_mut()?;
    let text = notes.remove(key)?;
    if notes.is_empty() {
        meta(value).remove("annotations");
    }
    // What somebody else has written there by hand and cannot be read is dropped, as in Kubernetes.
    serde_json::from_str(text.as_str()?).ok()
}

pub(super) fn to_v1(mut value: Value) -> Value {
    value["apiVersion"] = json!("autoscaling/v1");
    let spec = map(&mut value, "spec");
    let metrics = spec.remove("metrics").unwrap_or_default();
    let behavior = spec.remove("behavior");
    let metrics = metrics.as_array().cloned().unwrap_or_default();
    if let Some(share) = metrics.iter().filter_map(|metric| cpu(metric, "target")).next_back() {
        spec.insert("targetCPUUtilizationPercentage".into(), json!(share));
    }
    let others: Vec<Value> = metrics
        .iter()
        .filter(|metric| cpu(metric, "target").is_none())
        .map(|metric| older(metric, FIELDS))
        .collect();
    let status = map(&mut value, "status");
    let current = status.remove("currentMetrics").unwrap_or_default();
    let conditions = status.remove("conditions");
    status.entry("currentReplicas").or_insert_with(|| json!(0));
    let current = current.as_array().cloned().unwrap_or_default();
    if let Some(share) = current.iter().filter_map(|metric| cpu(metric, "current")).next_back() {
        status.insert("currentCPUUtilizationPercentage".into(), json!(share));
    }
    let current: Vec<Value> = current.iter().map(|metric| older(metric, MEASURED)).collect();
    for (key, content) in [
        (METRICS, (!others.is_empty()).then_some(Value::Array(others))),
        (CURRENT, (!current.is_empty()).then_some(Value::Array(current))),
        (BEHAVIOR, behavior.filter(|behavior| !behavior.is_null())),
        (CONDITIONS, conditions.filter(|list| list.as_array().is_some_and(|list| !list.is_empty()))),
    ] {
        if let Some(content) = content {
            note(&mut value, key, &content);
        }
    }
    value
}

pub(super) fn to_v2(mut value: Value) -> Value {
    value["apiVersion"] = json!("autoscaling/v2");
    let metrics = taken(&mut value, METRICS);
    let (current, conditions) = (taken(&mut value, CURRENT), taken(&mut value, CONDITIONS));
    let behavior = taken(&mut value, BEHAVIOR);
    let list = |value: Option<Value>, table: Table| -> Vec<Value> {
        value
            .as_ref()
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|metric| newer(metric, table))
            .collect()
    };
    let spec = map(&mut value, "spec");
    let mut metrics = list(metrics, FIELDS);
    if let Some(share) = spec.remove("targetCPUUtilizationPercentage").filter(|share| !share.is_null()) {
        let target = json!({"type": "Utilization", "averageUtilization": share});
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    if !metrics.is_empty() {
        spec.insert("metrics".into(), Value::Array(metrics));
    }
    if let Some(behavior) = behavior {
        spec.insert("behavior".into(), behavior);
    }
    let status = map(&mut value, "status");
    status.remove("currentCPUUtilizationPercentage");
    let current = list(current, MEASURED);
    status.insert(
        "currentMetrics".into(),
        if current.is_empty() { Value::Null } else { Value::Array(current) },
    );
    if let Some(conditions) = conditions {
        status.insert("conditions".into(), conditions);
    }
    if status.get("currentReplicas") == Some(&json!(0)) {
        status.remove("currentReplicas");
    }
    value
}

/// The form that is stored.
pub(super) fn newest() -> GroupVersionKind {
    GroupVersionKind::new("autoscaling", "v2", "HorizontalPodAutoscaler")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_again() {
        let stored = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
            "spec": {"minReplicas": 1, "maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"},
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 3, "selectPolicy": "Max",
                        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]},
                    "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
                        "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}},
                "metrics": [
                    {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1k"}}},
                    {"type": "External", "external": {"metric": {"name": "q", "selector": {"matchLabels": {"a": "b"}}},
                        "target": {"type": "Value", "value": "30"}}},
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]},
            "status": {"desiredReplicas": 1, "currentMetrics": [
                {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 9, "averageValue": "3m"}}}],
                "conditions": [{"type": "AbleToScale", "status": "True", "lastTransitionTime": null}]},
        });
        let old = to_v1(stored.clone());
        assert_eq!(old["spec"]["targetCPUUtilizationPercentage"], 50);
        assert_eq!(old["status"]["currentCPUUtilizationPercentage"], 9);
        assert!(old["metadata"]["annotations"][METRICS].as_str().unwrap().contains("targetAverageValue"));
        assert_eq!(old["spec"].get("metrics"), None);
        assert_eq!(to_v2(old), stored);
    }
}
