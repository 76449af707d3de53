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
        errors.need(&kind);
        if kinds.contains(&kind.text()) {
            errors.push(FieldError::duplicate(&kind.path, kind.value.clone()));
        }
        kinds.push(kind.text());
        for name in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
            resources::list(&item.get(name), errors);
            if kind.text() == "Pod" && name.starts_with("default") && !item.get(name).is_empty() {
                errors.forbidden(&item.get(name), "may not be specified when `type` is 'Pod'");
            }
        }
        // What must not be above what, in Kubernetes' words.
        for (low, high, low_words, high_words) in [
            ("min", "max", "min value", "max value"),
            ("min", "defaultRequest", "min value", "default request value"),
            ("defaultRequest", "max", "default request value", "max value"),
            ("defaultRequest", "default", "default request value", "default limit value"),
            ("min", "default", "min value", "default value"),
            ("default", "max", "default value", "max value"),
        ] {
            let (lower, upper) = (item.get(low), item.get(high));
            for (key, at) in lower.entries() {
                let (Ok(a), Ok(b)) =
                    (Quantity::from_value(at.value), Quantity::from_value(&upper.value[key]))
                else {
                    continue;
                };
                if a > b {
                    errors.invalid_value(
                        &at,
                        a.to_string(),
                        format!("{low_words} {a} is greater than {high_words} {b}"),
                    );
                }
            }
        }
        for (key, at) in item.get("maxLimitRequestRatio").entries() {
            if Quantity::from_value(at.value).is_ok_and(|ratio| ratio < Quantity::new(1)) {
                errors.invalid(&at, format!("ratio of {key} is less than 1"));
            }
        }
    }
}
