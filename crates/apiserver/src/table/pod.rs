//! Pods. STATUS is what a person wants to know first, computed from phase, reasons and container states.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{AGE, NAME, Printer, age, name, or, s, wide};
use crate::object::{at, int, list, text};
use crate::time;

pub const POD: Printer = Printer {
    columns: &[
        NAME,
        s("Ready"),
        s("Status"),
        s("Restarts"),
        AGE,
        wide("IP"),
        wide("Node"),
        wide("Nominated Node"),
        wide("Readiness Gates"),
    ],
    cells,
};

fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let state = state(pod);
    let restarts = match state.last_restart {
        Some(at) if state.restarts > 0 => {
            format!("{} ({} ago)", state.restarts, time::human(time::between(at, now)))
        }
        _ => state.restarts.to_string(),
    };
    let ip = list(pod, &["status", "podIPs"]).first().map_or("", |i| text(i, &["ip"]));
    let gates = list(pod, &["spec", "readinessGates"]);
    let gates = if gates.is_empty() {
        "<none>".to_owned()
    } else {
        let met =
            gates.iter().filter(|g| condition(pod, text(g, &["conditionType"])) == Some("True")).count();
        format!("{met}/{}", gates.len())
    };
    vec![
        name(pod),
        json!(format!("{}/{}", state.ready, state.total)),
        json!(state.reason),
        json!(restarts),
        age(pod, now),
        json!(or(or(text(pod, &["status", "podIP"]), ip), "<none>")),
        json!(or(text(pod, &["spec", "nodeName"]), "<none>")),
        json!(or(text(pod, &["status", "nominatedNodeName"]), "<none>")),
        json!(gates),
    ]
}

struct State {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a str> {
    list(pod, &["status", "conditions"])
        .iter()
        .find(|c| text(c, &["type"]) == kind)
        .map(|c| text(c, &["status"]))
}

/// An init container that runs beside the others.
fn is_sidecar(pod: &Value, name: &str) -> bool {
    list(pod, &["spec", "initContainers"])
        .iter()
        .any(|c| text(c, &["name"]) == name && text(c, &["restartPolicy"]) == "Always")
}

fn terminated(state: &Value, prefix: &str) -> String {
    let ended = &state["terminated"];
    match (text(ended, &["reason"]), int(ended, &["signal"])) {
        ("", 0) => format!("{prefix}ExitCode:{}", int(ended, &["exitCode"])),
        ("", signal) => format!("{prefix}Signal:{signal}"),
        (reason, _) => format!("{prefix}{reason}"),
    }
}

fn state(pod: &Value) -> State {
    let sidecars = list(pod, &["spec", "initContainers"])
        .iter()
        .filter(|c| text(c, &["restartPolicy"]) == "Always")
        .count();
    let mut out = State {
        reason: or(text(pod, &["status", "reason"]), or(text(pod, &["status", "phase"]), "Unknown"))
            .to_owned(),
        ready: 0,
        total: list(pod, &["spec", "containers"]).len() + sidecars,
        restarts: 0,
        last_restart: None,
    };
    if text(pod, &["status", "reason"]).is_empty() {
        let gated = list(pod, &["status", "conditions"])
            .iter()
            .any(|c| text(c, &["type"]) == "PodScheduled" && text(c, &["reason"]) == "SchedulingGated");
        if gated {
            out.reason = "SchedulingGated".to_owned();
        }
    }
    let ended_at = |status: &Value| time::parse(text(status, &["lastState", "terminated", "finishedAt"]));
    let mut initializing = false;
    let (mut init_restarts, mut sidecar_restarts) = (0, 0);
    let (mut init_last, mut sidecar_last) = (None, None);
    let init_total = list(pod, &["spec", "initContainers"]).len();
    for (i, status) in list(pod, &["status", "initContainerStatuses"]).iter().enumerate() {
        init_restarts += int(status, &["restartCount"]);
        init_last = init_last.max(ended_at(status));
        let sidecar = is_sidecar(pod, text(status, &["name"]));
        if sidecar {
            sidecar_restarts += int(status, &["restartCount"]);
            sidecar_last = sidecar_last.max(ended_at(status));
        }
        let state = &status["state"];
        if state.get("terminated").is_some() && int(state, &["terminated", "exitCode"]) == 0 {
            continue;
        }
        if sidecar && status["started"] == json!(true) {
            if status["ready"] == json!(true) {
                out.ready += 1;
            }
            continue;
        }
        out.reason = if state.get("terminated").is_some() {
            terminated(state, "Init:")
        } else {
            match text(state, &["waiting", "reason"]) {
                "" | "PodInitializing" => format!("Init:{i}/{init_total}"),
                reason => format!("Init:{reason}"),
            }
        };
        initializing = true;
        break;
    }
    if initializing && condition(pod, "Initialized") != Some("True") {
        out.restarts = init_restarts;
        out.last_restart = init_last;
    } else {
        out.restarts = sidecar_restarts;
        out.last_restart = sidecar_last;
        let mut running = false;
        for status in list(pod, &["status", "containerStatuses"]).iter().rev() {
            out.restarts += int(status, &["restartCount"]);
            out.last_restart = out.last_restart.max(ended_at(status));
            let state = &status["state"];
            if !text(state, &["waiting", "reason"]).is_empty() {
                out.reason = text(state, &["waiting", "reason"]).to_owned();
            } else if state.get("terminated").is_some() {
                out.reason = terminated(state, "");
            } else if status["ready"] == json!(true) && state.get("running").is_some() {
                running = true;
                out.ready += 1;
            }
        }
        if out.reason == "Completed" && running {
            out.reason =
                if condition(pod, "Ready") == Some("True") { "Running" } else { "NotReady" }.to_owned();
        }
    }
    if at(pod, &["metadata", "deletionTimestamp"]).is_some_and(|t| !t.is_null()) {
        if text(pod, &["status", "reason"]) == "NodeLost" {
            out.reason = "Unknown".to_owned();
        } else if !matches!(text(pod, &["status", "phase"]), "Succeeded" | "Failed") {
            out.reason = "Terminating".to_owned();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: Value, ready: &str, reason: &str, restarts: &str) {
        let pod = json!({
            "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": [{"name": "c"}]},
            "status": status,
        });
        let row = cells(&pod, "2026-01-01T00:10:00Z".parse().unwrap());
        assert_eq!(
            (row[1].as_str(), row[2].as_str(), row[3].as_str()),
            (Some(ready), Some(reason), Some(restarts))
        );
    }

    #[test]
    fn status_is_what_a_person_wants_to_know() {
        check(json!({"phase": "Pending"}), "0/1", "Pending", "0");
        check(
            json!({"phase": "Running", "containerStatuses": [{"name": "c", "ready": true, "restartCount": 1,
                "state": {"running": {}}, "lastState": {"terminated": {"finishedAt": "2026-01-01T00:05:00Z"}}}]}),
            "1/1",
            "Running",
            "1 (5m ago)",
        );
        check(
            json!({"phase": "Running", "containerStatuses": [{"name": "c", "restartCount": 0,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
            "0/1",
            "CrashLoopBackOff",
            "0",
        );
        check(
            json!({"phase": "Succeeded", "containerStatuses": [{"name": "c", "restartCount": 0,
                "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}),
            "0/1",
            "Completed",
            "0",
        );
    }
}
