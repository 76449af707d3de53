//! `POST`: a new object.

use bytes::Bytes;
use dunlin_store::{Error, Expect};
use serde_json::{Value, json};

use crate::admission::attributes::Operation;
use crate::admission::{self, dynamic, quota};
use crate::failure::{Failure, Result};
use crate::handlers::{convert, decode, emit, prepare, storage};
use crate::model;
use crate::object;
use crate::options;
use crate::reply::Reply;
use crate::server::Call;

pub async fn create(call: &mut Call, body: Bytes) -> Result<Reply> {
    options::write("CreateOptions", &call.query)?;
    let value = decode::body(call, &body)?;
    let bytes = insert(call, value, true).await?;
    emit::stored(call, 201, bytes).await
}

/// Defaults, admits, checks and stores a decoded object; gives back its stored bytes.
/// `track` is false when the caller has recorded field ownership already (server-side apply).
pub async fn insert(call: &mut Call, mut value: Value, track: bool) -> Result<Bytes> {
    let resource = &call.resource.clone();
    if resource.custom.as_ref().is_some_and(|c| c.going) {
        let text = "create not allowed while custom resource definition is terminating";
        return Err(Failure::new(405, "MethodNotAllowed", text));
    }
    prepare::namespace(call, &mut value)?;
    prepare::no_history(&mut value);
    model::defaults(resource, &mut value);
    prepare::owners_once(call, &mut value);
    if track {
        // What the server adds from here on is nobody's.
        let manager = call.manager();
        model::track(resource, None, &mut value, &manager, "");
    }
    let generated = prepare::identity(resource, &mut value)?;
    // An apply may say a revision, and makes the object all the same.
    if track {
        prepare::no_revision(&value)?;
    }
    shape(call, &mut value, generated).await?;
    prepare::new_object(resource, &mut value);
    let admitted = admission::create(call, &mut value).await?;
    let causes = model::validate_create(resource, &value);
    if !causes.is_empty() {
        admission::undo(call, &admitted);
        return Err(Failure::invalid(resource, object::name(&value), &causes));
    }
    if let Err(failure) = judge(call, &value).await {
        admission::undo(call, &admitted);
        return Err(failure);
    }
    if call.dry_run() {
        admission::undo(call, &admitted);
        if call.server.find(resource, call.ns(), object::name(&value)).await?.is_some() {
            return Err(Failure::already_exists(resource, object::name(&value)));
        }
        return Ok(Bytes::from(
            serde_json::to_vec(&convert::stored(&call.server, resource, value).await?).unwrap_or_default(),
        ));
    }
    let mut attempt = 0;
    loop {
        let name = object::name(&value).to_owned();
        let stored = match convert::stored(&call.server, resource, value.clone()).await {
            Ok(stored) => stored,
            Err(failure) => {
                admission::undo(call, &admitted);
                return Err(failure);
            }
        };
        match call.server.save(resource, Expect::Absent, stored).await {
            Ok(entry) => {
                admission::created(call, &value).await?;
                return Ok(entry.value);
            }
            Err(Error::Exists { .. } | Error::Conflict { .. }) if generated && attempt < 8 => {
                attempt += 1;
                let base = object::text(&value, &["metadata", "generateName"]).to_owned();
                object::meta(&mut value).insert("name".into(), json!(prepare::generated(&base)));
            }
            Err(Error::Exists { .. } | Error::Conflict { .. }) => {
                admission::undo(call, &admitted);
                let mut failure = Failure::already_exists(resource, &name);
                let there = call.server.find(resource, call.ns(), &name).await?;
                let going = |v: &Value| !object::text(v, &["metadata", "deletionTimestamp"]).is_empty();
                if there.is_some_and(|there| going(&there.value)) {
                    failure.message = format!("object is being deleted: {}", failure.message);
                }
                return Err(failure);
            }
            Err(error) => {
                admission::undo(call, &admitted);
                return Err(storage::failed(resource, &name, error));
            }
        }
    }
}

/// Lets the built-in rules and what is configured complete the object. A name that was generated is not shown to what is
/// configured, as in Kubernetes, which generates names later.
async fn shape(call: &mut Call, value: &mut Value, generated: bool) -> Result<()> {
    let resource = &call.resource.clone();
    admission::admit(call, value).await?;
    if !dynamic::concerns(call) {
        return Ok(());
    }
    let name = generated.then(|| object::meta(value).remove("name")).flatten();
    let mut rounds = dynamic::Rounds::default();
    while dynamic::mutate(call, Operation::Create, None, value, &mut rounds).await? {
        admission::admit(call, value).await?;
    }
    if let Some(name) = name
        && object::name(value).is_empty()
    {
        object::meta(value).insert("name".into(), name);
    }
    prepare::namespace(call, value)?;
    prepare::owners_once(call, value);
    prepare::identity(resource, value)?;
    Ok(())
}

/// What is judged of a valid object; a quota gives last, because what is refused after it would have cost something.
async fn judge(call: &mut Call, value: &Value) -> Result<()> {
    admission::judge(call, None, value, "").await?;
    dynamic::validate(call, Operation::Create, None, value).await?;
    quota::create(call, value).await
}
