//! Aggregated APIs: `APIService`.

use super::field::{At, Errors};
use super::syntax;

pub(super) fn kind(kind: &str, object: &At, errors: &mut Errors) {
    if kind != "APIService" {
        return;
    }
    let spec = object.get("spec");
    let (group, version) = (spec.get("group"), spec.get("version"));
    let (name, wanted) = (object.path(&["metadata", "name"]), format!("{}.{}", version.text(), group.text()));
    if !name.is_empty() && name.text() != wanted && syntax::path_segment(name.text()).is_empty() {
        let quoted = crate::status::quote(&wanted);
        errors.invalid(&name, format!("must be `spec.version+\".\"+spec.group`: {quoted}"));
    }
    if group.is_empty() && version.text() != "v1" {
        errors.required(&group, "only v1 may have an empty group and it better be legacy kube");
    }
    errors.form(&group, syntax::dns_subdomain);
    errors.complaints_about(&version, version.text(), syntax::dns1035_label(version.text()));
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let priority = spec.get(field);
        let number = priority.int().unwrap_or_default();
        if !(1..=most).contains(&number) {
            errors.invalid_value(&priority, number, format!("must be positive and less than {most}"));
        }
    }
    let (service, bundle, skip) =
        (spec.get("service"), spec.get("caBundle"), spec.get("insecureSkipTLSVerify"));
    if !service.is_set() {
        if !bundle.is_empty() {
            let shown = format!("{} bytes", decoded(bundle.text()));
            errors.invalid_value(&bundle, shown, "local APIServices may not have a caBundle");
        }
        if skip.is_true() {
            errors.invalid(&skip, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    errors.need(&service.get("namespace"));
    errors.need(&service.get("name"));
    let port = service.get("port");
    if !port.int().is_some_and(|n| (1..=65_535).contains(&n)) {
        let why = format!("port is not valid: {}", syntax::inclusive_range(1, 65_535));
        errors.invalid_value(&port, port.int().unwrap_or_default(), why);
    }
    if skip.is_true() && !bundle.is_empty() {
        errors.invalid(&skip, "may not be true if caBundle is present");
    }
}

/// Conditions are true, false or unknown.
pub(super) fn status(object: &At, errors: &mut Errors) {
    for condition in object.path(&["status", "conditions"]).items() {
        errors.one_of(&condition.get("status"), &["True", "False", "Unknown"]);
    }
}

fn decoded(base64: &str) -> usize {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(base64).map_or(0, |bytes| bytes.len())
}
