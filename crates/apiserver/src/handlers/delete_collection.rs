//! `DELETE` of everything that a selector finds.

use bytes::Bytes;
use serde_json::json;

use crate::failure::Result;
use crate::handlers::delete::{self, Options};
use crate::handlers::{convert, list, storage};
use crate::model::Selection;
use crate::reply::{self, Reply};
use crate::server::Call;

pub async fn delete_collection(call: &mut Call, body: Bytes) -> Result<Reply> {
    let options = Options::read(call, &body)?;
    let selection = Selection::of(call)?;
    let found = list::find(call, &selection).await?;
    let mut items = Vec::with_capacity(found.entries.len());
    let (server, resource) = (call.server.clone(), call.resource.clone());
    for entry in &found.entries {
        let (namespace, name) = (&entry.key.namespace, &entry.key.name);
        match delete::remove(&server, &resource, namespace, name, &options, Some(call)).await {
            // What was found is shown, and not what became of it.
            Ok(_) => items.push(storage::parse(&entry.value)?),
            // Somebody else deleted it meanwhile, which is what was wanted.
            Err(failure) if failure.code == 404 => {}
            Err(failure) => return Err(failure),
        }
    }
    let mut items = convert::all_shown(&call.server, &call.resource, items).await?;
    if call.resource.custom.is_none() {
        items.iter_mut().for_each(list::without_kind);
    }
    let mut list = json!({
        "kind": call.resource.list_kind(),
        "apiVersion": call.resource.api_version(),
        "metadata": {"resourceVersion": call.server.config.store.revision().to_string()},
        "items": items,
    });
    if call.resource.custom.is_some() {
        list["metadata"]["continue"] = json!("");
    }
    reply::value_in(200, &list, call.form)
}
