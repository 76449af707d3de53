//! Workloads.

use serde_json::{Value, json};

use super::{AGE, NAME, Printer, age, containers, int, name, or, s, selector, wide};
use crate::object::{self, at, list, text};
use crate::time;

pub const DEPLOYMENT: Printer = Printer {
    columns: &[
        NAME,
        s("Ready"),
        s("Up-to-date"),
        s("Available"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells: |o, now| {
        let [names, images] = containers(template(o));
        let ready = format!("{}/{}", status(o, "readyReplicas"), object::int(o, &["spec", "replicas"]));
        vec![
            name(o),
            json!(ready),
            json!(status(o, "updatedReplicas")),
            json!(status(o, "availableReplicas")),
            age(o, now),
            names,
            images,
            selector(at(o, &["spec", "selector"])),
        ]
    },
};

pub const REPLICA_SET: Printer = Printer {
    columns: &[
        NAME,
        int("Desired"),
        int("Current"),
        int("Ready"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells: |o, now| {
        let [names, images] = containers(template(o));
        vec![
            name(o),
            json!(object::int(o, &["spec", "replicas"])),
            json!(status(o, "replicas")),
            json!(status(o, "readyReplicas")),
            age(o, now),
            names,
            images,
            selector(at(o, &["spec", "selector"])),
        ]
    },
};

pub const STATEFUL_SET: Printer = Printer {
    columns: &[NAME, s("Ready"), AGE, wide("Containers"), wide("Images")],
    cells: |o, now| {
        let [names, images] = containers(template(o));
        let ready = format!("{}/{}", status(o, "readyReplicas"), object::int(o, &["spec", "replicas"]));
        vec![name(o), json!(ready), age(o, now), names, images]
    },
};

pub const DAEMON_SET: Printer = Printer {
    columns: &[
        NAME,
        int("Desired"),
        int("Current"),
        int("Ready"),
        int("Up-to-date"),
        int("Available"),
        s("Node Selector"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells: |o, now| {
        let [names, images] = containers(template(o));
        vec![
            name(o),
            json!(status(o, "desiredNumberScheduled")),
            json!(status(o, "currentNumberScheduled")),
            json!(status(o, "numberReady")),
            json!(status(o, "updatedNumberScheduled")),
            json!(status(o, "numberAvailable")),
            selector(template(o).get("nodeSelector")),
            age(o, now),
            names,
            images,
            selector(at(o, &["spec", "selector"])),
        ]
    },
};

pub const REVISION: Printer = Printer {
    columns: &[NAME, s("Controller"), s("Revision"), AGE],
    cells: |o, now| {
        let owner = list(o, &["metadata", "ownerReferences"])
            .iter()
            .find(|r| r.get("controller") == Some(&json!(true)))
            .map_or("<none>".to_owned(), |r| {
                let group = text(r, &["apiVersion"]).split('/').next().unwrap_or("").to_owned();
                format!("{}.{group}/{}", text(r, &["kind"]).to_lowercase(), text(r, &["name"]))
            });
        vec![name(o), json!(owner), json!(object::int(o, &["revision"])), age(o, now)]
    },
};

pub const JOB: Printer = Printer {
    columns: &[
        NAME,
        s("Status"),
        s("Completions"),
        s("Duration"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells: |o, now| {
        let [names, images] = containers(template(o));
        let done = status(o, "succeeded");
        let parallel = object::int(o, &["spec", "parallelism"]);
        let completions = match at(o, &["spec", "completions"]).and_then(Value::as_i64) {
            Some(wanted) => format!("{done}/{wanted}"),
            None if parallel > 1 => format!("{done}/1 of {parallel}"),
            None => format!("{done}/1"),
        };
        let duration = match time::parse(text(o, &["status", "startTime"])) {
            None => String::new(),
            Some(start) => {
                let end = time::parse(text(o, &["status", "completionTime"])).unwrap_or(now);
                time::human(time::between(start, end))
            }
        };
        vec![
            name(o),
            json!(job_state(o)),
            json!(completions),
            json!(duration),
            age(o, now),
            names,
            images,
            selector(at(o, &["spec", "selector"])),
        ]
    },
};

fn job_state(o: &Value) -> &'static str {
    let is = |kind: &str| {
        list(o, &["status", "conditions"])
            .iter()
            .any(|c| text(c, &["type"]) == kind && text(c, &["status"]) == "True")
    };
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if !text(o, &["metadata", "deletionTimestamp"]).is_empty() {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

pub const CRON_JOB: Printer = Printer {
    columns: &[
        NAME,
        s("Schedule"),
        s("Timezone"),
        ("Suspend", "boolean", "", 0),
        int("Active"),
        s("Last Schedule"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells: |o, now| {
        let job = at(o, &["spec", "jobTemplate"]).unwrap_or(&Value::Null);
        let [names, images] = containers(template(job));
        let last = match text(o, &["status", "lastScheduleTime"]) {
            "" => "<none>".to_owned(),
            last => time::age(Some(last), now),
        };
        let suspended = at(o, &["spec", "suspend"]) == Some(&json!(true));
        vec![
            name(o),
            json!(text(o, &["spec", "schedule"])),
            json!(or(text(o, &["spec", "timeZone"]), "<none>")),
            json!(if suspended { "True" } else { "False" }),
            json!(list(o, &["status", "active"]).len()),
            json!(last),
            age(o, now),
            names,
            images,
            selector(at(job, &["spec", "selector"])),
        ]
    },
};

pub const AUTOSCALER: Printer = Printer {
    columns: &[NAME, s("Reference"), s("Targets"), s("MinPods"), s("MaxPods"), s("Replicas"), AGE],
    cells: |o, now| {
        let target = at(o, &["spec", "scaleTargetRef"]).unwrap_or(&Value::Null);
        let reference = format!("{}/{}", text(target, &["kind"]), text(target, &["name"]));
        let mut metrics: Vec<String> =
            list(o, &["spec", "metrics"]).iter().enumerate().map(|(i, m)| metric(o, i, m)).collect();
        if metrics.len() > 2 {
            let more = metrics.len() - 2;
            metrics.truncate(2);
            metrics.push(format!("{more} more..."));
        }
        let least = at(o, &["spec", "minReplicas"]).and_then(Value::as_i64);
        vec![
            name(o),
            json!(reference),
            json!(if metrics.is_empty() {
                "<none>".to_owned()
            } else {
                metrics.join(" + ").replace(" + ", ", ")
            }),
            json!(least.map_or("<unset>".to_owned(), |n| n.to_string())),
            json!(object::int(o, &["spec", "maxReplicas"]).to_string()),
            json!(status(o, "currentReplicas")),
            age(o, now),
        ]
    },
};

fn metric(o: &Value, index: usize, spec: &Value) -> String {
    let field = match text(spec, &["type"]) {
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        "Pods" => "pods",
        "Object" => "object",
        _ => "external",
    };
    let current = list(o, &["status", "currentMetrics"]).get(index).and_then(|m| at(m, &[field, "current"]));
    let show = |v: Option<&Value>| -> Option<String> {
        let v = v?;
        if let Some(n) = v.get("averageUtilization").and_then(Value::as_i64) {
            return Some(format!("{n}%"));
        }
        ["averageValue", "value"].iter().find_map(|f| v.get(f).and_then(Value::as_str)).map(str::to_owned)
    };
    let current = show(current).unwrap_or_else(|| "<unknown>".to_owned());
    let target = show(at(spec, &[field, "target"])).unwrap_or_else(|| "<auto>".to_owned());
    match text(spec, &[field, "name"]) {
        "" => format!("{current}/{target}"),
        resource => format!("{resource}: {current}/{target}"),
    }
}

fn template(o: &Value) -> &Value {
    at(o, &["spec", "template", "spec"]).unwrap_or(&Value::Null)
}

fn status(o: &Value, field: &str) -> i64 {
    object::int(o, &["status", field])
}
