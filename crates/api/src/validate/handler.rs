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
    errors.one_of(&get.get("scheme"), &["HTTP", "HTTPS"]);
    for header in get.get("httpHeaders").items() {
        let name = header.get("name").at(get.get("httpHeaders").path);
        errors.complaints_about(&name, name.text(), syntax::http_header(name.text()));
    }
}

/// Exactly one of the kinds of handler.
fn handler(at: &At, kinds: &[&str], grace: Option<i64>, errors: &mut Errors) {
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
            _ => {
                let seconds = action.get("seconds").int().unwrap_or_default();
                if let Some(grace) = grace
                    && !(0..=grace).contains(&seconds)
                {
                    let words =
                        format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                    errors.invalid_value(&action, seconds, words);
                }
            }
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
    handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], None, errors);
    for number in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        errors.non_negative(&probe.get(number));
    }
    let own_grace = probe.get("terminationGracePeriodSeconds");
    errors.positive(&own_grace);
    if name == "readinessProbe" {
        if own_grace.is_set() {
            errors.invalid(&own_grace, "must not be set for readinessProbes");
        }
        return;
    }
    let success = probe.get("successThreshold");
    if success.int() != Some(1) {
        errors.invalid(&success, "must be 1");
    }
}

/// Signals that stop a container on Windows; Linux has one name more for each of its own.
const WINDOWS_SIGNALS: &[&str] = &["SIGKILL", "SIGTERM"];

/// `lifecycle` of a container, if it is there; `os` is the pod's.
pub(super) fn lifecycle(lifecycle: &At, grace: Option<i64>, os: &str, errors: &mut Errors) {
    for name in ["postStart", "preStop"] {
        let hook = lifecycle.get(name);
        if hook.is_set() {
            handler(&hook, &["exec", "httpGet", "tcpSocket", "sleep"], grace, errors);
        }
    }
    let signal = lifecycle.get("stopSignal");
    match os {
        _ if !signal.is_set() => {}
        "windows" => errors.one_of(&signal, WINDOWS_SIGNALS),
        _ => errors.one_of(&signal, LINUX_SIGNALS),
    }
}

/// Signals that stop a container on Linux, in the order of their names.
const LINUX_SIGNALS: &[&str] = &[
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGRTMAX",
    "SIGRTMAX-1",
    "SIGRTMAX-10",
    "SIGRTMAX-11",
    "SIGRTMAX-12",
    "SIGRTMAX-13",
    "SIGRTMAX-14",
    "SIGRTMAX-2",
    "SIGRTMAX-3",
    "SIGRTMAX-4",
    "SIGRTMAX-5",
    "SIGRTMAX-6",
    "SIGRTMAX-7",
    "SIGRTMAX-8",
    "SIGRTMAX-9",
    "SIGRTMIN",
    "SIGRTMIN+1",
    "SIGRTMIN+10",
    "SIGRTMIN+11",
    "SIGRTMIN+12",
    "SIGRTMIN+13",
    "SIGRTMIN+14",
    "SIGRTMIN+15",
    "SIGRTMIN+2",
    "SIGRTMIN+3",
    "SIGRTMIN+4",
    "SIGRTMIN+5",
    "SIGRTMIN+6",
    "SIGRTMIN+7",
    "SIGRTMIN+8",
    "SIGRTMIN+9",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
];
