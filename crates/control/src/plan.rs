//! What a controller decides: writes so specific that the executor has no choices left, and why not more.
//!
//! Every write of an existing object carries the preconditions under which the decision was right.

use std::sync::Arc;

use serde_json::Value;

/// Names one object of one resource; `namespace` is empty for cluster-scoped resources.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// Plural with group, as in `deployments.apps` or `pods`.
    pub resource: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

/// The state in which a write is still right; the server answers 409 in any other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Precondition {
    pub uid: Option<Arc<str>>,
    pub resource_version: Option<Arc<str>>,
}

/// `propagationPolicy` of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// POST of `object` to the collection of `target`.
    Create { target: Target, object: Value },
    /// A merge patch; never a PUT, which would lose fields that the model does not know.
    Patch { target: Target, subresource: Option<&'static str>, patch: Value, only_if: Precondition },
    Delete { target: Target, only_if: Precondition, propagation: Propagation },
    /// POST to `pods/binding`.
    Bind { target: Target, uid: Arc<str>, node: Arc<str> },
    /// An Event about `target`.
    Event { target: Target, uid: Arc<str>, warning: bool, reason: &'static str, message: String },
}

/// The writes of one decision, in the order in which they are to be made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// Plan the key again at this time (seconds since the epoch) even if nothing changes.
    pub again_at: Option<i64>,
}

/// What waits, and on what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Report {
    pub waiting: Vec<String>,
}
