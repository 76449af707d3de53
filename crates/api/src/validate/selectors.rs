//! Selectors inside objects: `LabelSelector`, node selectors, and whether a selector fits a template.

use super::error::Shown;
use super::field::{At, Errors};
use super::{FieldError, metadata, syntax};
use crate::selector::LabelSelector;

const NEED_VALUES: &str = "must be specified when `operator` is 'In' or 'NotIn'";
const NO_VALUES: &str = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";

/// A `LabelSelector`, if there is one.
pub(super) fn label_selector(selector: &At, errors: &mut Errors) {
    metadata::labels(&selector.get("matchLabels"), errors);
    for expression in selector.get("matchExpressions").items() {
        let (operator, values) = (expression.get("operator"), expression.get("values"));
        match operator.text() {
            "In" | "NotIn" => {
                if values.is_empty() {
                    errors.required(&values, NEED_VALUES);
                }
            }
            "Exists" | "DoesNotExist" => {
                if !values.is_empty() {
                    errors.forbidden(&values, NO_VALUES);
                }
            }
            _ => errors.invalid_value(&operator, operator.text(), "not a valid selector operator"),
        }
        let key = expression.get("key");
        errors.complaints_about(&key, key.text(), syntax::qualified_name(key.text()));
        for value in values.items() {
            errors.complaints(&value, syntax::label_value(value.text()));
        }
    }
}

/// A selector as Kubernetes prints it: labels first.
pub(super) fn shown(selector: &At) -> Shown {
    let part = |name: &str| {
        let field = selector.get(name);
        (!field.is_empty()).then(|| format!("{}:{}", crate::status::quote(name), field.value))
    };
    let parts: Vec<String> =
        ["matchLabels", "matchExpressions"].iter().filter_map(|name| part(name)).collect();
    Shown::Text(format!("{{{}}}", parts.join(",")))
}

/// The selector of a workload: it must be there, must not be empty, and must select the pods of the template. Says whether it
/// could be read; `words` are for one that cannot be.
pub(super) fn workload(spec: &At, kind: &str, words: &str, errors: &mut Errors) -> bool {
    let selector = spec.get("selector");
    if !selector.is_set() {
        errors.required(&selector, "");
    } else {
        label_selector(&selector, errors);
        if selector.get("matchLabels").is_empty() && selector.get("matchExpressions").is_empty() {
            errors.invalid(&selector, format!("empty selector is invalid for {kind}"));
        }
    }
    let labels = spec.path(&["template", "metadata", "labels"]);
    match LabelSelector::from_value(selector.value) {
        // No selector is one that selects nothing.
        Ok(_) if !selector.is_set() => unfit(&labels, errors),
        Ok(parsed) => fits_template(&parsed, spec, errors),
        Err(_) => {
            let error = FieldError::invalid(&selector.path, "", words);
            errors.push(FieldError { bad_value: Some(shown(&selector)), ..error });
            return false;
        }
    }
    true
}

/// The labels of `spec.template` must be selected.
pub(super) fn fits_template(selector: &LabelSelector, spec: &At, errors: &mut Errors) {
    let labels = spec.path(&["template", "metadata", "labels"]);
    if !selector.is_everything() && !selector.matches(labels.value) {
        unfit(&labels, errors);
    }
}

/// The selector does not select these labels.
pub(super) fn unfit(labels: &At, errors: &mut Errors) {
    let words = "`selector` does not match template `labels`";
    let shown = if labels.is_set() { Shown::Value(labels.value.clone()) } else { Shown::Null };
    errors.push(FieldError { bad_value: Some(shown), ..FieldError::invalid(&labels.path, "", words) });
}

/// One term of a node selector; the values of what is only preferred are not checked.
pub(super) fn node_selector_term(term: &At, checked: bool, errors: &mut Errors) {
    for expression in term.get("matchExpressions").items() {
        let (operator, values) = (expression.get("operator"), expression.get("values"));
        let count = values.items().len();
        match operator.text() {
            "In" | "NotIn" => {
                if count == 0 {
                    errors.required(&values, NEED_VALUES);
                }
            }
            "Exists" | "DoesNotExist" => {
                if count > 0 {
                    errors.forbidden(&values, NO_VALUES);
                }
            }
            "Gt" | "Lt" => {
                if count != 1 {
                    errors
                        .required(&values, "must be specified single value when `operator` is 'Lt' or 'Gt'");
                }
            }
            _ => errors.invalid_value(&operator, operator.text(), "not a valid selector operator"),
        }
        let key = expression.get("key");
        errors.complaints_about(&key, key.text(), syntax::qualified_name(key.text()));
        if checked {
            for value in values.items() {
                errors.complaints(&value, syntax::label_value(value.text()));
            }
        }
    }
    for field in term.get("matchFields").items() {
        let (key, operator, values) = (field.get("key"), field.get("operator"), field.get("values"));
        match operator.text() {
            "In" | "NotIn" if values.items().len() != 1 => {
                errors.required(
                    &values,
                    "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
                );
            }
            "In" | "NotIn" => {}
            _ => errors.invalid_value(&operator, operator.text(), "not a valid selector operator"),
        }
        if key.text() == "metadata.name" {
            for value in values.items() {
                errors.complaints(&value, syntax::dns_subdomain(value.text()));
            }
        } else {
            errors.invalid_value(&key, key.text(), "not a valid field selector key");
        }
    }
}

/// A `NodeSelector`: at least one term.
pub(super) fn node_selector(selector: &At, errors: &mut Errors) {
    let terms = selector.get("nodeSelectorTerms");
    if terms.is_empty() {
        errors.required(&terms, "must have at least one node selector term");
    }
    for term in terms.items() {
        node_selector_term(&term, true, errors);
    }
}
