//! `PATCH` in its four kinds: JSON patch, merge patch, strategic merge patch, and server-side apply.

use bytes::Bytes;
use serde_json::Value;

use crate::failure::{Failure, Result};
use crate::handlers::{create, decode, emit, modify, prepare};
use crate::model;
use crate::negotiate::Media;
use crate::object;
use crate::reply::Reply;
use crate::server::Call;

/// How a patch is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Json,
    Merge,
    Strategic,
    Apply,
}

pub async fn patch(call: &mut Call, body: Bytes) -> Result<Reply> {
    let (kind, patch) = read(call, &body)?;
    if kind == Kind::Apply {
        return apply(call, patch).await;
    }
    let bytes = modify::modify(call, true, move |call, old| {
        let patched = patched(call, kind, old, &patch)?;
        decode::object(call, patched)
    })
    .await?;
    call.warnings.dedup();
    emit::stored(call, 200, bytes).await
}

/// The kind of the patch by its content type, and the patch itself.
pub fn read(call: &mut Call, body: &Bytes) -> Result<(Kind, Value)> {
    let header = call.headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let (kind, syntax) = match Media::parse(header).kind {
        "application/json-patch+json" => (Kind::Json, "application/json"),
        "application/merge-patch+json" => (Kind::Merge, "application/json"),
        "application/strategic-merge-patch+json" => (Kind::Strategic, "application/json"),
        "application/apply-patch+yaml" => (Kind::Apply, "application/yaml"),
        "application/apply-patch+json" => (Kind::Apply, "application/json"),
        other => {
            return Err(Failure::unsupported(format!(
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml, \
                 application/strategic-merge-patch+json; got {other:?}"
            )));
        }
    };
    // kubectl sends JSON under the YAML type, which is valid YAML and much faster to read as what it is.
    let syntax = if body.first() == Some(&b'{') { "application/json" } else { syntax };
    Ok((kind, decode::parse(syntax, body)?.0))
}

/// The object after the patch.
pub fn patched(call: &Call, kind: Kind, old: &Value, patch: &Value) -> Result<Value> {
    match kind {
        Kind::Json => model::json_patch(&call.resource, call.name(), old, patch),
        Kind::Merge => model::merge_patch(old, patch),
        Kind::Strategic => model::strategic_merge(&call.resource, old, patch),
        Kind::Apply => Err(Failure::internal("apply is not a plain patch")),
    }
}

/// An apply owns what it names, so it may not name what the schema does not.
fn undeclared(call: &Call, config: &Value) -> Result<()> {
    let (_, unknown) = model::decode(&call.resource, config.clone())?;
    let Some(first) = unknown.first() else { return Ok(()) };
    let field = first.strip_prefix("unknown field \"").and_then(|f| f.strip_suffix('"')).unwrap_or(first);
    let (namespace, name) = (object::namespace(config), object::name(config));
    let text = format!(
        "failed to create typed patch object ({namespace}/{name}; {}, Kind={}): .{field}: field not declared in schema",
        call.resource.api_version(),
        call.resource.kind
    );
    Err(Failure::new(500, "", text))
}

async fn apply(call: &mut Call, config: Value) -> Result<Reply> {
    let Some(manager) = call.query.get("fieldManager").map(str::to_owned) else {
        return Err(Failure::bad_request(
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ));
    };
    let force = call.query.flag("force");
    if call.resource.custom.is_some() {
        undeclared(call, &config)?;
    }
    let mut config = decode::object(call, config)?;
    if object::list(&config, &["metadata", "managedFields"]).iter().any(|_| true) {
        return Err(Failure::bad_request("metadata.managedFields must be nil"));
    }
    prepare::namespace(call, &mut config)?;
    if object::name(&config).is_empty() {
        object::meta(&mut config).insert("name".into(), Value::String(call.name().to_owned()));
    } else if object::name(&config) != call.name() {
        return Err(Failure::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            object::name(&config),
            call.name()
        )));
    }
    let sub = call.sub.clone().unwrap_or_default();
    if call.server.find(&call.resource, call.ns(), call.name()).await?.is_none() && sub.is_empty() {
        if !object::uid(&config).is_empty() {
            let why = "Precondition failed: UID in precondition, and the object does not exist";
            return Err(Failure::conflict(&call.resource, call.name(), why));
        }
        let new = model::apply(&call.resource, None, &config, &manager, force, &sub)?;
        match create::insert(call, new, false).await {
            Err(failure) if failure.reason == "AlreadyExists" => {}
            other => return emit::stored(call, 201, other?).await,
        }
    }
    let bytes = modify::modify(call, false, move |call, old| {
        model::apply(&call.resource, Some(old), &config, &manager, force, &sub)
    })
    .await?;
    emit::stored(call, 200, bytes).await
}
