//! Requests and limits.

use super::field::{At, Errors};
use super::syntax;
use crate::quantity::Quantity;

/// Reads a quantity; complains when it is none.
pub(super) fn quantity(at: &At, errors: &mut Errors) -> Option<Quantity> {
    if !at.is_set() {
        return None;
    }
    match Quantity::from_value(at.value) {
        Ok(quantity) => Some(quantity),
        Err(error) => {
            errors.invalid(at, error.to_string());
            None
        }
    }
}

/// A quantity that must not be negative.
pub(super) fn non_negative(at: &At, errors: &mut Errors) -> Option<Quantity> {
    let found = quantity(at, errors)?;
    if found.is_negative() {
        errors.invalid_value(at, found.to_string(), "must be greater than or equal to 0");
    }
    Some(found)
}

/// Whether a resource is one that containers have in every cluster.
fn standard(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-")
}

/// Whether a resource can be promised twice.
fn overcommitable(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage")
}

fn name(key: &str, at: &At, errors: &mut Errors) {
    errors.complaints_about(at, key, syntax::qualified_name(key));
    if !key.contains('/') && !standard(key) {
        errors.invalid_value(at, key, "must be a standard resource type or fully qualified");
        errors.invalid_value(at, key, "must be a standard resource for containers");
    }
}

/// `resources` of a container.
pub(super) fn container(resources: &At, errors: &mut Errors) {
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    for list in [&limits, &requests] {
        for (key, at) in list.entries() {
            name(key, &at, errors);
            let Some(found) = non_negative(&at, errors) else { continue };
            if !overcommitable(key) && !found.is_integer() {
                errors.invalid_value(&at, found.to_string(), "must be an integer");
            }
        }
    }
    for (key, at) in requests.entries() {
        let Ok(asked) = Quantity::from_value(at.value) else { continue };
        let limit = &limits.value[key];
        match Quantity::from_value(limit) {
            Ok(limit) if !overcommitable(key) && asked != limit => {
                errors.invalid_value(
                    &requests,
                    asked.to_string(),
                    format!("must be equal to {key} limit of {limit}"),
                );
            }
            Ok(limit) if asked > limit => {
                errors.invalid_value(
                    &requests,
                    asked.to_string(),
                    format!("must be less than or equal to {key} limit of {limit}"),
                );
            }
            Err(_) if !overcommitable(key) && limit.is_null() => {
                errors.required(&limits, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
    }
    let huge = |list: &At| list.entries().iter().any(|(key, _)| key.starts_with("hugepages-"));
    let plain = |list: &At| list.entries().iter().any(|(key, _)| matches!(*key, "cpu" | "memory"));
    if (huge(&limits) || huge(&requests)) && !plain(&limits) && !plain(&requests) {
        errors.forbidden(resources, "HugePages require cpu or memory");
    }
    for claim in resources.get("claims").items() {
        errors.need(&claim.get("name"));
    }
}

/// A list of resources of any name, each not negative: capacities, quotas.
pub(super) fn list(list: &At, errors: &mut Errors) {
    for (key, at) in list.entries() {
        errors.complaints_about(&at, key, syntax::qualified_name(key));
        non_negative(&at, errors);
    }
}

/// A number or a percentage, neither negative.
pub(super) fn int_or_percent(at: &At, errors: &mut Errors) {
    if at.value.is_string() {
        errors.complaints(at, syntax::percent(at.text()));
    } else {
        errors.non_negative(at);
    }
}

/// The number in `25%`.
pub(super) fn percentage(at: &At) -> Option<i64> {
    at.text().strip_suffix('%')?.parse().ok()
}

/// Whether it is 0 or `0%`.
pub(super) fn is_zero(at: &At) -> bool {
    at.int() == Some(0) || percentage(at) == Some(0)
}

/// A percentage must not be above 100.
pub(super) fn at_most_hundred(at: &At, errors: &mut Errors) {
    if percentage(at).is_some_and(|n| n > 100) {
        errors.invalid(at, "must not be greater than 100%");
    }
}
