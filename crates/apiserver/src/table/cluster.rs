//! Nodes, Events, volumes and claims.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{AGE, NAME, Printer, age, joined, name, or, s, wide};
use crate::object::{self, at, int, list, text};
use crate::time;

pub const NODE: Printer = Printer {
    columns: &[
        NAME,
        s("Status"),
        s("Roles"),
        AGE,
        s("Version"),
        wide("Internal-IP"),
        wide("External-IP"),
        wide("OS-Image"),
        wide("Kernel-Version"),
        wide("Container-Runtime"),
    ],
    cells: |o, now| {
        let ready = list(o, &["status", "conditions"]).iter().find(|c| text(c, &["type"]) == "Ready");
        let mut status = match ready.map(|c| text(c, &["status"])) {
            Some("True") => "Ready".to_owned(),
            Some(_) => "NotReady".to_owned(),
            None => "Unknown".to_owned(),
        };
        if at(o, &["spec", "unschedulable"]) == Some(&json!(true)) {
            status.push_str(",SchedulingDisabled");
        }
        let mut roles: Vec<&str> = Vec::new();
        for (key, value) in at(o, &["metadata", "labels"]).and_then(Value::as_object).into_iter().flatten() {
            if let Some(role) = key.strip_prefix("node-role.kubernetes.io/").filter(|r| !r.is_empty()) {
                roles.push(role);
            } else if key == "kubernetes.io/role" {
                roles.extend(value.as_str());
            }
        }
        roles.sort_unstable();
        let address = |kind: &str| {
            let found = list(o, &["status", "addresses"]).iter().find(|a| text(a, &["type"]) == kind);
            json!(or(found.map_or("", |a| text(a, &["address"])), "<none>"))
        };
        let info = |field: &str| json!(or(text(o, &["status", "nodeInfo", field]), "<unknown>"));
        vec![
            name(o),
            json!(status),
            joined(roles.into_iter()),
            age(o, now),
            json!(text(o, &["status", "nodeInfo", "kubeletVersion"])),
            address("InternalIP"),
            address("ExternalIP"),
            info("osImage"),
            info("kernelVersion"),
            info("containerRuntimeVersion"),
        ]
    },
};

pub const EVENT: Printer = Printer {
    columns: &[
        s("Last Seen"),
        s("Type"),
        s("Reason"),
        s("Object"),
        wide("Subobject"),
        wide("Source"),
        s("Message"),
        wide("First Seen"),
        wide("Count"),
        ("Name", "string", "name", 1),
    ],
    cells: event,
};

fn event(o: &Value, now: Timestamp) -> Vec<Value> {
    let pick = |a: &str, b: &str| or(text(o, &[a]), text(o, &[b])).to_owned();
    let object = o.get("involvedObject").or_else(|| o.get("regarding")).unwrap_or(&Value::Null);
    let source = o.get("source").or_else(|| o.get("deprecatedSource")).unwrap_or(&Value::Null);
    let first = or(&pick("firstTimestamp", "deprecatedFirstTimestamp"), text(o, &["eventTime"])).to_owned();
    let series = text(o, &["series", "lastObservedTime"]);
    let last = or(series, or(&pick("lastTimestamp", "deprecatedLastTimestamp"), &first)).to_owned();
    let created = text(o, &["metadata", "creationTimestamp"]);
    let ago = |t: &str| json!(time::age(Some(or(t, created)), now));
    let count = int(o, &["count"]).max(int(o, &["deprecatedCount"])).max(int(o, &["series", "count"])).max(1);
    let component = or(
        text(source, &["component"]),
        or(text(o, &["reportingComponent"]), text(o, &["reportingController"])),
    );
    let from = match text(source, &["host"]) {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    };
    let target = match text(object, &["name"]) {
        "" => text(object, &["kind"]).to_lowercase(),
        name => format!("{}/{name}", text(object, &["kind"]).to_lowercase()),
    };
    vec![
        ago(&last),
        json!(text(o, &["type"])),
        json!(text(o, &["reason"])),
        json!(target),
        json!(text(object, &["fieldPath"])),
        json!(from),
        json!(pick("message", "note").trim()),
        ago(&first),
        json!(count.to_string()),
        name(o),
    ]
}

pub const VOLUME: Printer = Printer {
    columns: &[
        NAME,
        s("Capacity"),
        s("Access Modes"),
        s("Reclaim Policy"),
        s("Status"),
        s("Claim"),
        s("StorageClass"),
        s("VolumeAttributesClass"),
        s("Reason"),
        AGE,
        wide("VolumeMode"),
    ],
    cells: |o, now| {
        let claim = match text(o, &["spec", "claimRef", "name"]) {
            "" => String::new(),
            name => format!("{}/{name}", text(o, &["spec", "claimRef", "namespace"])),
        };
        let phase = if going(o) { "Terminating" } else { text(o, &["status", "phase"]) };
        vec![
            name(o),
            json!(text(o, &["spec", "capacity", "storage"])),
            modes(list(o, &["spec", "accessModes"])),
            json!(text(o, &["spec", "persistentVolumeReclaimPolicy"])),
            json!(phase),
            json!(claim),
            json!(text(o, &["spec", "storageClassName"])),
            json!(or(text(o, &["spec", "volumeAttributesClassName"]), "<unset>")),
            json!(text(o, &["status", "reason"])),
            age(o, now),
            json!(or(text(o, &["spec", "volumeMode"]), "<unset>")),
        ]
    },
};

pub const CLAIM: Printer = Printer {
    columns: &[
        NAME,
        s("Status"),
        s("Volume"),
        s("Capacity"),
        s("Access Modes"),
        s("StorageClass"),
        s("VolumeAttributesClass"),
        AGE,
        wide("VolumeMode"),
    ],
    cells: |o, now| {
        let bound = !text(o, &["spec", "volumeName"]).is_empty();
        let phase = if going(o) { "Terminating" } else { text(o, &["status", "phase"]) };
        vec![
            name(o),
            json!(phase),
            json!(text(o, &["spec", "volumeName"])),
            json!(if bound { text(o, &["status", "capacity", "storage"]) } else { "" }),
            if bound { modes(list(o, &["status", "accessModes"])) } else { json!("") },
            json!(text(o, &["spec", "storageClassName"])),
            json!(or(text(o, &["spec", "volumeAttributesClassName"]), "<unset>")),
            age(o, now),
            json!(or(text(o, &["spec", "volumeMode"]), "<unset>")),
        ]
    },
};

fn going(o: &Value) -> bool {
    !text(o, &["metadata", "deletionTimestamp"]).is_empty() && !object::name(o).is_empty()
}

fn modes(modes: &[Value]) -> Value {
    let short: Vec<&str> = modes
        .iter()
        .filter_map(Value::as_str)
        .map(|m| match m {
            "ReadWriteOnce" => "RWO",
            "ReadOnlyMany" => "ROX",
            "ReadWriteMany" => "RWX",
            "ReadWriteOncePod" => "RWOP",
            other => other,
        })
        .collect();
    json!(short.join(","))
}
