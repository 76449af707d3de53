//! Single objects in the form that was asked for.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::handlers::{convert, storage};
use crate::negotiate::Shape;
use crate::reply::{self, Reply};
use crate::server::Call;
use crate::table;

/// An object from its stored bytes; they are sent as they are when nothing has to change.
pub async fn stored(call: &Call, code: u16, bytes: Bytes) -> Result<Reply> {
    if call.form.shape == Shape::Whole && !convert::needed(&call.resource) {
        return reply::bytes(code, bytes, call.form);
    }
    value(call, code, convert::shown(&call.server, &call.resource, storage::parse(&bytes)?).await?)
}

/// An object from its value.
pub fn value(call: &Call, code: u16, value: Value) -> Result<Reply> {
    let shown = match call.form.shape {
        Shape::Whole => value,
        Shape::Metadata(version) => metadata(version, value),
        Shape::MetadataList(_) => {
            let why = format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list (*{})",
                call.resource.go_type()
            );
            return Err(Failure::new(406, "NotAcceptable", why));
        }
        Shape::Table(version) => {
            let include = table::included(&call.query)?;
            let mut meta = json!({});
            let version_of = crate::object::text(&value, &["metadata", "resourceVersion"]);
            if !version_of.is_empty() {
                meta["resourceVersion"] = json!(version_of);
            }
            let row = table::row(&call.resource, &value, &include, Timestamp::now());
            table::document(&call.resource, version, meta, vec![row], true)
        }
    };
    reply::value_in(code, &shown, call.form)
}

/// The metadata alone.
pub fn metadata(version: &str, mut value: Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": value.get_mut("metadata").map(Value::take).unwrap_or_default(),
    })
}
