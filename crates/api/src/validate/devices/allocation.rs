//! The status of a claim: which devices it was given, and who uses them.

use super::super::field::{At, Errors};
use super::super::{FieldError, selectors, syntax, volumes};
use super::{
    MAX_CONFIGS, MAX_PARAMETERS, configuration, differs, each, label, names, raw, reference, references, set,
    slice, text_of,
};

const MAX_CONSUMERS: usize = 256;
const MAX_RESULTS: usize = 32;
const MAX_CONDITIONS: usize = 8;
const MAX_ADDRESSES: usize = 16;
const LONGEST_INTERFACE: usize = 256;
const LONGEST_HARDWARE: usize = 128;

pub(in super::super) fn status(new: &At, old: &At, errors: &mut Errors) {
    let (status, before) = (new.get("status"), old.get("status"));
    let (consumers, allocation) = (status.get("reservedFor"), status.get("allocation"));
    set(
        &consumers,
        MAX_CONSUMERS,
        errors,
        |item, errors| {
            for field in ["resource", "name", "uid"] {
                errors.need(&item.get(field));
            }
        },
        |item| item.get("uid").text().to_owned(),
    );
    let given: Vec<String> = allocation.path(&["devices", "results"]).items().iter().map(identity).collect();
    set(&status.get("devices"), usize::MAX, errors, |item, errors| device(item, &given, errors), identity);
    if !consumers.is_empty() && !allocation.is_set() {
        errors.forbidden(&consumers, "may not be specified when `allocated` is not set");
    } else if new.path(&["metadata", "deletionTimestamp"]).is_set() {
        let known = before.get("reservedFor").items();
        if consumers.items().iter().any(|item| !known.iter().any(|k| !differs(item, k))) {
            let why =
                "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            errors.forbidden(&consumers, why);
        }
    }
    if allocation.is_set() && before.get("allocation").is_set() {
        errors.immutable(&allocation, &before.get("allocation"));
    } else if allocation.is_set() {
        result(&allocation, &new.path(&["spec", "devices"]), errors);
    }
}

/// What tells an allocated device apart: driver, pool, device, and the share of it.
fn identity(at: &At) -> String {
    let parts = ["driver", "pool", "device", "shareID"].map(|field| at.get(field).text());
    parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/")
}

fn result(allocation: &At, claim: &At, errors: &mut Errors) {
    let devices = allocation.get("devices");
    each(&devices.get("results"), MAX_RESULTS, errors, |item, errors| {
        reference(&item.get("request"), claim, errors);
        volumes::csi_driver(&item.get("driver"), errors);
        names::pool(&item.get("pool"), errors);
        label(&item.get("device"), errors);
        slice::bindings(item, errors);
    });
    each(&devices.get("config"), 2 * MAX_CONFIGS, errors, |item, errors| {
        errors.need_supported(&item.get("source"), &["FromClaim", "FromClass"]);
        references(&item.get("requests"), claim, errors);
        configuration(item, errors);
    });
    if allocation.get("nodeSelector").is_set() {
        selectors::node_selector(&allocation.get("nodeSelector"), errors);
    }
}

fn device(device: &At, given: &[String], errors: &mut Errors) {
    volumes::csi_driver(&device.get("driver"), errors);
    names::pool(&device.get("pool"), errors);
    label(&device.get("device"), errors);
    let own = identity(device);
    if !given.contains(&own) {
        errors.invalid_value(device, own, "must be an allocated device in the claim");
    }
    let conditions = device.get("conditions");
    let count = conditions.items().len();
    if count > MAX_CONDITIONS {
        errors.push(FieldError::too_many(&conditions.path, count, MAX_CONDITIONS));
    }
    if device.get("data").is_set() {
        raw(&device.get("data"), MAX_PARAMETERS, errors);
    }
    let network = device.get("networkData");
    for (field, longest) in [("interfaceName", LONGEST_INTERFACE), ("hardwareAddress", LONGEST_HARDWARE)] {
        let at = network.get(field);
        if at.text().len() > longest {
            errors.push(FieldError::too_long(&at.path, longest));
        }
    }
    set(
        &network.get("ips"),
        MAX_ADDRESSES,
        errors,
        |item, errors| errors.complaints(item, syntax::cidr(item.text())),
        text_of,
    );
}
