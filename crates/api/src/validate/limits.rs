//! Resource quotas and limit ranges.

use super::field::{At, Errors};
use super::{FieldError, resources, syntax};
use crate::quantity::Quantity;

const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

pub(super) fn quota(spec: &At, errors: &mut Errors) {
    for (key, at) in spec.get("hard").entries() {
        errors.complaints_about(&at, key, syntax::qualified_name(key));
        let Some(found) = resources::non_negative(&at, errors) else { continue };
        let counts = key.starts_with("count/")
            || matches!(
                key,
                "pods"
                    | "services"
                    | "secrets"
                    | "configmaps"
                    | "persistentvolumeclaims"
                    | "resourcequotas"
                    | "replicationcontrollers"
                    | "services.nodeports"
                    | "services.loadbalancers"
            );
        if counts && !found.is_integer() {
            errors.invalid_value(&at, found.to_string(), "must be an integer");
        }
    }
    for scope in spec.get("scopes").items() {
        errors.supported(&scope, SCOPES);
    }
    let both = |a: &str, b: &str| {
        let has = |name: &str| spec.get("scopes").items().iter().any(|scope| scope.text() == name);
        has(a) && has(b)
    };
    if both("BestEffort", "NotBestEffort") || both("Terminating", "NotTerminating") {
        errors.invalid(&spec.get("scopes"), "conflicting scopes");
    }
    for expression in spec.path(&["scopeSelector", "matchExpressions"]).items() {
        errors.need_supported(&expression.get("scopeName"), SCOPES);
        errors.need_supported(&expression.get("operator"), &["DoesNotExist", "Exists", "In", "NotIn"]);
    }
}

pub(super) fn range(spec: &At, errors: &mut Errors) {
    let mut kinds = Vec::new();
    for item in spec.get("limits").items() {
        let kind = item.get("type");
        range_type(&kind, errors);
        if kinds.contains(&kind.text()) {
            errors.push(FieldError::duplicate(&kind.path, kind.value.clone()));
        }
        kinds.push(kind.text());
        for name in ["max", "min"] {
            names(&item.get(name), kind.text(), errors);
        }
        for name in ["default", "defaultRequest"] {
            let list = item.get(name);
            if kind.text() != "Pod" {
                names(&list, kind.text(), errors);
            } else if !list.is_empty() {
                errors.forbidden(&list, "may not be specified when `type` is 'Pod'");
            }
        }
        names(&item.get("maxLimitRequestRatio"), kind.text(), errors);
        if kind.text() == "PersistentVolumeClaim" {
            let storage = |name: &str| item.get(name).value.get("storage").is_some();
            if !storage("min") && !storage("max") {
                let words = "either minimum or maximum storage value is required, but neither was provided";
                errors.required(&item.get("limits"), words);
            }
        }
        let mut keys: Vec<&str> = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"]
            .iter()
            .filter(|name| kind.text() != "Pod" || !name.starts_with("default"))
            .flat_map(|name| item.get(name).entries())
            .map(|(key, _)| key)
            .collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            bounds(&item, key, kind.text() == "Pod", errors);
        }
    }
}

fn range_type(kind: &At, errors: &mut Errors) {
    let found = syntax::qualified_name(kind.text());
    let wrong = !found.is_empty();
    errors.complaints_about(kind, kind.text(), found);
    let standard = ["Pod", "Container", "PersistentVolumeClaim"].contains(&kind.text());
    if !wrong && !kind.text().contains('/') && !standard {
        errors.invalid_value(kind, kind.text(), "must be a standard limit type or fully qualified");
    }
}

/// Names of resources that a limit of this type can be about.
fn names(list: &At, kind: &str, errors: &mut Errors) {
    for (key, at) in list.entries() {
        match kind {
            "Pod" | "Container" => resources::name(key, &at, errors),
            _ => {
                let found = syntax::qualified_name(key);
                let right = found.is_empty();
                errors.complaints_about(&at, key, found);
                if right && !key.contains('/') && !resources::standard_anywhere(key) {
                    errors.invalid_value(&at, key, "must be a standard resource type or fully qualified");
                }
            }
        }
    }
}

/// What must not be above what for one resource, in Kubernetes' order and words.
fn bounds(item: &At, key: &str, pod: bool, errors: &mut Errors) {
    let at = |list: &str| {
        let list = item.get(list);
        At { path: format!("{}[{key}]", list.path), value: &list.value[key] }
    };
    let amount = |list: &str| {
        let hidden = pod && list.starts_with("default");
        Quantity::from_value(at(list).value).ok().filter(|_| !hidden)
    };
    // A default that does not fit is reported where it stands, with the bound that it breaks.
    for (low, high, low_words, high_words, place) in [
        ("min", "max", "min value", "max value", "min"),
        ("min", "defaultRequest", "min value", "default request value", "defaultRequest"),
        ("defaultRequest", "max", "default request value", "max value", "defaultRequest"),
        ("defaultRequest", "default", "default request value", "default limit value", "defaultRequest"),
        ("min", "default", "min value", "default value", "default"),
        ("default", "max", "default value", "max value", "default"),
    ] {
        let (Some(a), Some(b)) = (amount(low), amount(high)) else { continue };
        if a > b {
            let shown = if low == "default" { b } else { a };
            let words = format!("{low_words} {a} is greater than {high_words} {b}");
            errors.invalid_value(&at(place), shown.to_string(), words);
        }
    }
    let Some(ratio) = amount("maxLimitRequestRatio") else { return };
    let ratio_at = at("maxLimitRequestRatio");
    if ratio < Quantity::new(1) {
        errors.invalid_value(&ratio_at, ratio.to_string(), format!("ratio {ratio} is less than 1"));
    }
    if let (Some(least), Some(most)) = (amount("min"), amount("max"))
        && !least.is_zero()
    {
        let limit = most.as_f64() / least.as_f64();
        if ratio.as_f64() > limit {
            let words = format!("ratio {ratio} is greater than max/min = {limit:.6}");
            errors.invalid_value(&ratio_at, ratio.to_string(), words);
        }
    }
}
