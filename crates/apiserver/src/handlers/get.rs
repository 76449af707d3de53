//! `GET` of one object.

use crate::failure::{Failure, Result};
use crate::handlers::{emit, storage};
use crate::options;
use crate::reply::Reply;
use crate::server::Call;

pub async fn get(call: &mut Call) -> Result<Reply> {
    options::revision(&call.query)?;
    let key = call.resource.key(call.ns(), call.name());
    let found = call.server.config.store.get(&key).await;
    let entry = found
        .map_err(|e| storage::failed(&call.resource, call.name(), e))?
        .ok_or_else(|| Failure::not_found(&call.resource, call.name()))?;
    emit::stored(call, 200, entry.value).await
}
