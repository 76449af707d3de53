//! Small kinds of several groups: leases, priority classes, runtime classes, certificate requests.

use super::error::Shown;
use super::field::{At, Errors, same};
use super::{FieldError, definition, scheduling, syntax};

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
            // The name that Kubernetes prints.
            let overhead = object.path(&["overhead", "podFixed"]);
            super::resources::list(&overhead.at("overhead.limits".to_owned()), errors);
            let scheduling = object.get("scheduling");
            super::metadata::labels(&scheduling.get("nodeSelector"), errors);
            let tolerations = scheduling.get("tolerations");
            scheduling::tolerations(&tolerations, errors);
            repeated(&tolerations, errors);
        }
        "CertificateSigningRequest" => certificate_request(object, errors),
        "CustomResourceDefinition" => definition::kind(object, errors),
        _ => {}
    }
}

pub(super) fn change(kind: &str, new: &At, old: &At, errors: &mut Errors) {
    match kind {
        "PriorityClass" => {
            if !same(new.get("value").value, old.get("value").value) {
                errors.forbidden(&new.get("value"), "may not be changed in an update.");
            }
            errors.immutable(&new.get("preemptionPolicy"), &old.get("preemptionPolicy"));
        }
        "RuntimeClass" => errors.immutable(&new.get("handler"), &old.get("handler")),
        "CertificateSigningRequest" => errors.immutable(&new.get("spec"), &old.get("spec")),
        "CustomResourceDefinition" => definition::change(new, old, errors),
        _ => {}
    }
}

/// A toleration is there once. Kubernetes prints its own form of it.
fn repeated(list: &At, errors: &mut Errors) {
    let all = list.items();
    for (index, item) in all.iter().enumerate() {
        if all[..index].iter().any(|before| same(before.value, item.value)) {
            let text = |name: &str| crate::status::quote(item.get(name).text());
            let seconds = item.get("tolerationSeconds");
            let shown = format!(
                r#"{{"Key":{},"Operator":{},"Value":{},"Effect":{},"TolerationSeconds":{}}}"#,
                text("key"),
                text("operator"),
                text("value"),
                text("effect"),
                seconds.value
            );
            let error = FieldError::duplicate(&item.path, "");
            errors.push(FieldError { bad_value: Some(Shown::Text(shown)), ..error });
        }
    }
}

fn priority_class(object: &At, errors: &mut Errors) {
    let (name, value) = (object.path(&["metadata", "name"]), object.get("value"));
    if name.text().starts_with("system-") {
        let known = SYSTEM_PRIORITIES.iter().any(|(n, v)| *n == name.text() && value.int() == Some(*v));
        if !known {
            errors.forbidden(
                &name,
                &format!(
                    "priority class names with 'system-' prefix are reserved for system use only. error: {} is not a known system priority class",
                    name.text()
                ),
            );
        }
    } else if value.int().is_some_and(|n| n > HIGHEST_USER_PRIORITY) {
        errors.forbidden(
            &value,
            &format!("maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}"),
        );
    }
    errors.supported(&object.get("preemptionPolicy"), &["PreemptLowerPriority", "Never"]);
}

/// What a certificate may be used for.
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// The request itself: a PEM block, in base64.
fn request(at: &At, errors: &mut Errors) {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(at.text()).unwrap_or_default();
    if !String::from_utf8_lossy(&bytes).contains("-----BEGIN CERTIFICATE REQUEST-----") {
        let shown = if at.is_set() { Shown::Value(at.value.clone()) } else { Shown::Null };
        let error = FieldError::invalid(&at.path, "", "PEM block type must be CERTIFICATE REQUEST");
        errors.push(FieldError { bad_value: Some(shown), ..error });
    }
}

fn certificate_request(object: &At, errors: &mut Errors) {
    let spec = object.get("spec");
    request(&spec.get("request"), errors);
    let usages = spec.get("usages");
    if usages.is_empty() {
        errors.required(&usages, "");
    }
    let mut seen = Vec::new();
    for usage in usages.items() {
        errors.one_of(&usage, USAGES);
        if seen.contains(&usage.text()) {
            errors.duplicate(&usage);
        }
        seen.push(usage.text());
    }
    signer_name(&spec.get("signerName"), errors);
    let seconds = spec.get("expirationSeconds");
    if seconds.int().is_some_and(|n| n < 600) {
        errors.invalid(&seconds, "may not specify a duration less than 600 seconds (10 minutes)");
    }
}

/// `example.com/signer-name`.
pub(super) fn signer_name(signer: &At, errors: &mut Errors) {
    let form = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
    if signer.is_empty() {
        return errors.required(signer, "");
    }
    let (domain, path) = match signer.text().split('/').collect::<Vec<_>>().as_slice() {
        [domain, path] => (*domain, *path),
        _ => return errors.invalid(signer, form),
    };
    if domain.len() > 253 {
        errors.push(FieldError::too_long(&signer.path, 253));
    }
    signer_part(signer, domain, super::syntax::dns_label, errors);
    if !domain.contains('.') {
        let words = "should be a domain with at least two segments separated by dots";
        errors.invalid_value(signer, domain, words);
    }
    signer_part(signer, path, super::syntax::dns_subdomain, errors);
}

/// The first label of a part of a signer's name that is wrong.
fn signer_part(signer: &At, part: &str, check: fn(&str) -> super::syntax::Complaints, errors: &mut Errors) {
    let wrong = part.split('.').map(|label| (label, check(label))).find(|(_, found)| !found.is_empty());
    for (label, words) in
        wrong.into_iter().flat_map(|(label, found)| found.into_iter().map(move |w| (label, w)))
    {
        errors.invalid_value(
            signer,
            part,
            format!("validating label {}: {words}", crate::status::quote(label)),
        );
    }
}
