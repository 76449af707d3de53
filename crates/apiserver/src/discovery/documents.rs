//! Discovery documents, made from the table of resources.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::reply::{self, Reply};
use crate::resources::{self, Resource};
use crate::server::Inner;

/// Groups with their versions, in the order in which clients should prefer them.
pub type Order = [(String, Vec<String>)];

/// The version that this server implements.
pub fn version() -> Value {
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": concat!("v1.36.0+dunlin.", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("linux/{}", match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }),
    })
}

/// The paths at the root.
pub fn paths(order: &Order) -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for (group, versions) in order.iter().filter(|(g, _)| !g.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|v| format!("/apis/{group}/{v}")));
    }
    let rest = [
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ];
    paths.extend(rest.iter().map(|p| (*p).to_owned()));
    json!({"paths": paths})
}

/// `APIGroupList`.
pub fn groups(order: &Order) -> Value {
    let groups: Vec<Value> = order
        .iter()
        .filter(|(g, _)| !g.is_empty())
        .map(|(group, versions)| described(group, versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `APIGroup`.
pub fn group(order: &Order, name: &str) -> Option<Value> {
    let (group, versions) = order.iter().find(|(g, _)| *g == name && !g.is_empty())?;
    let mut value = described(group, versions);
    value["kind"] = json!("APIGroup");
    value["apiVersion"] = json!("v1");
    Some(value)
}

fn described(group: &str, versions: &[String]) -> Value {
    let of = |v: &String| json!({"groupVersion": format!("{group}/{v}"), "version": v});
    json!({
        "name": group,
        "versions": versions.iter().map(of).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(of),
    })
}

/// `APIResourceList`.
pub fn resources(all: &[Arc<Resource>], group: &str, version: &str) -> Option<Value> {
    let mut found = Vec::new();
    for row in resources::of(all, group, version) {
        let mut value = json!({
            "name": row.plural, "singularName": row.singular, "namespaced": row.namespaced, "kind": row.kind,
            "verbs": row.verbs,
        });
        if !row.short.is_empty() {
            value["shortNames"] = json!(row.short);
        }
        if !row.categories.is_empty() {
            value["categories"] = json!(row.categories);
        }
        if row.is_stored() {
            value["storageVersionHash"] = json!(storage_hash(row));
        }
        found.push(value);
        for sub in &row.subs {
            let mut value = json!({
                "name": format!("{}/{}", row.plural, sub.name), "singularName": "", "namespaced": row.namespaced,
                "kind": sub.kind, "verbs": sub.verbs,
            });
            if sub.group != row.group {
                value["group"] = json!(sub.group);
                value["version"] = json!(sub.version);
            }
            found.push(value);
        }
    }
    if found.is_empty() {
        return None;
    }
    let name = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut list = json!({"kind": "APIResourceList", "groupVersion": name, "resources": found});
    if !group.is_empty() {
        list["apiVersion"] = json!("v1");
    }
    Some(list)
}

/// Tells clients whether two resources are stored as the same kind.
fn storage_hash(row: &Resource) -> String {
    let group = if &*row.stored == "events" { "" } else { &*row.group };
    // Kubernetes stores definitions as the older version that it no longer serves.
    let version = if row.stored == crate::custom::STORED { "v1beta1" } else { &*row.version };
    let digest = Sha256::digest(format!("{group}/{version}/{}", row.kind));
    STANDARD.encode(&digest[..8])
}

/// `APIGroupDiscoveryList`.
pub fn aggregated(server: &Inner, all: &[Arc<Resource>], order: &Order, core: bool, version: &str) -> Value {
    let items: Vec<Value> = order
        .iter()
        .filter(|(g, _)| g.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|v| {
                    if let Some(theirs) = server.aggregate.discovered(group, v) {
                        return theirs;
                    }
                    let rows: Vec<Value> = resources::of(all, group, v).map(|r| row(r)).collect();
                    json!({"version": v, "freshness": "Current", "resources": rows})
                })
                .collect();
            let meta = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": meta, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {},
        "items": items,
    })
}

fn row(row: &Resource) -> Value {
    let mut value = json!({
        "resource": row.plural,
        "responseKind": {"group": row.group, "version": row.version, "kind": row.kind},
        "scope": if row.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": row.singular,
        "verbs": row.verbs,
    });
    if !row.short.is_empty() {
        value["shortNames"] = json!(row.short);
    }
    if !row.categories.is_empty() {
        value["categories"] = json!(row.categories);
    }
    if !row.subs.is_empty() {
        value["subresources"] = row
            .subs
            .iter()
            .map(|s| {
                json!({
                    "subresource": s.name,
                    "responseKind": {"group": s.group, "version": s.version, "kind": s.kind},
                    "verbs": s.verbs,
                })
            })
            .collect();
    }
    value
}

/// The aggregated document under its own media type, by which clients recognise it.
pub fn reply(value: &Value, version: &str) -> Reply {
    let content_type = match version {
        "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    };
    let mut reply = reply::with_type(200, content_type, reply::full(value.to_string()));
    reply.headers_mut().insert(http::header::VARY, http::HeaderValue::from_static("Accept"));
    reply
}
