//! Horizontal pod autoscalers, scales, disruption budgets.

use super::field::{At, Errors};
use super::{resources, selectors, syntax};
use crate::gvk::GroupVersionKind;

pub(super) fn kind(gvk: &GroupVersionKind, object: &At, errors: &mut Errors) {
    let spec = object.get("spec");
    match gvk.kind.as_str() {
        "HorizontalPodAutoscaler" => autoscaler(&spec, errors),
        "Scale" => errors.non_negative(&spec.get("replicas")),
        _ => {}
    }
}

fn autoscaler(spec: &At, errors: &mut Errors) {
    let (low, high) = (spec.get("minReplicas"), spec.get("maxReplicas"));
    if low.int().is_some_and(|n| n < 1) {
        errors.invalid(&low, "must be greater than or equal to 1");
    }
    let most = high.int().unwrap_or_default();
    match most {
        0 => errors.required(&high, "must be set and greater than 0"),
        ..0 => errors.invalid_value(&high, most, "must be greater than or equal to 1"),
        _ => {}
    }
    if low.int().is_some_and(|n| most < n) {
        errors.invalid_value(&high, most, "must be greater than or equal to `minReplicas`");
    }
    target_object(&spec.get("scaleTargetRef"), true, errors);
    let metrics = spec.get("metrics");
    for metric in metrics.items() {
        metric_spec(&metric, errors);
    }
    // Something from outside the pods must be able to wake it.
    let outside = |metric: &At| matches!(metric.get("type").text(), "Object" | "External");
    if low.int() == Some(0) && !metrics.items().iter().any(outside) {
        let words = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.forbidden(&metrics, words);
    }
    for direction in ["scaleUp", "scaleDown"] {
        rules(&spec.path(&["behavior", direction]), errors);
    }
}

/// A reference to an object of any kind; what is scaled must also say its group.
fn target_object(target: &At, scaled: bool, errors: &mut Errors) {
    for name in ["kind", "name"] {
        errors.need_form(&target.get(name), syntax::path_segment);
    }
    let version = target.get("apiVersion");
    let core = !version.text().contains('/') && target.get("kind").text() != "ReplicationController";
    if scaled && core {
        errors.invalid_value(&version, version.text(), "apiVersion must specify API group");
    }
}

/// The types of metrics, each with its field, in the order in which Kubernetes looks at them.
const METRICS: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];
const METRIC_TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];

fn metric_spec(metric: &At, errors: &mut Errors) {
    let kind = metric.get("type");
    if kind.is_empty() {
        errors.required(&kind, "must specify a metric source type");
    }
    errors.one_of(&kind, METRIC_TYPES);
    let present: Vec<(&str, At)> = METRICS
        .iter()
        .map(|(name, field)| (*name, metric.get(field)))
        .filter(|(_, source)| source.is_set())
        .collect();
    if let Some((name, source)) = present.first() {
        metric_source(source, name, errors);
    }
    match METRICS.iter().find(|(name, _)| *name == kind.text()) {
        Some((_, field)) if !metric.get(field).is_set() => {
            let words = "must populate information for the given metric source";
            errors.required(&metric.get(field), words);
        }
        Some(_) => {}
        None => errors.one_of(&kind, METRIC_TYPES),
    }
    if present.len() != 1 {
        for (_, source) in present.iter().filter(|(name, _)| *name != kind.text()) {
            errors.forbidden(source, "must populate the given metric source only");
        }
    }
}

fn metric_source(source: &At, kind: &str, errors: &mut Errors) {
    let target = source.get("target");
    let (value, average, utilization) =
        (target.get("value"), target.get("averageValue"), target.get("averageUtilization"));
    if kind == "Object" {
        target_object(&source.get("describedObject"), false, errors);
    }
    if matches!(kind, "Resource" | "ContainerResource") {
        let name = source.get("name");
        if name.is_empty() {
            errors.required(&name, "must specify a resource name");
        }
    } else {
        let name = source.path(&["metric", "name"]);
        if name.is_empty() {
            errors.required(&name, "must specify a metric name");
        } else {
            errors.complaints(&name, syntax::path_segment(name.text()));
        }
    }
    if kind == "ContainerResource" {
        let name = source.get("container");
        if name.is_empty() {
            errors.required(&name, "must specify a container");
        } else {
            errors.complaints(&name, syntax::dns_label(name.text()));
        }
    }
    metric_target(&target, errors);
    match kind {
        "Resource" | "ContainerResource" => match (average.is_set(), utilization.is_set()) {
            (false, false) => {
                errors.required(&utilization, "must set either a target raw value or a target utilization");
            }
            (true, true) => {
                errors.forbidden(&average, "may not set both a target raw value and a target utilization");
            }
            _ => {}
        },
        "Pods" => {
            if !average.is_set() {
                errors.required(&average, "must specify a positive target averageValue");
            }
        }
        _ => {
            if !value.is_set() && !average.is_set() {
                let words = match kind {
                    "Object" => "must set either a target value or averageValue",
                    _ => "must set either a target value for metric or a per-pod target",
                };
                errors.required(&average, words);
            }
            if kind == "External" && value.is_set() && average.is_set() {
                let words = "may not set both a target value for metric and a per-pod target";
                errors.forbidden(&value, words);
            }
        }
    }
}

fn metric_target(target: &At, errors: &mut Errors) {
    let kind = target.get("type");
    if kind.is_empty() {
        errors.required(&kind, "must specify a metric target type");
    }
    if !matches!(kind.text(), "AverageValue" | "Utilization" | "Value") {
        errors.invalid_value(&kind, kind.text(), "must be either Utilization, Value, or AverageValue");
    }
    for name in ["value", "averageValue"] {
        let at = target.get(name);
        if let Some(found) = resources::quantity(&at, errors)
            && found <= crate::quantity::Quantity::ZERO
        {
            errors.invalid(&at, "must be positive");
        }
    }
    let utilization = target.get("averageUtilization");
    if utilization.int().is_some_and(|n| n < 1) {
        errors.invalid(&utilization, "must be greater than 0");
    }
}

fn rules(rules: &At, errors: &mut Errors) {
    if !rules.is_set() {
        return;
    }
    let window = rules.get("stabilizationWindowSeconds");
    if window.int().is_some_and(|n| n < 0) {
        errors.invalid(&window, "must be greater than or equal to zero");
    }
    if window.int().is_some_and(|n| n > 3600) {
        errors.invalid(&window, "must be less than or equal to 3600");
    }
    errors.supported(&rules.get("selectPolicy"), &["Disabled", "Max", "Min"]);
    let policies = rules.get("policies");
    if policies.is_empty() {
        errors.required(&policies, "must specify at least one Policy");
    }
    for policy in policies.items() {
        errors.one_of(&policy.get("type"), &["Percent", "Pods"]);
        let period = policy.get("periodSeconds");
        for number in [&policy.get("value"), &period] {
            if number.int().unwrap_or_default() <= 0 {
                let shown = number.int().unwrap_or_default();
                errors.invalid_value(number, shown, "must be greater than zero");
            }
        }
        if period.int().is_some_and(|n| n > 1800) {
            errors.invalid(&period, "must be less than or equal to 1800");
        }
    }
}

pub(super) fn disruption_budget(kind: &str, object: &At, errors: &mut Errors) {
    if kind != "PodDisruptionBudget" {
        return;
    }
    let spec = object.get("spec");
    let (least, most) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
    if least.is_set() && most.is_set() {
        errors.invalid(&spec, "minAvailable and maxUnavailable cannot be both set");
    }
    for at in [&least, &most] {
        if at.is_set() {
            resources::int_or_percent(at, errors);
            resources::at_most_hundred(at, errors);
        }
    }
    selectors::label_selector(&spec.get("selector"), errors);
    errors.supported(&spec.get("unhealthyPodEvictionPolicy"), &["AlwaysAllow", "IfHealthyBudget"]);
}
