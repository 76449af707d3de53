//! Requests and limits.

use super::field::{At, Errors};
use super::{FieldError, syntax};
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

/// The name of a resource; says whether it has the right form.
fn qualified(key: &str, at: &At, errors: &mut Errors) -> bool {
    let found = syntax::qualified_name(key);
    let right = found.is_empty();
    errors.complaints_about(at, key, found);
    right
}

/// The name of a resource of a container.
pub(super) fn name(key: &str, at: &At, errors: &mut Errors) {
    let right = qualified(key, at, errors);
    if !key.contains('/') {
        if right && !standard_anywhere(key) {
            errors.invalid_value(at, key, "must be a standard resource type or fully qualified");
        }
        if !standard(key) {
            errors.invalid_value(at, key, "must be a standard resource for containers");
        }
    } else if !native(key) && !extended(key) {
        errors.invalid_value(at, key, "doesn't follow extended resource name standard");
    }
}

/// Whether a name is a standard resource of anything: containers, quotas, claims.
pub(super) fn standard_anywhere(name: &str) -> bool {
    const OTHERS: &[&str] = &[
        "requests.cpu",
        "requests.memory",
        "requests.ephemeral-storage",
        "limits.cpu",
        "limits.memory",
        "limits.ephemeral-storage",
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "storage",
        "requests.storage",
        "services.nodeports",
        "services.loadbalancers",
    ];
    standard(name) || OTHERS.contains(&name) || name.starts_with("requests.hugepages-")
}

fn native(name: &str) -> bool {
    !name.contains('/') || name.split('/').next().is_some_and(|prefix| prefix.ends_with("kubernetes.io"))
}

pub(super) fn extended(name: &str) -> bool {
    !native(name)
        && !name.starts_with("requests.")
        && syntax::qualified_name(&format!("requests.{name}")).is_empty()
}

/// The page size in `hugepages-2Mi` divides the amount.
fn huge_pages(key: &str, found: &Quantity, at: &At, errors: &mut Errors) {
    let Some(size) = key.strip_prefix("hugepages-").and_then(|text| text.parse::<Quantity>().ok()) else {
        return;
    };
    let (size, bytes) = (size.value(), found.value());
    if size <= 0 || bytes % size != 0 {
        let words = format!("{found} is not positive integer multiple of {key}");
        errors.invalid_value(at, found.to_string(), words);
    }
}

/// `resources` of a container; `claims` are the pod's.
pub(super) fn container(resources: &At, claims: &[&str], errors: &mut Errors) {
    requirements(resources, name, claims, errors);
}

/// `resources` of a pod as a whole.
pub(super) fn pod(spec: &At, claims: &[&str], errors: &mut Errors) {
    let resources = spec.get("resources");
    if !resources.is_set() {
        return;
    }
    if spec.path(&["os", "name"]).text() == "windows" {
        return errors.forbidden(&resources, "may not be set for a windows pod");
    }
    if resources.get("claims").is_set() {
        errors.forbidden(&resources.get("claims"), "claims may not be set for Resources at pod-level");
    }
    let allowed = |key: &str, at: &At, errors: &mut Errors| {
        if !qualified(key, at, errors) {
            return;
        }
        if !key.contains('/') && !standard_anywhere(key) {
            errors.invalid_value(at, key, "must be a standard resource type or fully qualified");
        } else if !matches!(key, "cpu" | "memory") && !key.starts_with("hugepages-") {
            errors.push(FieldError::not_supported(&at.path, key, &["cpu", "hugepages-", "memory"]));
        }
    };
    requirements(&resources, allowed, claims, errors);
    consistent(spec, &resources, errors);
}

/// What containers ask for must fit into what the pod has as a whole.
fn consistent(spec: &At, resources: &At, errors: &mut Errors) {
    let mut alone = spec.value.clone();
    if let Some(spec) = alone.as_object_mut() {
        spec.retain(|key, _| matches!(key.as_str(), "containers" | "initContainers"));
    }
    for (key, at) in resources.get("requests").entries() {
        let Ok(own) = Quantity::from_value(at.value) else { continue };
        if let Some(asked) = crate::defaults::pod_requests(&alone, key)
            && asked > own
        {
            let words = format!("must be greater than or equal to aggregate container requests of {asked}");
            errors.invalid_value(&at, own.to_string(), words);
        }
    }
    let limits = resources.get("limits");
    for (index, container) in spec.get("containers").items().iter().enumerate() {
        for (key, at) in container.path(&["resources", "limits"]).entries() {
            let (Ok(limit), Ok(whole)) =
                (Quantity::from_value(at.value), Quantity::from_value(&limits.value[key]))
            else {
                continue;
            };
            if limit > whole {
                let at = at.at(format!("{}.containers[{index}][{key}].limits", resources.path));
                let words = format!("must be less than or equal to pod limits of {whole}");
                errors.invalid_value(&at, limit.to_string(), words);
            }
        }
    }
}

fn requirements(
    resources: &At,
    check: impl Fn(&str, &At, &mut Errors),
    claims: &[&str],
    errors: &mut Errors,
) {
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    for (key, at) in limits.entries() {
        check(key, &at, errors);
        if let Some(found) = amount(key, &at, errors) {
            huge_pages(key, &found, &at, errors);
        }
    }
    for (key, at) in requests.entries() {
        check(key, &at, errors);
        let Some(asked) = amount(key, &at, errors) else { continue };
        match Quantity::from_value(&limits.value[key]) {
            Ok(limit) if !overcommitable(key) && asked != limit => {
                let words = format!("must be equal to {key} limit of {limit}");
                errors.invalid_value(&requests, asked.to_string(), words);
            }
            Ok(limit) if asked > limit => {
                let words = format!("must be less than or equal to {key} limit of {limit}");
                errors.invalid_value(&requests, asked.to_string(), words);
            }
            Err(_) if !overcommitable(key) => {
                errors.required(&limits, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
        huge_pages(key, &asked, &at, errors);
    }
    let huge = |list: &At| list.entries().iter().any(|(key, _)| key.starts_with("hugepages-"));
    let plain = |list: &At| list.entries().iter().any(|(key, _)| matches!(*key, "cpu" | "memory"));
    if (huge(&limits) || huge(&requests)) && !plain(&limits) && !plain(&requests) {
        errors.forbidden(resources, "HugePages require cpu or memory");
    }
    claim_names(&resources.get("claims"), claims, errors);
}

/// An amount of a resource: not negative, and whole where a part of it is nothing.
fn amount(key: &str, at: &At, errors: &mut Errors) -> Option<Quantity> {
    let found = non_negative(at, errors)?;
    if !overcommitable(key) && !key.starts_with("hugepages-") && !found.is_integer() {
        errors.invalid_value(at, found.to_string(), "must be an integer");
    }
    Some(found)
}

fn claim_names(list: &At, known: &[&str], errors: &mut Errors) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for claim in list.items() {
        let (name, request) = (claim.get("name").text(), claim.get("request"));
        if name.is_empty() {
            errors.required(&claim, "");
            continue;
        }
        if seen.contains(&(name, "")) {
            errors.push(FieldError::duplicate(&claim.path, name));
        } else {
            errors.form(&request, syntax::dns_label);
            let key = if request.is_empty() { name.to_owned() } else { format!("{name}/{}", request.text()) };
            if seen.contains(&(name, request.text())) {
                errors.push(FieldError::duplicate(&claim.path, key));
            } else if request.is_empty() && seen.iter().any(|(seen, _)| *seen == name) {
                errors.push(FieldError::duplicate(&claim.path, name));
            }
            seen.push((name, request.text()));
        }
        if !known.contains(&name) {
            let mut error = FieldError::not_found(&claim.path, name);
            error.detail = "must be one of the names in pod.spec.resourceClaims".into();
            if known.is_empty() {
                error.detail.push_str(" which is empty");
            } else {
                error.detail.push_str(&format!(": {}", known.join(", ")));
            }
            errors.push(error);
        }
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
