//! Binding a pod to a node: once, and for good.

use bytes::Bytes;
use dunlin_api::gvk::GroupVersionKind;
use serde_json::{Value, json};

use crate::admission::attributes::Operation;
use crate::admission::dynamic;
use crate::failure::{Failure, Result, created};
use crate::handlers::{decode, modify, prepare};
use crate::object::{self, at, list, map, text};
use crate::reply::{self, Reply};
use crate::resources::known;
use crate::server::Call;
use crate::time;

fn kind() -> GroupVersionKind {
    GroupVersionKind::new("", "v1", "Binding")
}

/// `POST .../pods/x/binding`.
pub async fn bind(call: &mut Call, body: Bytes) -> Result<Reply> {
    let value = decode::object_of(call, &kind(), &body)?;
    apply(call, value).await
}

/// `POST .../bindings`, where the binding's own name is the pod's.
pub async fn bind_named(call: &mut Call, value: Value) -> Result<Reply> {
    call.resource = known("", "pods").clone();
    call.name = Some(object::name(&value).to_owned());
    call.sub = Some("binding".to_owned());
    apply(call, value).await
}

async fn apply(call: &mut Call, mut binding: Value) -> Result<Reply> {
    prepare::namespace(call, &mut binding)?;
    let manager = call.manager();
    dunlin_api::apply::track_update(&kind(), None, &mut binding, &manager, "binding", &time::now());
    let mut rounds = dynamic::Rounds::default();
    while dynamic::mutate(call, Operation::Create, None, &mut binding, &mut rounds).await? {}
    let node = text(&binding, &["target", "name"]).to_owned();
    if node.is_empty() {
        return Err(Failure::bad_request("Binding is invalid: target.name: Required value"));
    }
    let kind = text(&binding, &["target", "kind"]);
    if !matches!(kind, "" | "Node") {
        return Err(Failure::bad_request(
            "Binding is invalid: target.kind: Unsupported value: supported values: \"Node\"",
        ));
    }
    dynamic::validate(call, Operation::Create, None, &binding).await?;
    let uid = object::uid(&binding).to_owned();
    modify::modify(call, false, move |call, old| {
        if !uid.is_empty() && uid != object::uid(old) {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                object::uid(old)
            );
            return Err(Failure::conflict(&call.resource, call.name(), &why));
        }
        let conflict = |why: String| {
            let text = format!("Operation cannot be fulfilled on pods/binding {:?}: {why}", call.name());
            Failure { details: None, ..Failure::new(409, "Conflict", text) }
        };
        if !text(old, &["metadata", "deletionTimestamp"]).is_empty() {
            return Err(conflict(format!(
                "pod {} is being deleted, cannot be assigned to a host",
                call.name()
            )));
        }
        let held = text(old, &["spec", "nodeName"]);
        if !held.is_empty() {
            return Err(conflict(format!("pod {} is already assigned to node {held:?}", call.name())));
        }
        if !list(old, &["spec", "schedulingGates"]).is_empty() {
            return Err(conflict(format!("pod {} has non-empty .spec.schedulingGates", call.name())));
        }
        let mut new = old.clone();
        map(&mut new, "spec").insert("nodeName".into(), json!(node));
        for (key, value) in
            at(&binding, &["metadata", "annotations"]).and_then(Value::as_object).into_iter().flatten()
        {
            let notes = object::meta(&mut new).entry("annotations").or_insert_with(|| json!({}));
            notes[key] = value.clone();
        }
        scheduled(&mut new);
        Ok(new)
    })
    .await?;
    reply::value_in(201, &created(), call.form)
}

/// Notes in the status that a place was found.
fn scheduled(pod: &mut Value) {
    let status = map(pod, "status");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if let Some(conditions) = conditions.as_array_mut() {
        conditions.retain(|c| text(c, &["type"]) != "PodScheduled");
        conditions.push(json!({
            "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": time::now(),
        }));
    }
}
