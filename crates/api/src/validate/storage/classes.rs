//! Storage classes, volume attributes classes, and what is known of CSI drivers: in general, and on a node.

use super::super::field::{At, Errors};
use super::super::{FieldError, syntax, volumes};

/// The most parameters of a class, and the most characters of their names and values together.
const MAX_PARAMETERS: usize = 512;
const MAX_PARAMETER_BYTES: usize = 256 * 1024;

pub(super) fn class(object: &At, errors: &mut Errors) {
    driver(&object.get("provisioner"), errors);
    parameters(&object.get("parameters"), errors);
    errors.need_supported(&object.get("reclaimPolicy"), &["Delete", "Retain"]);
    errors.need_supported(&object.get("volumeBindingMode"), &["Immediate", "WaitForFirstConsumer"]);
    topologies(&object.get("allowedTopologies"), errors);
}

pub(super) fn attributes(object: &At, errors: &mut Errors) {
    driver(&object.get("driverName"), errors);
    let all = object.get("parameters");
    parameters(&all, errors);
    if all.is_empty() {
        errors.required(&all, "must contain at least one key/value pair");
    }
}

pub(super) fn attributes_change(new: &At, old: &At, errors: &mut Errors) {
    for field in ["driverName", "parameters"] {
        if new.get(field).value != old.get(field).value {
            errors.forbidden(&new.get(field), &format!("updates to {field} are forbidden."));
        }
    }
}

fn driver(at: &At, errors: &mut Errors) {
    if errors.need(at) {
        let text = at.text().to_lowercase();
        errors.complaints_about(at, at.text(), syntax::qualified_name(&text));
    }
}

fn parameters(parameters: &At, errors: &mut Errors) {
    if parameters.entries().len() > MAX_PARAMETERS {
        errors.push(FieldError::too_long(&parameters.path, MAX_PARAMETERS));
    }
    let mut size = 0;
    for (key, value) in parameters.entries() {
        if key.is_empty() {
            errors.invalid_value(parameters, key, "field can not be empty.");
        }
        size += key.len() + value.text().len();
    }
    if size > MAX_PARAMETER_BYTES {
        errors.push(FieldError::too_long(&parameters.path, MAX_PARAMETER_BYTES));
    }
}

fn topologies(list: &At, errors: &mut Errors) {
    for term in list.items() {
        let expressions = term.get("matchLabelExpressions");
        let mut keys = Vec::new();
        for expression in expressions.items() {
            let (key, values) = (expression.get("key"), expression.get("values"));
            if values.is_empty() {
                errors.required(&values, "");
            }
            let mut seen = Vec::new();
            for value in values.items() {
                if seen.contains(&value.text()) {
                    errors.duplicate(&value);
                }
                seen.push(value.text());
            }
            errors.complaints_about(&key, key.text(), syntax::qualified_name(key.text()));
            if keys.contains(&key.text()) {
                errors.duplicate(&key);
            }
            keys.push(key.text());
        }
    }
}

pub(super) fn csi_node(spec: &At, errors: &mut Errors) {
    let mut names = Vec::new();
    for driver in spec.get("drivers").items() {
        let name = driver.get("name");
        volumes::csi_driver(&name, errors);
        let id = driver.get("nodeID");
        errors.need(&id);
        if id.text().len() > 192 {
            errors.invalid(&id, "must be 192 characters or less");
        }
        errors.non_negative(&driver.path(&["allocatable", "count"]));
        if names.contains(&name.text()) {
            errors.duplicate(&name);
        }
        names.push(name.text());
        let mut keys = Vec::new();
        for key in driver.get("topologyKeys").items() {
            if key.is_empty() {
                errors.required(&driver, "");
            }
            if keys.contains(&key.text()) {
                errors.push(FieldError::duplicate(&driver.path, key.text()));
            }
            keys.push(key.text());
            errors.complaints_about(&driver, key.text(), syntax::qualified_name(key.text()));
        }
    }
}

pub(super) fn csi_driver(spec: &At, errors: &mut Errors) {
    errors.supported(&spec.get("fsGroupPolicy"), &["File", "None", "ReadWriteOnceWithFSType"]);
    let mut audiences = Vec::new();
    for request in spec.get("tokenRequests").items() {
        let (audience, seconds) = (request.get("audience"), request.get("expirationSeconds"));
        if audiences.contains(&audience.text()) {
            errors.push(FieldError::duplicate(&audience.path, audience.text()));
            continue;
        }
        audiences.push(audience.text());
        if seconds.int().is_some_and(|n| n < 600) {
            errors.invalid(&seconds, "may not specify a duration less than 10 minutes");
        }
        if seconds.int().is_some_and(|n| n > 1 << 32) {
            errors.invalid(&seconds, "may not specify a duration larger than 2^32 seconds");
        }
    }
    let modes = spec.get("volumeLifecycleModes");
    for mode in modes.items() {
        errors.one_of(&mode.at(modes.path.clone()), &["Persistent", "Ephemeral"]);
    }
    let period = spec.get("nodeAllocatableUpdatePeriodSeconds");
    if period.int().is_some_and(|n| n < 10) {
        errors.invalid(&period, "must be greater than or equal to 10 seconds");
    }
}
