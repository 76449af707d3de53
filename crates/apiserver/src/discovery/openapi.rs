//! OpenAPI documents. Made when asked for and not kept: they are large, and clients cache them by their hash. The
//! schemas of custom resources come from the stored definitions, prose and all; what is held of them has none.

mod gnostic;

use std::sync::{Arc, OnceLock};

use dunlin_api::gvk::GroupVersionKind;
use dunlin_api::schema::openapi::{Resource as Row, Subresource, v2_document, v3_document, v3_index};
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::documents::Order;
use crate::failure::{Failure, Result};
use crate::negotiate::{self, Media};
use crate::object::{self, at, list, text};
use crate::reply::{self, Reply};
use crate::resources::{self, BUILTIN, Resource, known};
use crate::server::Inner;
use dunlin_api::query::Query;

fn row(resource: &Resource, definitions: &[Value]) -> Row {
    let own = |all: &[&str]| all.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
    Row {
        gvk: resource.gvk(),
        plural: resource.plural.to_string(),
        namespaced: resource.namespaced,
        verbs: own(resource.verbs),
        subresources: resource
            .subs
            .iter()
            .map(|s| Subresource {
                name: s.name.to_owned(),
                gvk: GroupVersionKind::new(&*s.group, &*s.version, &*s.kind),
                verbs: own(s.verbs),
            })
            .collect(),
        schema: resource.custom.is_some().then(|| schema(resource, definitions)),
    }
}

fn schema(resource: &Resource, definitions: &[Value]) -> Value {
    let definition = definitions.iter().find(|d| object::name(d) == resource.stored);
    let version = definition
        .and_then(|d| list(d, &["spec", "versions"]).iter().find(|v| text(v, &["name"]) == resource.version));
    version.and_then(|v| at(v, &["schema", "openAPIV3Schema"])).cloned().unwrap_or_default()
}

async fn definitions(server: &Inner) -> Result<Vec<Value>> {
    if !server.custom.all().iter().any(|r| r.custom.is_some()) {
        return Ok(Vec::new());
    }
    server.all(known("apiextensions.k8s.io", "customresourcedefinitions"), None).await
}

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|b| format!("{b:02X}")).collect()
}

/// The hash of a group and version. Of the built-in resources it depends on the program alone, so it is computed once.
fn hash(all: &[Arc<Resource>], definitions: &[Value], group: &str, version: &str) -> String {
    static BUILT_IN: OnceLock<Vec<(String, String, String)>> = OnceLock::new();
    let built_in = BUILT_IN.get_or_init(|| {
        let mut found = Vec::new();
        for (group, versions) in resources::groups(&BUILTIN) {
            for version in versions {
                let mut digest = Sha256::new();
                digest.update(env!("CARGO_PKG_VERSION"));
                resources::of(&BUILTIN, group, version).for_each(|r| digest.update(format!("{r:?}")));
                found.push((group.to_owned(), version.to_owned(), hex(digest)));
            }
        }
        found
    });
    let own = built_in.iter().find(|(g, v, _)| g == group && v == version).map(|(_, _, hash)| hash.clone());
    let custom: Vec<_> = resources::of(all, group, version).filter(|r| r.custom.is_some()).collect();
    if custom.is_empty() {
        return own.unwrap_or_default();
    }
    let mut digest = Sha256::new();
    digest.update(own.unwrap_or_default());
    for row in custom {
        let definition = definitions.iter().find(|d| object::name(d) == row.stored);
        let meta = definition.map(|d| &d["metadata"]).unwrap_or(&Value::Null);
        digest.update(format!("{} {} {}", row.stored, meta["uid"], meta["generation"]));
    }
    hex(digest)
}

/// `/openapi/v3`. Extension servers offer their own documents, which are fetched from them when somebody asks.
pub async fn index(server: &Inner, all: &[Arc<Resource>], order: &Order) -> Result<Value> {
    let definitions = definitions(server).await?;
    let offered = server.aggregate.documented();
    let mut found = Vec::new();
    for (group, versions) in order {
        for version in versions {
            let ours = resources::of(all, group, version).next().is_some();
            if ours && !offered.iter().any(|(g, v, _)| (g, v) == (group, version)) {
                found.push((group.as_str(), version.as_str(), hash(all, &definitions, group, version)));
            }
        }
    }
    let mut index = v3_index(found.iter().map(|(group, version, hash)| (*group, *version, hash.as_str())));
    for (group, version, query) in offered {
        let path = format!("apis/{group}/{version}");
        let mark = if query.is_empty() { "" } else { "?" };
        index["paths"][&path] = json!({"serverRelativeURL": format!("/openapi/v3/{path}{mark}{query}")});
    }
    Ok(index)
}

/// `/openapi/v3/{path}`.
pub async fn group(server: &Inner, all: &[Arc<Resource>], path: &str, query: &Query) -> Result<Reply> {
    let found = all.iter().find(|r| dunlin_api::schema::openapi::v3_path(&r.group, &r.version) == path);
    let (group, version) = found.map(|r| (&*r.group, &*r.version)).ok_or_else(Failure::no_path)?;
    let definitions = definitions(server).await?;
    let hash = hash(all, &definitions, group, version);
    let rows: Vec<Row> = resources::of(all, group, version).map(|r| row(r, &definitions)).collect();
    let document = v3_document(group, version, &rows);
    let mut reply = reply::json(200, &document);
    if query.get("hash") == Some(&hash) {
        let forever = HeaderValue::from_static("public, immutable");
        reply.headers_mut().insert(header::CACHE_CONTROL, forever);
    }
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{hash}\"")) {
        reply.headers_mut().insert(header::ETAG, tag);
    }
    Ok(reply)
}

/// `/openapi/v2`, as JSON or protobuf, whichever the client names first.
pub async fn v2(server: &Inner, headers: &HeaderMap) -> Result<Reply> {
    let wanted = negotiate::accepts(headers);
    let binary = wanted.iter().find_map(|text| match Media::parse(text).kind {
        gnostic::MEDIA | gnostic::OLD_MEDIA => Some(true),
        "application/json" | "*/*" | "application/*" => Some(false),
        _ => None,
    });
    if binary.is_none() && !wanted.is_empty() {
        let why =
            format!("only the following media types are accepted: application/json, {}", gnostic::MEDIA);
        return Err(Failure::new(406, "NotAcceptable", why));
    }
    let definitions = definitions(server).await?;
    let rows: Vec<Row> = server.custom.all().iter().map(|r| row(r, &definitions)).collect();
    let document = v2_document(&rows);
    Ok(match binary {
        Some(true) => reply::with_type(200, gnostic::MEDIA, reply::full(gnostic::encode(&document))),
        _ => reply::json(200, &document),
    })
}
