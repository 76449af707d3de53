//! `scale`: the number of replicas of anything that has one, as `autoscaling/v1 Scale`.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::failure::{Cause, Failure, Result};
use crate::handlers::patch::{self, Kind};
use crate::handlers::{convert, decode, modify, storage};
use crate::model;
use crate::object::{self, at, int, map, text};
use crate::reply::{self, Reply};
use crate::resources::Resource;
use crate::server::Call;

pub async fn answer(call: &mut Call, verb: &str, body: Bytes) -> Result<Reply> {
    let resource = call.resource.clone();
    let bytes = match verb {
        "get" => call.server.read(&resource, call.ns(), call.name()).await?.entry.value,
        "update" => {
            let mut value = decode::syntax(call, &body)?;
            decode::kind("autoscaling", "v1", "Scale", &mut value)?;
            modify::modify(call, true, move |call, old| change(call, old, &value)).await?
        }
        _ => {
            let (kind, patch) = patch::read(call, &body)?;
            modify::modify(call, true, move |call, old| {
                let before = view(&call.resource, old);
                let after = match kind {
                    // Scale has no lists, so a strategic merge is a plain one; an apply of it sets the number.
                    Kind::Merge | Kind::Strategic | Kind::Apply => model::merge_patch(&before, &patch)?,
                    Kind::Json => model::json_patch(&call.resource, call.name(), &before, &patch)?,
                };
                change(call, old, &after)
            })
            .await?
        }
    };
    let shown = convert::shown(&call.server, &resource, storage::parse(&bytes)?).await?;
    reply::value_in(200, &view(&resource, &shown), call.form)
}

fn change(call: &Call, old: &Value, scale: &Value) -> Result<Value> {
    let replicas = at(scale, &["spec", "replicas"]).cloned().unwrap_or(json!(0));
    if replicas.as_i64().is_none_or(|n| n < 0) {
        let cause = Cause::value("spec.replicas", &replicas, "must be greater than or equal to 0");
        return Err(Failure::invalid(&call.resource, call.name(), &[cause]));
    }
    let mut new = old.clone();
    put(&mut new, &paths(&call.resource).replicas, replicas);
    for field in ["resourceVersion", "uid"] {
        if let Some(value) = at(scale, &["metadata", field]) {
            object::meta(&mut new).insert(field.into(), value.clone());
        }
    }
    Ok(new)
}

/// Where a resource has its numbers.
struct Paths<'a> {
    replicas: Vec<&'a str>,
    status: Vec<&'a str>,
    /// For custom resources, a field that holds a selector as text.
    selector: Option<Vec<&'a str>>,
}

fn paths(resource: &Resource) -> Paths<'_> {
    match resource.custom.as_ref().and_then(|c| c.scale.as_ref()) {
        Some(scale) => Paths {
            replicas: scale.replicas.iter().map(|p| &**p).collect(),
            status: scale.status.iter().map(|p| &**p).collect(),
            selector: Some(scale.selector.iter().map(|p| &**p).collect()),
        },
        None => {
            Paths { replicas: vec!["spec", "replicas"], status: vec!["status", "replicas"], selector: None }
        }
    }
}

/// Puts a value at a path of fields, making the objects on the way.
fn put(value: &mut Value, path: &[&str], what: Value) {
    match path {
        [] => {}
        [last] => {
            if !value.is_object() {
                *value = json!({});
            }
            value[*last] = what;
        }
        [first, rest @ ..] => {
            map(value, first);
            put(&mut value[*first], rest, what);
        }
    }
}

/// The object as a `Scale`. Pure.
pub fn view(resource: &Resource, value: &Value) -> Value {
    let mut meta = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(v) = at(value, &["metadata", field]) {
            meta[field] = v.clone();
        }
    }
    let paths = paths(resource);
    let mut status = json!({"replicas": int(value, &paths.status)});
    let selector = match (&paths.selector, text(value, &["kind"])) {
        (Some(path), _) => {
            Some(text(value, path)).filter(|t| !path.is_empty() && !t.is_empty()).map(str::to_owned)
        }
        (None, "ReplicationController") => {
            model::selector_text(&json!({"matchLabels": value["spec"]["selector"]}))
        }
        _ => model::selector_text(&value["spec"]["selector"]),
    };
    if let Some(text) = selector {
        status["selector"] = json!(text);
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta,
        "spec": {"replicas": int(value, &paths.replicas)}, "status": status,
    })
}
