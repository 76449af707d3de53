//! Devices that nodes offer and pods claim: `resource.k8s.io`.

mod allocation;
mod names;
mod policy;
mod selector;
mod slice;

use super::field::{At, Errors, same};
use super::{FieldError, metadata, resources, syntax, volumes};

const MAX_REQUESTS: usize = 32;
const MAX_CONSTRAINTS: usize = 32;
const MAX_CONFIGS: usize = 32;
const MAX_SELECTORS: usize = 32;
const MAX_ALTERNATIVES: usize = 8;
/// The longest parameters of a driver, in bytes.
const MAX_PARAMETERS: usize = 10 * 1024;
const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];

pub(super) fn kind(kind: &str, object: &At, errors: &mut Errors) {
    let spec = object.get("spec");
    match kind {
        "ResourceClaim" => claim(&spec.get("devices"), errors),
        "ResourceClaimTemplate" => {
            metadata::template(&spec.get("metadata"), errors);
            claim(&spec.path(&["spec", "devices"]), errors);
        }
        "DeviceClass" => {
            selectors(&spec.get("selectors"), errors);
            each(&spec.get("config"), MAX_CONFIGS, errors, configuration);
            let name = spec.get("extendedResourceName");
            if name.is_set() && !resources::extended(name.text()) {
                errors.invalid(&name, "must be a valid extended resource name");
            }
        }
        "ResourceSlice" => slice::spec(&spec, errors),
        _ => {}
    }
}

pub(super) fn change(kind: &str, new: &At, old: &At, errors: &mut Errors) {
    let (spec, before) = (new.get("spec"), old.get("spec"));
    match kind {
        "ResourceClaim" | "ResourceClaimTemplate" => errors.immutable(&spec, &before),
        "ResourceSlice" => {
            for path in [&["pool", "name"] as &[&str], &["driver"], &["nodeName"]] {
                errors.immutable(&spec.path(path), &before.path(path));
            }
        }
        _ => {}
    }
}

/// Whether a change of this kind is judged by what changes alone.
pub(super) fn is_frozen(kind: &str) -> bool {
    matches!(kind, "ResourceClaim" | "ResourceClaimTemplate")
}

pub(super) use allocation::status;

/// Checks a list of bounded length; says whether its items were looked at.
fn each(list: &At, most: usize, errors: &mut Errors, check: impl Fn(&At, &mut Errors)) -> bool {
    let items = list.items();
    if items.len() > most {
        errors.push(FieldError::too_many(&list.path, items.len(), most));
        return false;
    }
    items.iter().for_each(|item| check(item, errors));
    true
}

/// As [`each`], for a list in which every key stands once.
fn set(
    list: &At,
    most: usize,
    errors: &mut Errors,
    check: impl Fn(&At, &mut Errors),
    key: impl Fn(&At) -> String,
) {
    if !each(list, most, errors, check) {
        return;
    }
    let mut seen = Vec::new();
    for item in list.items() {
        let key = key(&item);
        if seen.contains(&key) {
            errors.push(FieldError::duplicate(&item.path, key));
        } else {
            seen.push(key);
        }
    }
}

fn name_of(item: &At) -> String {
    item.get("name").text().to_owned()
}

fn text_of(item: &At) -> String {
    item.text().to_owned()
}

fn claim(devices: &At, errors: &mut Errors) {
    set(&devices.get("requests"), MAX_REQUESTS, errors, request, name_of);
    each(&devices.get("constraints"), MAX_CONSTRAINTS, errors, |item, errors| {
        references(&item.get("requests"), devices, errors);
        let (same, other) = (item.get("matchAttribute"), item.get("distinctAttribute"));
        if same.is_set() {
            names::fully_qualified(&same, errors);
        } else if other.is_set() {
            names::fully_qualified(&other, errors);
        } else {
            let why = r#"exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set"#;
            errors.required(item, why);
        }
    });
    each(&devices.get("config"), MAX_CONFIGS, errors, |item, errors| {
        references(&item.get("requests"), devices, errors);
        configuration(item, errors);
    });
}

fn request(request: &At, errors: &mut Errors) {
    label(&request.get("name"), errors);
    let (exactly, alternatives) = (request.get("exactly"), request.get("firstAvailable"));
    match (exactly.is_set(), !alternatives.is_empty()) {
        (false, false) => {
            errors.required(request, "exactly one of `exactly` or `firstAvailable` is required")
        }
        (true, true) => {
            let why = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            let error = FieldError::invalid(&request.path, "", why);
            errors.push(FieldError { bad_value: Some(super::Shown::Null), ..error });
        }
        (true, false) => exact(&exactly, errors),
        (false, true) => set(
            &alternatives,
            MAX_ALTERNATIVES,
            errors,
            |item, errors| {
                label(&item.get("name"), errors);
                exact(item, errors);
            },
            name_of,
        ),
    }
}

fn exact(request: &At, errors: &mut Errors) {
    errors.need_form(&request.get("deviceClassName"), syntax::dns_subdomain);
    selectors(&request.get("selectors"), errors);
    let (mode, count) = (request.get("allocationMode"), request.get("count"));
    let number = count.int().unwrap_or_default();
    match mode.text() {
        "All" if number != 0 => {
            errors.invalid(&count, "must not be specified when allocationMode is 'All'");
        }
        "All" => {}
        "ExactCount" if number <= 0 => errors.invalid_value(&count, number, "must be greater than zero"),
        "ExactCount" => {}
        _ => errors.one_of(&mode, &["All", "ExactCount"]),
    }
    for item in request.get("tolerations").items() {
        toleration(&item, errors);
    }
}

fn toleration(item: &At, errors: &mut Errors) {
    let (operator, value) = (item.get("operator"), item.get("value"));
    errors.form(&item.get("key"), syntax::qualified_name);
    match operator.text() {
        "Exists" if !value.is_empty() => errors.invalid(&value, "must be empty for operator `Exists`"),
        "Exists" => {}
        "Equal" => errors.form(&value, syntax::label_value),
        _ => errors.need_supported(&operator, &["Equal", "Exists"]),
    }
    errors.supported(&item.get("effect"), EFFECTS);
}

fn selectors(list: &At, errors: &mut Errors) {
    each(list, MAX_SELECTORS, errors, |item, errors| {
        let cel = item.get("cel");
        if cel.is_set() {
            selector::check(&cel.get("expression"), errors);
        } else {
            errors.required(&cel, "");
        }
    });
}

/// Names of requests of the claim, or of one of their alternatives: `gpu/large`.
fn references(list: &At, devices: &At, errors: &mut Errors) {
    set(list, MAX_REQUESTS, errors, |item, errors| reference(item, devices, errors), text_of);
}

fn reference(item: &At, devices: &At, errors: &mut Errors) {
    let why = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    let parts: Vec<&str> = item.text().split('/').collect();
    if parts.len() > 2 {
        return errors.invalid(item, why);
    }
    for part in &parts {
        errors.complaints_about(item, part, syntax::dns_label(part));
    }
    let requests = devices.get("requests").items();
    let found = requests.iter().find(|request| request.get("name").text() == parts[0]);
    let has = |request: &At, below: &str| {
        request
            .get("firstAvailable")
            .items()
            .iter()
            .any(|alternative| alternative.get("name").text() == below)
    };
    if !found.is_some_and(|request| parts.get(1).is_none_or(|below| has(request, below))) {
        errors.invalid(item, why);
    }
}

fn configuration(item: &At, errors: &mut Errors) {
    let opaque = item.get("opaque");
    if !opaque.is_set() {
        return errors.required(&opaque, "");
    }
    volumes::csi_driver(&opaque.get("driver"), errors);
    raw(&opaque.get("parameters"), MAX_PARAMETERS, errors);
}

/// An object that only a driver understands.
fn raw(at: &At, longest: usize, errors: &mut Errors) {
    if !at.is_set() {
        errors.required(at, "");
    } else if at.value.to_string().len() > longest {
        errors.push(FieldError::too_long(&at.path, longest));
    } else if !at.value.is_object() {
        errors.invalid_value(at, "<value omitted>", "must be a valid JSON object");
    }
}

/// A name that must be there, and be a DNS label.
fn label(at: &At, errors: &mut Errors) {
    errors.complaints_about(at, at.text(), syntax::dns_label(at.text()));
}

/// Whether what an allocation says has changed.
fn differs(new: &At, old: &At) -> bool {
    !same(new.value, old.value)
}
