//! Changing a stored object: read, change, check, write if nobody was faster, else again.
//!
//! The change is a function of the present state, so that it can be applied again to a newer one. A client that names a
//! `resourceVersion` is told about the conflict instead, because its change was made against that very state.

use bytes::Bytes;
use dunlin_store::{Entry, Error, Expect};
use serde_json::{Value, json};

use crate::admission::attributes::Operation;
use crate::admission::{self, dynamic};
use crate::failure::{Cause, Failure, Result};
use crate::handlers::{convert, prepare, storage};
use crate::model;
use crate::object;
use crate::server::Call;
use crate::subresource::scale;

/// How often a change is tried again before the client hears of the conflict.
const ATTEMPTS: usize = 8;

/// Applies `change` to the object of the call. `track` is false when `change` records field ownership itself.
pub async fn modify<F>(call: &mut Call, track: bool, mut change: F) -> Result<Bytes>
where
    F: FnMut(&mut Call, &Value) -> Result<Value> + Send,
{
    for _ in 0..ATTEMPTS {
        let stored = call.server.read(&call.resource, call.ns(), call.name()).await?;
        let new = change(call, &stored.value)?;
        if let Some(bytes) = commit(call, stored, new, track).await? {
            return Ok(bytes);
        }
    }
    Err(Failure::modified(&call.resource, call.name()))
}

/// Checks and writes one changed state. `None` means that somebody else was faster.
pub async fn commit(
    call: &mut Call,
    stored: storage::Stored,
    mut new: Value,
    track: bool,
) -> Result<Option<Bytes>> {
    let resource = &call.resource.clone();
    let sub = call.sub.clone().unwrap_or_default();
    let old = stored.value;
    prepare::same_object(call, &old, &mut new)?;
    model::defaults(resource, &mut new);
    prepare::owners_once(call, &mut new);
    if track {
        let manager = call.manager();
        model::track(resource, Some(&old), &mut new, &manager, &sub);
    }
    shape(call, &old, &mut new, &sub).await?;
    prepare::isolate(resource, &sub, &old, &mut new);
    let admitted = admission::update(call, &old, &mut new, &sub).await?;
    let result = store(call, &stored.entry, &old, new).await;
    if !matches!(result, Ok(Stored::Written(_))) {
        admission::undo(call, &admitted);
    }
    Ok(match result? {
        Stored::Written(bytes) | Stored::Shown(bytes) => Some(bytes),
        Stored::Late => None,
    })
}

/// What became of a changed state.
enum Stored {
    Written(Bytes),
    /// Nothing was to write, or nothing was meant to be.
    Shown(Bytes),
    /// Somebody else was faster.
    Late,
}

async fn store(call: &mut Call, entry: &Entry, old: &Value, mut new: Value) -> Result<Stored> {
    let resource = &call.resource.clone();
    let sub = call.sub.clone().unwrap_or_default();
    let causes = model::validate_update(resource, &new, old, &sub);
    if !causes.is_empty() {
        return Err(Failure::invalid(resource, call.name(), &causes));
    }
    admission::judge(call, Some(old), &new, &sub).await?;
    prepare::generation(resource, old, &mut new);
    judge(call, old, &new, &sub).await?;
    if prepare::unchanged(old, &new) && !is_over(&new) {
        return Ok(Stored::Shown(entry.value.clone()));
    }
    if call.dry_run() {
        let bytes =
            serde_json::to_vec(&convert::stored(&call.server, resource, new).await?).unwrap_or_default();
        return Ok(Stored::Shown(Bytes::from(bytes)));
    }
    let kept = new.clone();
    let over = is_over(&new);
    let new = convert::stored(&call.server, resource, new).await?;
    let written = if over {
        call.server.remove(resource, entry, new).await
    } else {
        let saved = call.server.save(resource, Expect::Revision(entry.revision), new).await;
        if saved.is_ok() {
            admission::changed(call, old, &kept).await?;
        }
        saved
    };
    match written {
        Ok(entry) => Ok(Stored::Written(entry.value)),
        Err(Error::Conflict { .. }) => Ok(Stored::Late),
        Err(error) => Err(storage::failed(resource, call.name(), error)),
    }
}

/// Whether what is configured sees the change as one of the object. A binding is a thing of its own, and seen before.
fn is_seen(call: &Call, sub: &str) -> bool {
    sub != "binding" && dynamic::concerns(call)
}

/// Lets what is configured change the new state, or the `Scale` through which it came.
async fn shape(call: &mut Call, old: &Value, new: &mut Value, sub: &str) -> Result<()> {
    if !is_seen(call, sub) {
        return Ok(());
    }
    let mut rounds = dynamic::Rounds::default();
    if sub == "scale" {
        let before = scale::view(&call.resource, old);
        let mut after = scale::view(&call.resource, new);
        while dynamic::mutate(call, Operation::Update, Some(&before), &mut after, &mut rounds).await? {}
        scale::put(&call.resource, new, &after);
        return Ok(());
    }
    while dynamic::mutate(call, Operation::Update, Some(old), new, &mut rounds).await? {}
    if object::name(new) != call.name() {
        // Kubernetes finds it twice.
        let cause = Cause::value("metadata.name", &json!(object::name(new)), "field is immutable");
        return Err(Failure::invalid(&call.resource, object::name(new), &[cause.clone(), cause]));
    }
    prepare::same_object(call, old, new)?;
    prepare::owners_once(call, new);
    Ok(())
}

/// What is configured judges the change.
async fn judge(call: &mut Call, old: &Value, new: &Value, sub: &str) -> Result<()> {
    if !is_seen(call, sub) {
        return Ok(());
    }
    if sub == "scale" {
        let (old, new) = (scale::view(&call.resource, old), scale::view(&call.resource, new));
        return dynamic::validate(call, Operation::Update, Some(&old), &new).await;
    }
    dynamic::validate(call, Operation::Update, Some(old), new).await
}

/// Whether an object that is being deleted has nothing left to wait for.
pub fn is_over(value: &Value) -> bool {
    let empty = |path: &[&str]| object::list(value, path).is_empty();
    let held = object::text(value, &["kind"]) == "Namespace" && !empty(&["spec", "finalizers"]);
    let marked = !object::text(value, &["metadata", "deletionTimestamp"]).is_empty();
    let grace = object::int(value, &["metadata", "deletionGracePeriodSeconds"]);
    marked && !held && grace == 0 && empty(&["metadata", "finalizers"])
}
