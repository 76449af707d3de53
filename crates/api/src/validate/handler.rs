//! What probes and lifecycle hooks do: run a command, ask over HTTP, gRPC or TCP, sleep.

use super::field::{At, Errors};
use super::syntax;

/// A port given by number or by name.
pub(super) fn port(at: &At, errors: &mut Errors) {
    match at.int() {
        Some(number) => errors.complaints(at, syntax::port_number(number)),
        None if at.value.is_string() => errors.complaints(at, syntax::port_name(at.text())),
        None => errors.required(at, ""),
    }
}

fn http_get(get: &At, errors: &mut Errors) {
    errors.need(&get.get("path"));
    port(&get.get("port"), errors);
    errors.need_supported(&get.get("scheme"), &["HTTP", "HTTPS"]);
    for header in get.get("httpHeaders").items() {
        let name = header.get("name");
        errors.complaints_about(&name, name.text(), syntax::http_header(name.text()));
    }
}

/// Exactly one of the kinds of handler.
fn handler(at: &At, kinds: &[&str], errors: &mut Errors) {
    let mut count = 0;
    for kind in kinds {
        let action = at.get(kind);
        if !action.is_set() {
            continue;
        }
        count += 1;
        if count > 1 {
            errors.forbidden(&action, "may not specify more than 1 handler type");
            continue;
        }
        match *kind {
            "exec" => {
                errors.need(&action.get("command"));
            }
            "httpGet" => http_get(&action, errors),
            "tcpSocket" => port(&action.get("port"), errors),
            "grpc" => match action.get("port").int() {
                Some(number) => errors.complaints(&action.get("port"), syntax::port_number(number)),
                None => errors.required(&action.get("port"), ""),
            },
            _ => {}
        }
    }
    if count == 0 {
        errors.required(at, "must specify a handler type");
    }
}

/// One of the three probes of a container, if it is there.
pub(super) fn probe(probe: &At, name: &str, errors: &mut Errors) {
    if !probe.is_set() {
        return;
    }
    handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], errors);
    for number in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        errors.non_negative(&probe.get(number));
    }
    let success = probe.get("successThreshold");
    if name != "readinessProbe" && success.int().is_some_and(|n| n > 1) {
        errors.invalid(&success, "must be 1");
    }
    let own_grace = probe.get("terminationGracePeriodSeconds");
    if !own_grace.is_set() {
        return;
    }
    if name == "readinessProbe" {
        errors.invalid(&own_grace, "must not be set for readinessProbes");
    } else {
        errors.positive(&own_grace);
    }
}

/// `lifecycle` of a container, if it is there.
pub(super) fn lifecycle(lifecycle: &At, grace: Option<i64>, errors: &mut Errors) {
    for name in ["postStart", "preStop"] {
        let hook = lifecycle.get(name);
        if !hook.is_set() {
            continue;
        }
        handler(&hook, &["exec", "httpGet", "tcpSocket", "sleep"], errors);
        let seconds = hook.path(&["sleep", "seconds"]);
        if let (Some(seconds_asked), Some(grace)) = (seconds.int(), grace)
            && !(0..=grace).contains(&seconds_asked)
        {
            errors.invalid(
                &seconds,
                format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})"),
            );
        }
    }
}
