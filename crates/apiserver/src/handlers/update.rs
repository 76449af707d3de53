//! `PUT`: a whole new state.

use bytes::Bytes;

use crate::failure::{Failure, Result};
use crate::handlers::{create, decode, emit, modify};
use crate::object;
use crate::reply::Reply;
use crate::server::Call;

pub async fn update(call: &mut Call, body: Bytes) -> Result<Reply> {
    let value = decode::syntax(call, &body)?;
    let value = decode::object(call, value)?;
    if call.sub.is_none()
        && creates_on_update(call)
        && call.server.find(&call.resource, call.ns(), call.name()).await?.is_none()
    {
        if object::name(&value) != call.name() {
            return Err(Failure::bad_request("the name of the object does not match the name on the URL"));
        }
        let bytes = create::insert(call, value, true).await?;
        return emit::stored(call, 201, bytes).await;
    }
    let bytes = modify::modify(call, true, move |_, _| Ok(value.clone())).await?;
    emit::stored(call, 200, bytes).await
}

/// A few kinds may be created by `PUT`, as in Kubernetes.
fn creates_on_update(call: &Call) -> bool {
    matches!(
        &*call.resource.stored,
        "events"
            | "leases.coordination.k8s.io"
            | "endpoints"
            | "endpointslices.discovery.k8s.io"
            | "limitranges"
    )
}
