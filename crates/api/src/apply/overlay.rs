//! A part of an object laid over it by somebody who does not come to own anything: what mutating policies do.

use serde_json::Value;

use super::{check, update};
use crate::schema::{ListType, Node};

/// Merges a configuration into an object as an apply would, but records nothing. What is replaced as one may not be in it,
/// since an expression that meant to change a part would lose the rest.
///
/// # Errors
/// In the words of Kubernetes, when the configuration does not fit the kind.
pub fn overlay(root: Node<'_>, live: &Value, config: &Value) -> Result<Value, String> {
    if let Some(complaint) = check::complaint(root, config) {
        return Err(format!("failed to convert patch object to typed object: {complaint}"));
    }
    let mut found = Vec::new();
    atomics(root, config, &mut String::new(), &mut found);
    if !found.is_empty() {
        return Err(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}",
            found.join(", ")
        ));
    }
    Ok(update::merge(root, live, config))
}

fn atomics(node: Node<'_>, value: &Value, path: &mut String, found: &mut Vec<String>) {
    let before = path.len();
    match value {
        Value::Object(fields) => {
            if node.is_atomic_map() {
                found.push(path.clone());
            }
            for (name, below) in fields.iter().filter(|(name, _)| node.declares(name)) {
                path.push('.');
                path.push_str(name);
                atomics(node.field(name).unwrap_or(Node::Unknown), below, path, found);
                path.truncate(before);
            }
        }
        Value::Array(items) => {
            if node.list_type() == ListType::Atomic {
                found.push(path.clone());
            }
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                atomics(node.item(), item, path, found);
                path.truncate(before);
            }
        }
        _ => {}
    }
}
