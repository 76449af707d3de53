//! What a controller decides: writes so specific that the executor has no choices left, and why not more.
//!
//! Every write of an existing object carries the preconditions under which the decision was right.

use std::sync::Arc;

use serde_json::Value;

pub use crate::model::Key;

/// The state in which a write is still right; the server answers 409 in any other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Precondition {
    pub uid: Option<Arc<str>>,
    pub resource_version: Option<Arc<str>>,
}

impl Precondition {
    /// Right for this object whatever its state, and for no other of the same name.
    pub fn uid(uid: &Arc<str>) -> Self {
        Self { uid: Some(uid.clone()), resource_version: None }
    }

    /// Right only if nothing changed since the object was read.
    pub fn unchanged(meta: &crate::model::Meta) -> Self {
        Self { uid: Some(meta.uid.clone()), resource_version: Some(meta.resource_version.clone()) }
    }
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
    /// POST of `object` to the collection of `resource` in `namespace`.
    Create {
        resource: Arc<str>,
        namespace: Arc<str>,
        object: Value,
    },
    /// A merge patch; never a PUT, which would lose fields that the model does not know.
    Patch {
        target: Key,
        subresource: Option<&'static str>,
        patch: Value,
        only_if: Precondition,
    },
    Delete {
        target: Key,
        only_if: Precondition,
        propagation: Propagation,
        grace: Option<i64>,
    },
    /// DELETE of a whole collection, for namespaces that end.
    DeleteAll {
        resource: Arc<str>,
        namespace: Arc<str>,
    },
    /// POST to `pods/binding`.
    Bind {
        target: Key,
        uid: Arc<str>,
        node: Arc<str>,
    },
    /// An Event about `target`, which has `uid` ("" if it has none any more).
    Event {
        target: Key,
        uid: Arc<str>,
        warning: bool,
        reason: Arc<str>,
        message: String,
        component: &'static str,
    },
}

/// The writes of one decision. Creates, patches and deletes of one plan may be made in any order and at once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// What the plan takes to be gone: the object of this name, or the one with this uid. Whoever executes the plan asks
    /// the API server first, since an informer may be behind, and does nothing if it is there after all.
    pub absent: Vec<(Key, Option<Arc<str>>)>,
    /// Plan the key again at this time (seconds since the epoch) even if nothing changes.
    pub again_at: Option<i64>,
}

impl Plan {
    pub fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Asks to be planned again at `at`, or earlier if that was asked for before.
    pub fn again_at(&mut self, at: i64) {
        self.again_at = Some(self.again_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// What waits, and on what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Report {
    pub waiting: Vec<String>,
}

impl Report {
    pub fn waits(&mut self, what: impl Into<String>) {
        self.waiting.push(what.into());
    }
}
