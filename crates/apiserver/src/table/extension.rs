//! What extends the API and its machinery: aggregated APIs, flow control, service addresses, devices, components.

use serde_json::{Value, json};

use super::{AGE, NAME, Printer, age, name, s};
use crate::object::{self, at, list, text};

pub const API_SERVICE: Printer = Printer {
    columns: &[NAME, s("Service"), s("Available"), AGE],
    cells: |o, now| {
        let service = match at(o, &["spec", "service"]).filter(|s| s.is_object()) {
            Some(service) => format!("{}/{}", text(service, &["namespace"]), text(service, &["name"])),
            None => "Local".to_owned(),
        };
        let found = condition(o, "Available");
        let available = match found.map(|c| (text(c, &["status"]), text(c, &["reason"]))) {
            None => "Unknown".to_owned(),
            Some((status @ "True", _) | (status, "")) => status.to_owned(),
            Some((status, reason)) => format!("{status} ({reason})"),
        };
        vec![name(o), json!(service), json!(available), age(o, now)]
    },
};

pub const FLOW_SCHEMA: Printer = Printer {
    columns: &[
        NAME,
        s("PriorityLevel"),
        s("MatchingPrecedence"),
        s("DistinguisherMethod"),
        AGE,
        s("MissingPL"),
    ],
    cells: |o, now| {
        let method = at(o, &["spec", "distinguisherMethod", "type"]).and_then(Value::as_str);
        let missing = condition(o, "Dangling").map(|c| text(c, &["status"]));
        vec![
            name(o),
            json!(text(o, &["spec", "priorityLevelConfiguration", "name"])),
            json!(object::int(o, &["spec", "matchingPrecedence"])),
            json!(method.unwrap_or("<none>")),
            age(o, now),
            json!(missing.unwrap_or("?")),
        ]
    },
};

/// Flow schemas are listed in the order in which they are tried; the cells are those of [`FLOW_SCHEMA`].
pub fn in_order_of_trial(rows: &mut [Value]) {
    rows.sort_by_key(|row| {
        (
            row["cells"][2].as_i64().unwrap_or_default(),
            row["cells"][0].as_str().unwrap_or_default().to_owned(),
        )
    });
}

pub const PRIORITY_LEVEL: Printer = Printer {
    columns: &[
        NAME,
        s("Type"),
        s("NominalConcurrencyShares"),
        s("Queues"),
        s("HandSize"),
        s("QueueLengthLimit"),
        AGE,
    ],
    cells: |o, now| {
        let show = |path: &[&str]| at(o, path).cloned().unwrap_or_else(|| json!("<none>"));
        let queuing = |field| show(&["spec", "limited", "limitResponse", "queuing", field]);
        vec![
            name(o),
            json!(text(o, &["spec", "type"])),
            show(&["spec", "limited", "nominalConcurrencyShares"]),
            queuing("queues"),
            queuing("handSize"),
            queuing("queueLengthLimit"),
            age(o, now),
        ]
    },
};

pub const SERVICE_CIDR: Printer = Printer {
    columns: &[NAME, s("CIDRs"), AGE],
    cells: |o, now| {
        let ranges: Vec<&str> = list(o, &["spec", "cidrs"]).iter().filter_map(Value::as_str).collect();
        vec![name(o), json!(ranges.join(",")), age(o, now)]
    },
};

pub const IP_ADDRESS: Printer = Printer {
    // Kubernetes gives three cells to these two columns.
    columns: &[NAME, s("ParentRef")],
    cells: |o, now| {
        let parent = at(o, &["spec", "parentRef"]).filter(|p| p.is_object()).map(|parent| {
            let [group, plural, namespace, name] =
                ["group", "resource", "namespace", "name"].map(|field| text(parent, &[field]));
            let dot = if group.is_empty() { "" } else { "." };
            let space = if namespace.is_empty() { String::new() } else { format!("/{namespace}") };
            format!("{}{space}/{name}", format!("{plural}{dot}{group}").to_lowercase())
        });
        vec![name(o), json!(parent.unwrap_or_else(|| "<none>".to_owned())), age(o, now)]
    },
};

pub const ATTRIBUTES_CLASS: Printer = Printer {
    columns: &[NAME, s("DriverName"), AGE],
    cells: |o, now| vec![name(o), json!(text(o, &["driverName"])), age(o, now)],
};

/// Device classes and claim templates.
pub const AGED: Printer = Printer { columns: &[NAME, AGE], cells: |o, now| vec![name(o), age(o, now)] };

pub const RESOURCE_CLAIM: Printer = Printer {
    columns: &[NAME, s("State"), AGE],
    cells: |o, now| {
        let going = !text(o, &["metadata", "deletionTimestamp"]).is_empty();
        let allocated = at(o, &["status", "allocation"]).is_some_and(Value::is_object);
        let reserved = allocated && !list(o, &["status", "reservedFor"]).is_empty();
        let states = [
            (going, "deleted"),
            (!allocated && !going, "pending"),
            (allocated, "allocated"),
            (reserved, "reserved"),
        ];
        let words: Vec<&str> = states.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
        vec![name(o), json!(words.join(",")), age(o, now)]
    },
};

pub const RESOURCE_SLICE: Printer = Printer {
    columns: &[NAME, s("Node"), s("Driver"), s("Pool"), AGE],
    cells: |o, now| {
        let [node, driver] = ["nodeName", "driver"].map(|field| json!(text(o, &["spec", field])));
        vec![name(o), node, driver, json!(text(o, &["spec", "pool", "name"])), age(o, now)]
    },
};

pub const COMPONENT: Printer = Printer {
    columns: &[NAME, s("Status"), s("Message"), s("Error")],
    cells: |o, _| {
        let found = list(o, &["conditions"]).iter().find(|c| text(c, &["type"]) == "Healthy");
        let status = match found.map(|c| text(c, &["status"])) {
            None => "Unknown",
            Some("True") => "Healthy",
            Some(_) => "Unhealthy",
        };
        let of = |field: &str| json!(found.map_or("", |c| text(c, &[field])));
        vec![name(o), json!(status), of("message"), of("error")]
    },
};

fn condition<'a>(o: &'a Value, kind: &str) -> Option<&'a Value> {
    list(o, &["status", "conditions"]).iter().find(|c| text(c, &["type"]) == kind)
}
