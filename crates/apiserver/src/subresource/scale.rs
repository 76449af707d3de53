//! `scale`: the number of replicas of anything that has one, as `autoscaling/v1 Scale`.

use bytes::Bytes;
use dunlin_api::gvk::GroupVersionKind;
use serde_json::{Value, json};

use crate::failure::{Cause, Failure, Result};
use crate::handlers::patch::{self, Kind};
use crate::handlers::{convert, decode, emit, modify, prepare, storage};
use crate::model;
use crate::negotiate::Shape;
use crate::object::{self, at, int, map, text};
use crate::options;
use crate::reply::{self, Reply};
use crate::resources::Resource;
use crate::server::Call;
use crate::table;

fn kind() -> GroupVersionKind {
    GroupVersionKind::new("autoscaling", "v1", "Scale")
}

pub async fn answer(call: &mut Call, verb: &str, body: Bytes) -> Result<Reply> {
    let resource = call.resource.clone();
    let bytes = match verb {
        "get" => call.server.read(&resource, call.ns(), call.name()).await?.entry.value,
        "update" => {
            options::write("UpdateOptions", &call.query)?;
            let value = decode::object_of(call, &kind(), &body)?;
            prepare::named(call, &value)?;
            modify::modify(call, true, move |call, old| change(call, old, &value)).await?
        }
        _ => {
            let patch = patch::read(call, &body)?;
            let apply = patch.kind == Kind::Apply;
            modify::modify(call, !apply, move |call, old| {
                let before = view(&call.resource, old);
                let after = match patch.kind {
                    Kind::Apply => return applied(call, old, &patch.value),
                    // Scale has no lists, so a strategic merge is a plain one.
                    Kind::Merge | Kind::Strategic => model::merge_patch(&before, &patch.value)?,
                    Kind::Json => model::json_patch(&before, &patch.value)?,
                };
                let text = after.to_string();
                let after = dunlin_api::decode::decode_owned(&kind(), after);
                let after = after.map_err(|e| Failure::bad_patch(&text, &e.to_string()))?.value;
                change(call, old, &after)
            })
            .await?
        }
    };
    let shown = convert::shown(&call.server, &resource, storage::parse(&bytes)?).await?;
    let scale = view(&resource, &shown);
    match call.form.shape {
        Shape::Table(version) => reply::value_in(200, &table::scale(&scale, version), call.form),
        _ => emit::value(call, 200, scale),
    }
}

/// The object after its `Scale` was applied. What is owned of a scale is owned of the object, through this subresource.
fn applied(call: &mut Call, old: &Value, config: &Value) -> Result<Value> {
    let mut config = config.clone();
    decode::kind(&kind(), &mut config)?;
    prepare::named(call, &config)?;
    let manager = call.query.get("fieldManager").unwrap_or("").to_owned();
    let parent = json!({
        "apiVersion": call.resource.api_version(), "kind": call.resource.kind,
        "metadata": config["metadata"], "spec": {"replicas": config["spec"]["replicas"]},
    });
    let new = model::apply(&call.resource, Some(old), &parent, &manager, call.query.flag("force"), "scale")?;
    check(call, &config)?;
    Ok(new)
}

fn check(call: &Call, scale: &Value) -> Result<()> {
    let replicas = int(scale, &["spec", "replicas"]);
    if replicas < 0 {
        let cause = Cause::value("spec.replicas", &json!(replicas), "must be greater than or equal to 0");
        return Err(Failure::refused("autoscaling", "Scale", call.name(), &[cause]));
    }
    Ok(())
}

fn change(call: &Call, old: &Value, scale: &Value) -> Result<Value> {
    check(call, scale)?;
    let mut new = old.clone();
    put(&call.resource, &mut new, scale);
    for field in ["resourceVersion", "uid"] {
        if let Some(value) = at(scale, &["metadata", field]) {
            object::meta(&mut new).insert(field.into(), value.clone());
        }
    }
    Ok(new)
}

/// Gives an object the number of its `Scale`.
pub fn put(resource: &Resource, value: &mut Value, scale: &Value) {
    set(value, &paths(resource).replicas, json!(int(scale, &["spec", "replicas"])));
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
fn set(value: &mut Value, path: &[&str], what: Value) {
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
            set(&mut value[*first], rest, what);
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
    let mut spec = json!({});
    let replicas = int(value, &paths.replicas);
    if replicas != 0 {
        spec["replicas"] = json!(replicas);
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec, "status": status})
}
