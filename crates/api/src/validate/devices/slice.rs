//! The devices that a driver offers.

use super::super::field::{At, Errors};
use super::super::{FieldError, selectors, syntax, volumes};
use super::{EFFECTS, each, label, name_of, names, policy, set};

const MAX_DEVICES: usize = 128;
/// Of devices with taints or counters.
const MAX_RICH_DEVICES: usize = 64;
const MAX_COUNTER_SETS: usize = 8;
const MAX_COUNTERS: usize = 32;
const MAX_CONSUMPTIONS: usize = 2;
const MAX_ATTRIBUTES: usize = 32;
const MAX_TAINTS: usize = 16;
const MAX_CONDITIONS: usize = 4;
const LONGEST_VALUE: usize = 64;

pub(super) fn spec(spec: &At, errors: &mut Errors) {
    volumes::csi_driver(&spec.get("driver"), errors);
    let pool = spec.get("pool");
    names::pool(&pool.get("name"), errors);
    let (count, generation) = (pool.get("resourceSliceCount"), pool.get("generation"));
    let slices = count.int().unwrap_or_default();
    if slices <= 0 {
        errors.invalid_value(&count, slices, "must be greater than zero");
    }
    if generation.int().is_some_and(|n| n < 0) {
        errors.invalid(&generation, "must be greater than or equal to zero");
    }
    let mut places = Vec::new();
    place(spec, "must be either unset or set to a non-empty string", true, &mut places, errors);
    flag(&spec.get("perDeviceNodeSelection"), &mut places, errors);
    let why = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match places.len() {
        0 => errors.required(spec, why),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", places.join(", "));
            errors.invalid_value(spec, shown, format!("{why}, but multiple fields are set"));
        }
    }
    let (devices, counters) = (spec.get("devices"), spec.get("sharedCounters"));
    if devices.is_set() && counters.is_set() {
        errors.invalid_value(spec, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    let rich = |device: &At| !device.get("taints").is_empty() || !device.get("consumesCounters").is_empty();
    let most = if devices.items().iter().any(rich) { MAX_RICH_DEVICES } else { MAX_DEVICES };
    let apart = spec.get("perDeviceNodeSelection").is_true();
    set(&devices, most, errors, |item, errors| device(item, apart, errors), name_of);
    set(
        &counters,
        MAX_COUNTER_SETS,
        errors,
        |item, errors| {
            errors.need_form(&item.get("name"), syntax::dns_label);
            counted(&item.get("counters"), errors);
        },
        name_of,
    );
}

/// Where the devices are: on a node, on some, on all. Notes which way it is said.
fn place(at: &At, empty: &str, one_term: bool, places: &mut Vec<&str>, errors: &mut Errors) {
    let (node, selector) = (at.get("nodeName"), at.get("nodeSelector"));
    if node.is_set() && node.is_empty() {
        errors.invalid(&node, empty);
    } else if node.is_set() {
        places.push("`nodeName`");
        errors.form(&node, syntax::dns_subdomain);
    }
    if selector.is_set() {
        places.push("`nodeSelector`");
        selectors::node_selector(&selector, errors);
        let terms = selector.get("nodeSelectorTerms");
        if one_term && terms.items().len() != 1 {
            errors.invalid(&terms, "must have exactly one node selector term");
        }
    }
    let all = at.get("allNodes");
    if all.is_true() {
        places.push("`allNodes`");
    } else if all.is_set() {
        errors.invalid(&all, "must be either unset or set to true");
    }
}

fn flag(at: &At, places: &mut Vec<&str>, errors: &mut Errors) {
    if at.is_true() {
        places.push("`perDeviceNodeSelection`");
    } else if at.is_set() {
        errors.invalid(at, "must be either unset or set to true");
    }
}

fn counted(counters: &At, errors: &mut Errors) {
    let entries = counters.entries();
    if entries.is_empty() {
        return errors.required(counters, "");
    }
    if entries.len() > MAX_COUNTERS {
        return errors.push(FieldError::too_many(&counters.path, entries.len(), MAX_COUNTERS));
    }
    for (key, _) in entries {
        errors.complaints_about(counters, key, syntax::dns_label(key));
    }
}

fn device(device: &At, apart: bool, errors: &mut Errors) {
    label(&device.get("name"), errors);
    let (attributes, capacity) = (device.get("attributes"), device.get("capacity"));
    let count = attributes.entries().len() + capacity.entries().len();
    if count > MAX_ATTRIBUTES {
        let why = format!("the total number of attributes and capacities must not exceed {MAX_ATTRIBUTES}");
        errors.invalid_value(device, count, why);
    }
    for (key, value) in attributes.entries() {
        names::qualified(&attributes, key, errors);
        attribute(&value, errors);
    }
    let shared = device.get("allowMultipleAllocations").is_true();
    for (key, value) in capacity.entries() {
        names::qualified(&capacity, key, errors);
        policy::capacity(&value, shared, errors);
    }
    each(&device.get("taints"), MAX_TAINTS, errors, taint);
    let consumed = device.get("consumesCounters");
    set(
        &consumed,
        MAX_CONSUMPTIONS,
        errors,
        |item, errors| {
            errors.need_form(&item.get("counterSet"), syntax::dns_label);
            counted(&item.get("counters"), errors);
        },
        |item| item.get("counterSet").text().to_owned(),
    );
    own_place(device, apart, errors);
    bindings(device, errors);
}

fn own_place(device: &At, apart: bool, errors: &mut Errors) {
    let why = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    if apart {
        let mut places = Vec::new();
        place(device, "must not be empty", false, &mut places, errors);
        match places.len() {
            0 => errors.required(device, why),
            1 => {}
            _ => errors.invalid_value(device, format!("{{{}}}", places.join(", ")), why),
        }
    } else if ["nodeName", "nodeSelector", "allNodes"].iter().any(|field| device.get(field).is_set()) {
        let why = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        let error = FieldError::invalid(&device.path, "", why);
        errors.push(FieldError { bad_value: Some(super::super::Shown::Null), ..error });
    }
}

fn attribute(at: &At, errors: &mut Errors) {
    let (text, version) = (at.get("string"), at.get("version"));
    if text.text().len() > LONGEST_VALUE {
        errors.push(FieldError::too_long(&text.path, LONGEST_VALUE));
    }
    if version.is_set() {
        if !is_version(version.text()) {
            errors.invalid(&version, "must be a string compatible with semver.org spec 2.0.0");
        }
        if version.text().len() > LONGEST_VALUE {
            errors.push(FieldError::too_long(&version.path, LONGEST_VALUE));
        }
    }
    match ["bool", "int", "string", "version"].iter().filter(|field| at.get(field).is_set()).count() {
        0 => errors.invalid_value(at, "", "exactly one value must be specified"),
        1 => {}
        _ => errors.invalid(at, "exactly one value must be specified"),
    }
}

/// `1.2.3-rc.1+build`.
fn is_version(text: &str) -> bool {
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let word = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let number = |t: &str| digits(t) && (t == "0" || !t.starts_with('0'));
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|p| p.split('.').all(|t| word(t) && (!digits(t) || number(t))))
        && build.is_none_or(|b| b.split('.').all(word))
}

fn taint(taint: &At, errors: &mut Errors) {
    let key = taint.get("key");
    errors.complaints_about(&key, key.text(), syntax::qualified_name(key.text()));
    errors.form(&taint.get("value"), syntax::label_value);
    errors.need_supported(&taint.get("effect"), EFFECTS);
}

/// What has to come true, or must not, before a pod is bound to the device.
pub(super) fn bindings(at: &At, errors: &mut Errors) {
    let (wanted, failed) = (at.get("bindingConditions"), at.get("bindingFailureConditions"));
    let form = |item: &At, errors: &mut Errors| {
        errors.complaints_about(item, item.text(), syntax::qualified_name(item.text()));
    };
    each(&wanted, MAX_CONDITIONS, errors, form);
    each(&failed, MAX_CONDITIONS, errors, form);
    for list in [&wanted, &failed] {
        let items = list.items();
        for (index, item) in items.iter().enumerate() {
            if items[..index].iter().any(|before| before.text() == item.text()) {
                errors.duplicate(item);
            }
            if list.path == failed.path && wanted.items().iter().any(|other| other.text() == item.text()) {
                errors.invalid(item, "bindingFailureConditions must not overlap with bindingConditions");
            }
        }
    }
    for (there, missing, names) in [
        (&failed, &wanted, ("bindingConditions", "bindingFailureConditions")),
        (&wanted, &failed, ("bindingFailureConditions", "bindingConditions")),
    ] {
        if missing.is_empty() && !there.is_empty() {
            let error = FieldError::invalid(
                &missing.path,
                "",
                format!("{} are required to use {}", names.0, names.1),
            );
            errors.push(FieldError { bad_value: Some(super::super::Shown::Null), ..error });
        }
    }
}
