//! Nodes write about themselves only, also where the path does not say whom a write is about.

use serde_json::Value;

use crate::auth::node::node_of;
use crate::failure::{Failure, Result};
use crate::object::{self, text};
use crate::server::Call;

pub fn create(call: &Call, value: &Value) -> Result<()> {
    let Some(node) = node_of(&call.user) else { return Ok(()) };
    let subject = match (call.resource.group, call.resource.plural) {
        ("", "nodes") | ("coordination.k8s.io", "leases") | ("storage.k8s.io", "csinodes") => {
            object::name(value)
        }
        ("", "pods") => text(value, &["spec", "nodeName"]),
        _ => return Ok(()),
    };
    if subject == node {
        return Ok(());
    }
    let why = format!("node {node:?} is not allowed to create {} of others", call.resource.plural);
    Err(Failure::forbidden(call.resource, object::name(value), &why))
}

pub fn update(call: &Call) -> Result<()> {
    match node_of(&call.user) {
        Some(node) if node != call.name() => {
            let why = format!("node {node:?} is not allowed to modify node {:?}", call.name());
            Err(Failure::forbidden(call.resource, call.name(), &why))
        }
        _ => Ok(()),
    }
}
