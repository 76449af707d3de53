//! `namespaces/x/finalize`: the only way to change `spec.finalizers`.

use bytes::Bytes;
use serde_json::json;

use crate::failure::Result;
use crate::handlers::{decode, emit, modify};
use crate::object::{list, map, meta};
use crate::reply::Reply;
use crate::server::Call;

pub async fn update(call: &mut Call, body: Bytes) -> Result<Reply> {
    let value = decode::body(call, &body)?;
    let bytes = modify::modify(call, false, move |_, old| {
        let mut new = value.clone();
        map(&mut new, "spec").insert("finalizers".into(), json!(list(&value, &["spec", "finalizers"])));
        if let Some(managed) = old["metadata"].get("managedFields") {
            meta(&mut new).insert("managedFields".into(), managed.clone());
        }
        Ok(new)
    })
    .await?;
    emit::stored(call, 200, bytes).await
}
