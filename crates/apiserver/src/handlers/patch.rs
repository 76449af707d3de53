//! `PATCH` in its four kinds: JSON patch, merge patch, strategic merge patch, and server-side apply.

use bytes::Bytes;
use dunlin_api::status::go_value;
use serde_json::Value;

use crate::failure::{Failure, Result};
use crate::handlers::{create, decode, emit, modify, prepare, yaml};
use crate::model;
use crate::negotiate::Media;
use crate::object;
use crate::options;
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

/// A patch as it came.
#[derive(Debug, Clone)]
pub struct Patch {
    pub kind: Kind,
    pub value: Value,
    /// Complaints about fields that occur twice in it.
    duplicates: Vec<String>,
}

pub async fn patch(call: &mut Call, body: Bytes) -> Result<Reply> {
    let patch = read(call, &body)?;
    if patch.kind == Kind::Apply {
        return apply(call, patch).await;
    }
    let told = call.warnings.len();
    let bytes = modify::modify(call, true, move |call, old| {
        call.warnings.truncate(told);
        let patched = patched(call, &patch, old)?;
        let strategic = patch.kind == Kind::Strategic;
        let shown = |outcome: &Value| if strategic { go_value(&patch.value) } else { outcome.to_string() };
        let words = |why: &str| if strategic { restored(why) } else { why.to_owned() };
        let new = decode::patched(call, patched, &patch.duplicates, shown, words)?;
        prepare::named(call, &new)?;
        Ok(new)
    })
    .await?;
    emit::stored(call, 200, bytes).await
}

/// The patch, its kind by its content type.
pub fn read(call: &mut Call, body: &Bytes) -> Result<Patch> {
    let header = call.headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let kind = match Media::parse(header).kind {
        "application/json-patch+json" => Kind::Json,
        "application/merge-patch+json" => Kind::Merge,
        "application/strategic-merge-patch+json" => Kind::Strategic,
        "application/apply-patch+yaml" => Kind::Apply,
        _ => {
            let mut failure = Failure::unsupported("415: Unsupported Media Type");
            failure.details = Some(Box::new(serde_json::json!({})));
            return Err(failure);
        }
    };
    options::patch(&call.query, kind == Kind::Apply)?;
    let (value, duplicates) = match kind {
        // kubectl sends JSON under the YAML type, which is valid YAML and much faster to read as what it is. What is twice
        // in it is complained of in the words of YAML.
        Kind::Apply => match decode::plain("application/json", body) {
            Ok((value, duplicates)) if duplicates.is_empty() => (value, duplicates),
            _ => yaml::parse(body).map_err(|e| Failure::bad_request(format!("error decoding YAML: {e}")))?,
        },
        _ => decode::plain("application/json", body).map_err(|e| {
            let start = if kind == Kind::Strategic { "" } else { "error decoding patch: " };
            Failure::bad_request(e.message.replacen(decode::JSON_ERROR, start, 1))
        })?,
    };
    call.trail.patch(&value, body);
    Ok(Patch { kind, value, duplicates })
}

/// What Kubernetes says of a value of a wrong type in a strategic merge patch, which it reads in another way.
fn restored(why: &str) -> String {
    let parts = why.strip_prefix("json: cannot unmarshal ").and_then(|rest| rest.split_once(" into "));
    let Some((found, go)) = parts.and_then(|(found, rest)| Some((found, rest.rsplit_once(" of type ")?.1)))
    else {
        return why.to_owned();
    };
    let found = match found.split(' ').next() {
        Some("array") => "slice",
        Some("object") => "map",
        Some("number") => "int64",
        other => other.unwrap_or_default(),
    };
    match go {
        go if go.starts_with("[]") => format!("cannot restore slice from {found}"),
        go if go.starts_with("map[") => format!("cannot restore map from {found}"),
        go if go.contains('.') => format!("cannot restore struct from: {found}"),
        go => format!("unrecognized type: {go}"),
    }
}

/// The object after the patch.
pub fn patched(call: &Call, patch: &Patch, old: &Value) -> Result<Value> {
    match patch.kind {
        Kind::Json => model::json_patch(old, &patch.value),
        Kind::Merge => model::merge_patch(old, &patch.value),
        Kind::Strategic => model::strategic_merge(&call.resource, old, &patch.value),
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

async fn apply(call: &mut Call, patch: Patch) -> Result<Reply> {
    let manager = call.query.get("fieldManager").unwrap_or("").to_owned();
    let force = call.query.flag("force");
    let mut config = patch.value;
    same_kind(call, &mut config)?;
    if call.resource.custom.is_some() {
        undeclared(call, &config)?;
    }
    let sub = call.sub.clone().unwrap_or_default();
    if call.server.find(&call.resource, call.ns(), call.name()).await?.is_none() && sub.is_empty() {
        let new = model::apply(&call.resource, None, &config, &manager, force, &sub)?;
        twice(call, &patch.duplicates)?;
        if !object::uid(&config).is_empty() {
            let why = format!(
                "uid mismatch: the provided object specified uid {}, and no existing object was found",
                object::uid(&config)
            );
            return Err(Failure::conflict(&call.resource, call.name(), &why));
        }
        let new = decode::typed(&call.resource, new)?;
        prepare::named(call, &new)?;
        match create::insert(call, new, false).await {
            Err(failure) if failure.reason == "AlreadyExists" => {}
            other => return emit::stored(call, 201, other?).await,
        }
    }
    let told = call.warnings.len();
    let bytes = modify::modify(call, false, move |call, old| {
        call.warnings.truncate(told);
        let new = model::apply(&call.resource, Some(old), &config, &manager, force, &sub)?;
        twice(call, &patch.duplicates)?;
        let new = decode::typed(&call.resource, new)?;
        prepare::named(call, &new)?;
        Ok(new)
    })
    .await?;
    emit::stored(call, 200, bytes).await
}

/// An applied configuration says what it is.
fn same_kind(call: &Call, config: &mut Value) -> Result<()> {
    if config.is_null() {
        *config = Value::Object(Default::default());
    }
    let (api_version, kind) = (object::text(config, &["apiVersion"]), object::text(config, &["kind"]));
    if kind == call.resource.kind && api_version == call.resource.api_version() {
        return Ok(());
    }
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    Err(Failure::bad_request(format!("invalid object type: {group}/{version}, Kind={kind}")))
}

/// Refuses or tells what an applied configuration has twice.
fn twice(call: &mut Call, duplicates: &[String]) -> Result<()> {
    let Some(once) = yaml::strict(duplicates) else { return Ok(()) };
    let why = format!("error converting YAML to JSON: {once}");
    match call.query.get("fieldValidation") {
        Some("Strict") => {
            return Err(Failure::bad_request(format!("error strict decoding YAML: {why}")));
        }
        Some("Ignore") => {}
        _ => call.warnings.push(why),
    }
    Ok(())
}
