//! Single objects in the form that was asked for.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::failure::Result;
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
        Shape::Table(version) => {
            let include = call.query.get("includeObject").unwrap_or("Metadata").to_owned();
            let meta =
                json!({"resourceVersion": crate::object::text(&value, &["metadata", "resourceVersion"])});
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
