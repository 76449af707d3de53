//! Small kinds of several groups: leases, priority classes, runtime classes, certificate requests.

use super::field::{At, Errors, same};
use super::{definition, scheduling, syntax};

/// Above this are the system's own classes.
const HIGHEST_USER_PRIORITY: i64 = 1_000_000_000;
const SYSTEM_PRIORITIES: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

pub(super) fn kind(kind: &str, object: &At, errors: &mut Errors) {
    let spec = object.get("spec");
    match kind {
        "Lease" => {
            errors.positive(&spec.get("leaseDurationSeconds"));
            errors.non_negative(&spec.get("leaseTransitions"));
            let holder = spec.get("holderIdentity");
            if holder.is_set() && holder.text().is_empty() && spec.get("preferredHolder").is_set() {
                errors.required(&holder, "must not be empty");
            }
        }
        "PriorityClass" => priority_class(object, errors),
        "RuntimeClass" => {
            errors.need_form(&object.get("handler"), syntax::dns_label);
            let scheduling = object.get("scheduling");
            super::metadata::labels(&scheduling.get("nodeSelector"), errors);
            scheduling::tolerations(&scheduling.get("tolerations"), errors);
            super::resources::list(&object.path(&["overhead", "podFixed"]), errors);
        }
        "CertificateSigningRequest" => certificate_request(object, errors),
        "CustomResourceDefinition" => definition::kind(object, errors),
        _ => {}
    }
}

pub(super) fn change(kind: &str, new: &At, old: &At, errors: &mut Errors) {
    match kind {
        "PriorityClass" => {
            for name in ["value", "preemptionPolicy"] {
                if !same(new.get(name).value, old.get(name).value) {
                    errors.forbidden(&new.get(name), "may not be changed in an update.");
                }
            }
        }
        "RuntimeClass" => errors.immutable(&new.get("handler"), &old.get("handler")),
        "CertificateSigningRequest" => errors.immutable(&new.get("spec"), &old.get("spec")),
        "CustomResourceDefinition" => definition::change(new, old, errors),
        _ => {}
    }
}

fn priority_class(object: &At, errors: &mut Errors) {
    let (name, value) = (object.path(&["metadata", "name"]), object.get("value"));
    if name.text().starts_with("system-") {
        let known = SYSTEM_PRIORITIES.iter().any(|(n, v)| *n == name.text() && value.int() == Some(*v));
        if !known {
            errors.forbidden(
                &name,
                "priority class names with 'system-' prefix are reserved for system use only",
            );
        }
    } else if value.int().is_some_and(|n| n > HIGHEST_USER_PRIORITY) {
        errors.forbidden(
            &value,
            &format!("maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}"),
        );
    }
    errors.supported(&object.get("preemptionPolicy"), &["Never", "PreemptLowerPriority"]);
}

fn certificate_request(object: &At, errors: &mut Errors) {
    let spec = object.get("spec");
    errors.need(&spec.get("request"));
    let usages = spec.get("usages");
    if usages.is_empty() {
        errors.required(&usages, "");
    }
    let mut seen = Vec::new();
    for usage in usages.items() {
        if seen.contains(&usage.text()) {
            errors.duplicate(&usage);
        }
        seen.push(usage.text());
    }
    let signer = spec.get("signerName");
    if errors.need(&signer) && signer.text().split('/').count() != 2 {
        errors.invalid(
            &signer,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        );
    }
    let seconds = spec.get("expirationSeconds");
    if seconds.int().is_some_and(|n| n < 600) {
        errors.invalid(&seconds, "may not specify a duration less than 600 seconds (10 minutes)");
    }
}
