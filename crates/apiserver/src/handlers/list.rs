//! `GET` of many objects: chunked, selected, at a revision, as objects, metadata or a table.
//!
//! Without a selector and a conversion the stored bytes are copied into the answer and never decoded.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::{DecodeError, Engine};
use bytes::{BufMut, Bytes, BytesMut};
use dunlin_store::{Entry, Error, Key};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::handlers::{convert, emit, storage};
use crate::model::Selection;
use crate::negotiate::Shape;
use crate::options;
use crate::reply::{self, Reply};
use crate::server::Call;
use crate::table;

/// Objects are read from the store in pieces of this many when a selector may drop most of them.
const PIECE: usize = 500;

/// Everything that a list found.
pub struct Found {
    pub entries: Vec<Entry>,
    pub revision: u64,
    pub next: Option<Key>,
    pub remaining: Option<u64>,
}

pub async fn list(call: &mut Call) -> Result<Reply> {
    options::list(&call.query, false)?;
    let selection = Selection::of(call)?;
    let found = find(call, &selection).await?;
    let mut meta = json!({"resourceVersion": found.revision.to_string()});
    if let Some(next) = &found.next {
        meta["continue"] = json!(token(found.revision, next));
        if let Some(remaining) = found.remaining {
            meta["remainingItemCount"] = json!(remaining);
        }
    }
    let resource = &call.resource.clone();
    if resource.custom.is_some() && found.next.is_none() && call.form.shape == Shape::Whole {
        // Kubernetes writes lists of custom objects without leaving out what is empty.
        meta["continue"] = json!("");
    }
    match call.form.shape {
        Shape::Whole => {
            let kind = resource.list_kind();
            reply::bytes(
                200,
                document(call, &kind, &resource.api_version(), &meta, &found.entries).await?,
                call.form,
            )
        }
        Shape::Metadata(_) => {
            let why = format!(
                "you requested PartialObjectMetadata, but the requested object is a list (*{}List)",
                resource.go_type()
            );
            Err(Failure::new(406, "NotAcceptable", why))
        }
        Shape::MetadataList(version) => {
            let api_version = format!("meta.k8s.io/{version}");
            let items: Vec<Value> = found
                .entries
                .iter()
                .map(|e| Ok(emit::metadata(version, storage::parse(&e.value)?)))
                .collect::<Result<_>>()?;
            // Kubernetes makes the items of this list one by one, and so none of none.
            let items = if items.is_empty() { Value::Null } else { Value::Array(items) };
            let list = json!({
                "kind": "PartialObjectMetadataList", "apiVersion": api_version, "metadata": meta, "items": items,
            });
            reply::value_in(200, &list, call.form)
        }
        Shape::Table(version) => {
            let include = table::included(&call.query)?;
            let now = Timestamp::now();
            let values = found.entries.iter().map(|e| storage::parse(&e.value)).collect::<Result<_>>()?;
            let values = convert::all_shown(&call.server, resource, values).await?;
            let rows = values.iter().map(|value| table::row(resource, value, &include, now)).collect();
            reply::value_in(200, &table::document(resource, version, meta, rows, true), call.form)
        }
    }
}

async fn document(
    call: &Call,
    kind: &str,
    api_version: &str,
    meta: &Value,
    entries: &[Entry],
) -> Result<Bytes> {
    let converted = if convert::needed(&call.resource) {
        let values = entries.iter().map(|e| storage::parse(&e.value)).collect::<Result<_>>()?;
        convert::all_shown(&call.server, &call.resource, values).await?
    } else {
        Vec::new()
    };
    let (custom, mut converted) = (call.resource.custom.is_some(), converted.into_iter());
    let size: usize = entries.iter().map(|e| e.value.len() + 1).sum();
    let mut out = BytesMut::with_capacity(size + 256);
    out.put_slice(
        format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{meta},\"items\":[")
            .as_bytes(),
    );
    let prefix = storage::prefix(api_version, &call.resource.kind);
    for (i, entry) in entries.iter().enumerate() {
        if i > 0 {
            out.put_u8(b',');
        }
        // Custom objects say what they are even in a list.
        match (converted.next(), custom) {
            (Some(value), true) => out.put_slice(value.to_string().as_bytes()),
            (None, true) => out.put_slice(&entry.value),
            (Some(mut value), false) => {
                without_kind(&mut value);
                out.put_slice(value.to_string().as_bytes());
            }
            (None, false) => put_item(&mut out, &entry.value, &prefix)?,
        }
    }
    out.put_slice(b"]}");
    Ok(out.freeze())
}

/// Copies one object without its version and kind, which those of the list imply.
fn put_item(out: &mut BytesMut, stored: &[u8], prefix: &str) -> Result<()> {
    match stored.strip_prefix(prefix.as_bytes()) {
        Some(rest) => {
            out.put_u8(b'{');
            out.put_slice(rest);
        }
        // Written before the order of fields was settled.
        None => {
            let mut value = storage::parse(stored)?;
            without_kind(&mut value);
            out.put_slice(value.to_string().as_bytes());
        }
    }
    Ok(())
}

/// Takes version and kind out of an item of a list.
pub fn without_kind(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
}

/// Reads the wanted page.
pub async fn find(call: &Call, selection: &Selection) -> Result<Found> {
    let store = &call.server.config.store;
    let limit = usize::try_from(options::number(&call.query, "limit")?.unwrap_or(0)).unwrap_or(0);
    let (mut at, mut after) = (None, None);
    // Any revision will do, and then Kubernetes answers from its cache, which knows no pages.
    let any = call.query.get("resourceVersion") == Some("0") && call.query.get("continue").is_none();
    let limit = if any { 0 } else { limit };
    if let Some(text) = call.query.get("continue") {
        let (revision, key) = start(call, text)?;
        at = Some(revision);
        after = Some(key);
    } else if let Some(wanted) = options::revision(&call.query)
        .map_err(|e| Failure::bad_request(format!("invalid resource version: {}", e.message)))?
    {
        // What a client was told by another server may be news to this one.
        if wanted > store.revision() {
            store.sync().await.map_err(|e| storage::failed(&call.resource, "", e))?;
        }
        if wanted > store.revision() {
            let mut failure = Failure::new(
                504,
                "Timeout",
                format!("Too large resource version: {wanted}, current: {}", store.revision()),
            );
            failure.details = Some(Box::new(json!({
                "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                "retryAfterSeconds": 1,
            })));
            return Err(failure);
        }
        if call.query.get("resourceVersionMatch") == Some("Exact") {
            at = Some(wanted);
        }
    }
    // A store that others write to is not asked how far they are.
    let known = any && store.is_shared();
    let scope = selection.scope(call);
    let mut found = Found { entries: Vec::new(), revision: 0, next: None, remaining: None };
    loop {
        let want = match (selection.is_exact(), limit) {
            (_, 0) => 0,
            (true, limit) => limit - found.entries.len(),
            (false, limit) => limit.max(PIECE),
        };
        let moment = if known { Some(store.revision()) } else { at };
        let page = match store.list(&scope, after.as_ref(), want, moment).await {
            // It has changed since the line above: one more look.
            Err(Error::Expired { .. }) if known => continue,
            page => page.map_err(|e| storage::failed(&call.resource, "", e))?,
        };
        found.revision = page.revision;
        let more = page.next.is_some();
        let total = page.items.len();
        for (i, entry) in page.items.into_iter().enumerate() {
            after = Some(entry.key.clone());
            if selection.matches_bytes(&call.server, &call.resource, &entry).await? {
                found.entries.push(entry);
                if limit > 0 && found.entries.len() == limit {
                    if more || i + 1 < total {
                        found.next = after;
                        found.remaining = if selection.is_exact() { page.remaining } else { None };
                    }
                    return Ok(found);
                }
            }
        }
        if !more || limit == 0 {
            return Ok(found);
        }
        // Further pieces come from the same snapshot, so that the answer is of one moment.
        at = Some(found.revision);
    }
}

fn token(revision: u64, after: &Key) -> String {
    URL_SAFE_NO_PAD
        .encode(json!({"v": 1, "rv": revision, "ns": &*after.namespace, "n": &*after.name}).to_string())
}

fn start(call: &Call, text: &str) -> Result<(u64, Key)> {
    let invalid = |why: String| {
        Failure::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
    };
    let bad = || invalid("missing fields".to_owned());
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|e| {
        let at = match e {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
            DecodeError::InvalidLength(at) => at / 4 * 4,
            DecodeError::InvalidPadding => text.len(),
        };
        invalid(format!("illegal base64 data at input byte {at}"))
    })?;
    let (value, _) = dunlin_api::decode::parse(&bytes).map_err(|e| invalid(e.to_string()))?;
    let revision = value["rv"].as_u64().ok_or_else(bad)?;
    let key = crate::resources::key(
        &call.resource.stored,
        value["ns"].as_str().ok_or_else(bad)?,
        value["n"].as_str().ok_or_else(bad)?,
    );
    Ok((revision, key))
}
