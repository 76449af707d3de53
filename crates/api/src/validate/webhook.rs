//! Where a webhook is: a URL, or a Service. Shared by what calls webhooks.

use super::field::{At, Errors};
use super::syntax;

/// What every complaint about a URL ends with.
const FORM: &str = "; desired format: https://host[/path]";

/// A `WebhookClientConfig`, whose path may be another than its own.
pub(super) fn client(config: &At, errors: &mut Errors) {
    let (address, place) = (config.get("url"), config.get("service"));
    match (address.is_set(), place.is_set()) {
        (true, false) => url(&address, errors),
        (false, true) => service(&place, errors),
        _ => errors.required(config, "exactly one of url or service is required"),
    }
}

fn url(at: &At, errors: &mut Errors) {
    let text = at.text();
    // As Go takes a URL apart: fragment, query, scheme, user, host.
    let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (text, query) = text.split_once('?').unwrap_or((text, ""));
    let (scheme, rest) = match text.split_once(':') {
        Some((scheme, rest)) if !scheme.contains('/') => (scheme.to_lowercase(), rest),
        _ => (String::new(), text),
    };
    let authority = rest.strip_prefix("//").map_or("", |rest| rest.split('/').next().unwrap_or_default());
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if scheme != "https" {
        errors.invalid_value(at, scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if host.is_empty() {
        errors.invalid_value(at, host, format!("host must be specified{FORM}"));
    }
    if !user.is_empty() {
        errors.invalid_value(at, user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        errors.invalid_value(at, fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        errors.invalid_value(at, query, "query parameters are not permitted in the URL");
    }
}

fn service(at: &At, errors: &mut Errors) {
    // Kubernetes confuses the two: what is wrong with one is told of the other.
    for (field, told) in [("namespace", "name"), ("name", "namespace")] {
        if at.get(field).is_empty() {
            errors.required(&at.get(told), "");
        }
    }
    let port = at.get("port");
    if let Some(number) = port.int() {
        let found = syntax::port_number(number);
        if !found.is_empty() {
            errors.invalid(&port, format!("port is not valid: {}", found.join(", ")));
        }
    }
    path(&at.get("path"), errors);
}

fn path(at: &At, errors: &mut Errors) {
    let text = at.text();
    match text {
        "" | "/" => return,
        "//" => return errors.invalid(at, "segment[0] may not be empty"),
        _ => {}
    }
    if !text.starts_with('/') {
        errors.invalid(at, "must start with a '/'");
    }
    // The first character is taken for the slash even if it is none.
    let rest = text.get(1..).unwrap_or_default();
    for (index, step) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if step.is_empty() {
            errors.invalid(at, format!("segment[{index}] may not be empty"));
            continue;
        }
        for failure in syntax::dns_subdomain(step) {
            errors.invalid(at, format!("segment[{index}]: {failure}"));
        }
    }
}
