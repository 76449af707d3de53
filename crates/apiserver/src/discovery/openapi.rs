//! OpenAPI documents. Made when asked for and not kept: they are large, and clients cache them by their hash.

use std::sync::OnceLock;

use dunlin_api::gvk::GroupVersionKind;
use dunlin_api::schema::openapi::{Resource as Row, Subresource, v2_document, v3_document, v3_index};
use http::{HeaderMap, HeaderValue, header};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::failure::{Failure, Result};
use crate::negotiate::{self, Media};
use crate::query::Query;
use crate::reply::{self, Reply};
use crate::resources::{self, Resource};

fn row(resource: &Resource) -> Row {
    let own = |all: &[&str]| all.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
    Row {
        gvk: resource.gvk(),
        plural: resource.plural.to_owned(),
        namespaced: resource.namespaced,
        verbs: own(resource.verbs),
        subresources: resource
            .subs
            .iter()
            .map(|s| Subresource {
                name: s.name.to_owned(),
                gvk: GroupVersionKind::new(s.group, s.version, s.kind),
                verbs: own(s.verbs),
            })
            .collect(),
        schema: None,
    }
}

/// Hashes by group and version. The documents depend on the program alone, so this is computed once, from the rows.
fn hashes() -> &'static [(&'static str, &'static str, String)] {
    static HASHES: OnceLock<Vec<(&'static str, &'static str, String)>> = OnceLock::new();
    HASHES.get_or_init(|| {
        let mut all = Vec::new();
        for (group, versions) in resources::groups() {
            for version in versions {
                let mut digest = Sha256::new();
                digest.update(env!("CARGO_PKG_VERSION"));
                resources::of(group, version).for_each(|r| digest.update(format!("{r:?}")));
                let hash: String = digest.finalize().iter().map(|b| format!("{b:02X}")).collect();
                all.push((group, version, hash));
            }
        }
        all
    })
}

/// `/openapi/v3`.
pub fn index() -> Value {
    v3_index(hashes().iter().map(|(group, version, hash)| (*group, *version, hash.as_str())))
}

/// `/openapi/v3/{path}`.
pub fn group(path: &str, query: &Query) -> Result<Reply> {
    let found = hashes().iter().find(|(g, v, _)| dunlin_api::schema::openapi::v3_path(g, v) == path);
    let (group, version, hash) = found.ok_or_else(Failure::no_path)?;
    let rows: Vec<Row> = resources::of(group, version).map(row).collect();
    let document = v3_document(group, version, &rows);
    let mut reply = reply::json(200, &document);
    if query.get("hash") == Some(hash) {
        let forever = HeaderValue::from_static("public, immutable");
        reply.headers_mut().insert(header::CACHE_CONTROL, forever);
    }
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{hash}\"")) {
        reply.headers_mut().insert(header::ETAG, tag);
    }
    Ok(reply)
}

/// `/openapi/v2`, as JSON only.
pub fn v2(headers: &HeaderMap) -> Result<Reply> {
    let wanted = negotiate::accepts(headers);
    let json = |t: &&str| matches!(Media::parse(t).kind, "application/json" | "*/*" | "application/*");
    if !wanted.is_empty() && !wanted.iter().any(json) {
        return Err(Failure::new(
            406,
            "NotAcceptable",
            "only the following media types are accepted: application/json",
        ));
    }
    let rows: Vec<Row> = resources::BUILTIN.iter().map(row).collect();
    Ok(reply::json(200, &v2_document(&rows)))
}
