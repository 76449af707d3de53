//! `PUT`: a whole new state.

use bytes::Bytes;

use crate::failure::Result;
use crate::handlers::{create, decode, emit, modify, prepare};
use crate::options;
use crate::reply::Reply;
use crate::server::Call;

pub async fn update(call: &mut Call, body: Bytes) -> Result<Reply> {
    options::write("UpdateOptions", &call.query)?;
    let value = decode::body(call, &body)?;
    prepare::named(call, &value)?;
    if call.sub.is_none()
        && creates_on_update(call)
        && call.server.find(&call.resource, call.ns(), call.name()).await?.is_none()
    {
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
            | "limitranges"
            | "services"
            | "roles.rbac.authorization.k8s.io"
            | "rolebindings.rbac.authorization.k8s.io"
            | "clusterroles.rbac.authorization.k8s.io"
            | "clusterrolebindings.rbac.authorization.k8s.io"
            | "runtimeclasses.node.k8s.io"
    )
}
