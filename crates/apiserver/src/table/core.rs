//! Services and what hangs on them, configuration, accounts, quotas.

use serde_json::{Value, json};

use super::{AGE, NAME, Printer, age, joined, name, or, s, selector, wide};
use crate::object::{at, list, text};

pub const NAMESPACE: Printer = Printer {
    columns: &[NAME, s("Status"), AGE],
    cells: |o, now| vec![name(o), json!(text(o, &["status", "phase"])), age(o, now)],
};

pub const CONFIG_MAP: Printer = Printer {
    columns: &[NAME, s("Data"), AGE],
    cells: |o, now| vec![name(o), json!(count(o, "data") + count(o, "binaryData")), age(o, now)],
};

pub const SECRET: Printer = Printer {
    columns: &[NAME, s("Type"), s("Data"), AGE],
    cells: |o, now| {
        vec![name(o), json!(or(text(o, &["type"]), "Opaque")), json!(count(o, "data")), age(o, now)]
    },
};

pub const SERVICE_ACCOUNT: Printer =
    Printer { columns: &[NAME, AGE], cells: |o, now| vec![name(o), age(o, now)] };

pub const SERVICE: Printer = Printer {
    columns: &[NAME, s("Type"), s("Cluster-IP"), s("External-IP"), s("Port(s)"), AGE, wide("Selector")],
    cells: |o, now| {
        let ports: Vec<String> = list(o, &["spec", "ports"])
            .iter()
            .map(|p| {
                let protocol = or(text(p, &["protocol"]), "TCP");
                let port = crate::object::int(p, &["port"]);
                match crate::object::int(p, &["nodePort"]) {
                    0 => format!("{port}/{protocol}"),
                    node => format!("{port}:{node}/{protocol}"),
                }
            })
            .collect();
        vec![
            name(o),
            json!(or(text(o, &["spec", "type"]), "ClusterIP")),
            json!(or(text(o, &["spec", "clusterIP"]), "<none>")),
            external(o),
            json!(if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") }),
            age(o, now),
            selector(at(o, &["spec", "selector"])),
        ]
    },
};

pub const ENDPOINTS: Printer = Printer {
    columns: &[NAME, s("Endpoints"), AGE],
    cells: |o, now| {
        let mut all = Vec::new();
        for subset in list(o, &["subsets"]) {
            for address in list(subset, &["addresses"]) {
                let ip = text(address, &["ip"]);
                let ports = list(subset, &["ports"]);
                if ports.is_empty() {
                    all.push(ip.to_owned());
                }
                all.extend(ports.iter().map(|p| format!("{ip}:{}", crate::object::int(p, &["port"]))));
            }
        }
        vec![name(o), json!(shorten(&all, "<none>")), age(o, now)]
    },
};

pub const ENDPOINT_SLICE: Printer = Printer {
    columns: &[NAME, s("AddressType"), s("Ports"), s("Endpoints"), AGE],
    cells: |o, now| {
        let ports: Vec<String> = list(o, &["ports"])
            .iter()
            .map(|p| p.get("port").and_then(Value::as_i64).map_or("*".to_owned(), |p| p.to_string()))
            .collect();
        let addresses: Vec<String> = list(o, &["endpoints"])
            .iter()
            .flat_map(|e| list(e, &["addresses"]))
            .filter_map(|a| a.as_str().map(str::to_owned))
            .collect();
        vec![
            name(o),
            json!(text(o, &["addressType"])),
            json!(shorten(&ports, "<unset>")),
            json!(shorten(&addresses, "<unset>")),
            age(o, now),
        ]
    },
};

pub const QUOTA: Printer = Printer {
    columns: &[NAME, s("Request"), s("Limit"), AGE],
    cells: |o, now| {
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (key, hard) in at(o, &["status", "hard"]).and_then(Value::as_object).into_iter().flatten() {
            let used = at(o, &["status", "used", key]).and_then(Value::as_str).unwrap_or("0");
            let text = format!("{key}: {used}/{}", hard.as_str().unwrap_or("0"));
            if key.starts_with("limits.") { limits.push(text) } else { requests.push(text) }
        }
        vec![name(o), json!(requests.join(", ")), json!(limits.join(", ")), age(o, now)]
    },
};

fn count(o: &Value, field: &str) -> usize {
    o.get(field).and_then(Value::as_object).map_or(0, serde_json::Map::len)
}

fn shorten(items: &[String], nothing: &str) -> String {
    match items.len() {
        0 => nothing.to_owned(),
        1..=3 => items.join(","),
        n => format!("{} + {} more...", items[..3].join(","), n - 3),
    }
}

fn external(o: &Value) -> Value {
    let own = list(o, &["spec", "externalIPs"]).iter().filter_map(Value::as_str);
    match text(o, &["spec", "type"]) {
        "ExternalName" => json!(or(text(o, &["spec", "externalName"]), "<none>")),
        "LoadBalancer" => {
            let given = list(o, &["status", "loadBalancer", "ingress"]);
            let all: Vec<&str> =
                given.iter().map(|i| or(text(i, &["ip"]), text(i, &["hostname"]))).chain(own).collect();
            if all.is_empty() { json!("<pending>") } else { json!(all.join(",")) }
        }
        _ => joined(own),
    }
}
