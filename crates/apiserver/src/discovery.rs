//! Everything that is not a resource: what there is, how it looks, how the server feels.

mod documents;
mod health;
mod openapi;

use std::sync::Arc;

use http::{HeaderMap, Method};
use serde_json::json;

use crate::failure::{Failure, Result};
use crate::negotiate::{self, Media};
use crate::reply::{self, Reply};
use crate::server::Inner;
use dunlin_api::query::Query;

/// Paths that anybody may read: a machine that joins needs them before it has an identity.
pub fn public(server: &Arc<Inner>, method: &Method, path: &str, query: &Query) -> Option<Reply> {
    if !is_public(method, path) {
        return None;
    }
    let reply = match path.trim_end_matches('/') {
        "/version" => reply::json(200, &documents::version()),
        "/cacerts" => {
            reply::with_type(200, "application/x-pem-file", reply::full(server.config.ca_pem.clone()))
        }
        path => return health::answer(path, query, server.config.store.is_healthy()),
    };
    Some(reply)
}

/// Whether a request is for one of them, or for a page beside them.
pub fn is_public(method: &Method, path: &str) -> bool {
    let first = path.split('/').nth(1).unwrap_or("");
    matches!(*method, Method::GET | Method::HEAD)
        && matches!(first, "version" | "cacerts" | "livez" | "readyz" | "healthz")
}

/// Paths that a right is needed for; the caller has checked it.
pub async fn answer(
    server: &Arc<Inner>,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Reply> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Failure::method_not_allowed());
    }
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let aggregated = aggregated(headers);
    let all = server.custom.all();
    let order = server.aggregate.order(&all);
    let found = match (parts.as_slice(), aggregated) {
        ([], _) => documents::paths(&order),
        (["api"], Some(version)) => {
            return Ok(documents::reply(
                &documents::aggregated(server, &all, &order, true, version),
                version,
            ));
        }
        (["apis"], Some(version)) => {
            return Ok(documents::reply(
                &documents::aggregated(server, &all, &order, false, version),
                version,
            ));
        }
        (["api"], None) => json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        }),
        (["apis"], None) => documents::groups(&order),
        (["api", version], _) => documents::resources(&all, "", version).ok_or_else(Failure::no_path)?,
        (["apis", group], _) => documents::group(&order, group).ok_or_else(Failure::no_page)?,
        (["apis", group, version], _) => {
            documents::resources(&all, group, version).ok_or_else(Failure::no_path)?
        }
        (["openapi", "v2"], _) => return openapi::v2(server, headers).await,
        (["openapi", "v3"], _) => openapi::index(server, &all, &order).await?,
        (["openapi", "v3", rest @ ..], _) => {
            return openapi::group(server, &all, &rest.join("/"), query).await;
        }
        (["metrics"], _) => {
            let page = server.metrics.page(server.config.audit.as_deref());
            let body = reply::full(page + &server.flow.page());
            return Ok(reply::with_type(200, "text/plain; version=0.0.4; charset=utf-8", body));
        }
        ([".well-known", "openid-configuration"], _) => json!({
            "issuer": server.config.issuer_url,
            "jwks_uri": format!("{}/openid/v1/jwks", server.config.issuer_url.trim_end_matches('/')),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }),
        (["openid", "v1", "jwks"], _) => {
            let body = reply::full(server.config.issuer.jwks().to_string());
            return Ok(reply::with_type(200, "application/jwk-set+json", body));
        }
        _ => return Err(Failure::no_page()),
    };
    let mut form = negotiate::form(headers, false)?;
    form.shape = negotiate::Shape::Whole;
    reply::value_in(200, &found, form)
}

/// Whether the client takes the whole discovery in one document, and in which version.
fn aggregated(headers: &HeaderMap) -> Option<&'static str> {
    negotiate::accepts(headers).iter().find_map(|text| {
        let media = Media::parse(text);
        let fits = media.kind == "application/json"
            && media.get("g") == Some("apidiscovery.k8s.io")
            && media.get("as") == Some("APIGroupDiscoveryList");
        match media.get("v") {
            Some("v2") if fits => Some("v2"),
            Some("v2beta1") if fits => Some("v2beta1"),
            _ => None,
        }
    })
}
