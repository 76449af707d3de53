//! `scale`: the number of replicas of anything that has one, as `autoscaling/v1 Scale`.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::failure::{Cause, Failure, Result};
use crate::handlers::patch::{self, Kind};
use crate::handlers::{decode, modify, storage};
use crate::model;
use crate::object::{self, at, int, map, text};
use crate::reply::{self, Reply};
use crate::server::Call;

pub async fn answer(call: &mut Call, verb: &str, body: Bytes) -> Result<Reply> {
    let bytes = match verb {
        "get" => call.server.read(call.resource, call.ns(), call.name()).await?.entry.value,
        "update" => {
            let mut value = decode::syntax(call, &body)?;
            decode::kind("autoscaling", "v1", "Scale", &mut value)?;
            modify::modify(call, true, move |call, old| change(call, old, &value)).await?
        }
        _ => {
            let (kind, patch) = patch::read(call, &body)?;
            modify::modify(call, true, move |call, old| {
                let before = view(old);
                let after = match kind {
                    // Scale has no lists, so a strategic merge is a plain one; an apply of it sets the number.
                    Kind::Merge | Kind::Strategic | Kind::Apply => model::merge_patch(&before, &patch)?,
                    Kind::Json => model::json_patch(call.resource, call.name(), &before, &patch)?,
                };
                change(call, old, &after)
            })
            .await?
        }
    };
    reply::value_in(200, &view(&storage::parse(&bytes)?), call.form)
}

fn change(call: &Call, old: &Value, scale: &Value) -> Result<Value> {
    let replicas = at(scale, &["spec", "replicas"]).cloned().unwrap_or(json!(0));
    if replicas.as_i64().is_none_or(|n| n < 0) {
        let cause = Cause::value("spec.replicas", &replicas, "must be greater than or equal to 0");
        return Err(Failure::invalid(call.resource, call.name(), &[cause]));
    }
    let mut new = old.clone();
    map(&mut new, "spec").insert("replicas".into(), replicas);
    for field in ["resourceVersion", "uid"] {
        if let Some(value) = at(scale, &["metadata", field]) {
            object::meta(&mut new).insert(field.into(), value.clone());
        }
    }
    Ok(new)
}

/// The object as a `Scale`. Pure.
pub fn view(value: &Value) -> Value {
    let mut meta = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(v) = at(value, &["metadata", field]) {
            meta[field] = v.clone();
        }
    }
    let mut status = json!({"replicas": int(value, &["status", "replicas"])});
    let selector = match text(value, &["kind"]) {
        "ReplicationController" => json!({"matchLabels": value["spec"]["selector"]}),
        _ => value["spec"]["selector"].clone(),
    };
    if let Some(text) = model::selector_text(&selector) {
        status["selector"] = json!(text);
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta,
        "spec": {"replicas": int(value, &["spec", "replicas"])}, "status": status,
    })
}
