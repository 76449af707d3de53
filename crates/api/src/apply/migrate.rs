//! From `kubectl apply` to `kubectl apply --server-side`: what kubectl has applied before, by itself, it may change without
//! a conflict, and the note that it keeps about that follows what it applies now.

use serde_json::Value;

use super::conflict::Conflicts;
use super::update;
use super::walk;
use crate::schema::Node;

/// The manager whose applies are meant.
pub(super) const KUBECTL: &str = "kubectl";
/// The annotation in which kubectl keeps what it applied.
const NOTE: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn last(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("annotations")?.get(NOTE)?.as_str()
}

/// The conflicts that are none of kubectl's own: all but those about fields that still have the value that it applied.
/// `None` if there are no others.
pub(super) fn remaining(root: Node<'_>, live: &Value, conflicts: Conflicts) -> Option<Conflicts> {
    let own = || {
        let config: Value = serde_json::from_str(last(live)?).ok()?;
        let set = walk::field_set(root, &config).ok()?;
        let changes = update::compare(root, live, &config);
        Some(set.difference(&changes.written()).difference(&changes.removed).paths())
    };
    let own = own().unwrap_or_default();
    let left: Vec<_> = conflicts.iter().filter(|c| !own.contains(&c.path)).cloned().collect();
    (!left.is_empty()).then(|| Conflicts::new(left))
}

/// Writes down what is applied now, if something was written down before.
pub(super) fn note(live: &Value, config: &Value, new: &mut Value) {
    if last(live).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(Value::Object(notes)) = config.pointer_mut("/metadata/annotations") {
        notes.remove(NOTE);
    }
    if let Some(Value::Object(notes)) = new.pointer_mut("/metadata/annotations") {
        notes.insert(NOTE.to_owned(), format!("{config}\n").into());
    }
}
