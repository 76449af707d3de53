//! `DELETE` of everything that a selector finds.

use bytes::Bytes;
use serde_json::{Value, json};

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
    let mut items: Vec<Value> = Vec::new();
    for entry in &found.entries {
        let (namespace, name) = (&entry.key.namespace, &entry.key.name);
        match delete::remove(&call.server, call.resource, namespace, name, &options).await {
            // What was found is shown, and not what became of it.
            Ok(_) => {
                let mut value = convert::from_stored(call.resource, storage::parse(&entry.value)?);
                list::without_kind(&mut value);
                items.push(value);
            }
            // Somebody else deleted it meanwhile, which is what was wanted.
            Err(failure) if failure.code == 404 => {}
            Err(failure) => return Err(failure),
        }
    }
    let list = json!({
        "kind": format!("{}List", call.resource.kind),
        "apiVersion": call.resource.api_version(),
        "metadata": {"resourceVersion": call.server.config.store.revision().to_string()},
        "items": items,
    });
    reply::value_in(200, &list, call.form)
}
