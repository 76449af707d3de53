//! Horizontal pod autoscalers, scales, disruption budgets.

use super::field::{At, Errors};
use super::{resources, selectors};
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
    if most < 1 {
        errors.invalid_value(&high, most, "must be greater than 0");
    }
    if low.int().is_some_and(|n| most < n) {
        errors.invalid_value(&high, most, "must be greater than or equal to `minReplicas`");
    }
    let target = spec.get("scaleTargetRef");
    errors.need(&target.get("kind"));
    errors.need(&target.get("name"));
    for metric in spec.get("metrics").items() {
        metric_spec(&metric, errors);
    }
    for direction in ["scaleUp", "scaleDown"] {
        rules(&spec.path(&["behavior", direction]), errors);
    }
}

fn metric_spec(metric: &At, errors: &mut Errors) {
    let kind = metric.get("type");
    let fields = [
        ("ContainerResource", "containerResource"),
        ("External", "external"),
        ("Object", "object"),
        ("Pods", "pods"),
        ("Resource", "resource"),
    ];
    if kind.is_empty() {
        errors.required(&kind, "must specify a metric source type");
        return;
    }
    errors.supported(&kind, &fields.map(|(kind, _)| kind));
    for (name, field) in fields {
        let source = metric.get(field);
        if name == kind.text() {
            if source.is_set() {
                metric_target(&source, name, errors);
            } else {
                errors.required(&source, "must populate information for the given metric source");
            }
        } else if source.is_set() && fields.iter().any(|(known, _)| *known == kind.text()) {
            errors.forbidden(&source, "must populate the given metric source only");
        }
    }
}

fn metric_target(source: &At, kind: &str, errors: &mut Errors) {
    match kind {
        "Resource" | "ContainerResource" => {
            errors.need(&source.get("name"));
        }
        _ => {
            errors.need(&source.path(&["metric", "name"]));
        }
    }
    if kind == "ContainerResource" {
        errors.need(&source.get("container"));
    }
    let target = source.get("target");
    if !target.is_set() {
        errors.required(&target, "");
        return;
    }
    errors.need_supported(&target.get("type"), &["AverageValue", "Utilization", "Value"]);
    if target.get("averageUtilization").int().is_some_and(|n| n < 1) {
        errors.invalid(&target.get("averageUtilization"), "must be greater than 0");
    }
    for name in ["value", "averageValue"] {
        let at = target.get(name);
        if let Some(found) = resources::quantity(&at, errors)
            && found <= crate::quantity::Quantity::ZERO
        {
            errors.invalid(&at, "must be positive");
        }
    }
}

fn rules(rules: &At, errors: &mut Errors) {
    if !rules.is_set() {
        return;
    }
    let window = rules.get("stabilizationWindowSeconds");
    errors.non_negative(&window);
    if window.int().is_some_and(|n| n > 3600) {
        errors.invalid(&window, "must be less than or equal to 3600");
    }
    errors.supported(&rules.get("selectPolicy"), &["Disabled", "Max", "Min"]);
    let policies = rules.get("policies");
    if policies.is_empty() {
        errors.required(&policies, "must specify at least one Policy");
    }
    for policy in policies.items() {
        errors.need_supported(&policy.get("type"), &["Percent", "Pods"]);
        errors.positive(&policy.get("value"));
        let period = policy.get("periodSeconds");
        errors.positive(&period);
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
    errors.supported(&spec.get("unhealthyPodEvictionPolicy"), &["AlwaysAllow", "IfHealthyBudget"]);
    selectors::label_selector(&spec.get("selector"), errors);
}
