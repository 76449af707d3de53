//! The words of the store: keys, entries, writes, scopes, events, and the trait itself.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::{Error, Watch};

/// A moment in the store's history. Grows with every change, never goes backwards, and may skip numbers.
pub type Revision = u64;

/// What names an entry. Ordered by resource, then namespace, then name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The resource with its group, as `pods` or `deployments.apps`.
    pub resource: Arc<str>,
    /// The namespace; empty for what belongs to the whole cluster.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl Key {
    /// A key from its three parts.
    pub fn new(
        resource: impl Into<Arc<str>>,
        namespace: impl Into<Arc<str>>,
        name: impl Into<Arc<str>>,
    ) -> Self {
        Self { resource: resource.into(), namespace: namespace.into(), name: name.into() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{}/{}", self.resource, self.name)
        } else {
            write!(f, "{}/{}/{}", self.resource, self.namespace, self.name)
        }
    }
}

/// What the writer believes about the entry; the write fails if that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// There is none. Otherwise [`Error::Exists`].
    Absent,
    /// It was last changed at this revision. Otherwise [`Error::Conflict`], or [`Error::NotFound`] if there is none.
    Revision(Revision),
    /// Anything. A deletion of what is not there is still [`Error::NotFound`].
    Any,
}

/// How long an entry has to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Acknowledged only when it survives a power cut.
    Durable,
    /// Kept in memory, and gone after a restart, where the store is one server's own.
    Ephemeral,
}

/// Makes the bytes of a value for its revision. Runs on the store's writing thread: it must be quick, and must not call
/// the store. The revision may stand in the bytes a few times, in decimal digits, and in no other form: a backend may
/// call this before it knows the revision, with a number that no data holds, and put the true one in its place.
pub type Encode = Box<dyn FnOnce(Revision) -> Bytes + Send>;

/// What a write does.
pub enum Change {
    /// Creates or replaces the entry.
    Put(Encode),
    /// Removes the entry; the bytes are its last state, for the event.
    Delete(Encode),
}

/// One write.
pub struct Write {
    /// What is written.
    pub key: Key,
    /// The precondition.
    pub expect: Expect,
    /// How long the entry shall live. A deletion is as durable as the entry it removes.
    pub class: Class,
    /// What the entry is indexed by for scopes with a tag (`spec.nodeName` of pods). Ignored by a deletion.
    pub tag: Option<Arc<str>>,
    /// What is done.
    pub change: Change,
}

/// An entry as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub key: Key,
    /// When it was last changed.
    pub revision: Revision,
    /// Its index value.
    pub tag: Option<Arc<str>>,
    /// Its bytes.
    pub value: Bytes,
}

/// Which entries a list or a watch is about. Each part that is set narrows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The resource.
    pub resource: Arc<str>,
    /// Only this namespace.
    pub namespace: Option<Arc<str>>,
    /// Only this name.
    pub name: Option<Arc<str>>,
    /// Only entries with this tag. A watch also sees the change by which an entry leaves the tag.
    pub tag: Option<Arc<str>>,
}

impl Scope {
    /// Every entry of a resource.
    pub fn resource(resource: impl Into<Arc<str>>) -> Self {
        Self { resource: resource.into(), namespace: None, name: None, tag: None }
    }

    /// Whether an entry belongs to the scope.
    pub fn contains(&self, key: &Key, tag: Option<&Arc<str>>) -> bool {
        self.names(key) && (self.tag.is_none() || self.tag.as_ref() == tag)
    }

    /// Whether a change concerns the scope: the entry belongs to it now, or did before.
    pub fn concerns(&self, event: &Event) -> bool {
        self.names(&event.key)
            && (self.tag.is_none()
                || self.tag == event.tag
                || (event.old.is_some() && self.tag == event.old_tag))
    }

    fn names(&self, key: &Key) -> bool {
        self.resource == key.resource
            && self.namespace.as_ref().is_none_or(|n| *n == key.namespace)
            && self.name.as_ref().is_none_or(|n| *n == key.name)
    }
}

/// A piece of a list.
#[derive(Debug, Clone)]
pub struct Page {
    /// The entries, in key order.
    pub items: Vec<Entry>,
    /// The moment the list shows.
    pub revision: Revision,
    /// The last key of this page if more follow: give it as `after`, with `at` = `revision`.
    pub next: Option<Key>,
    /// How many follow this page, where that is known (not for scopes with a tag).
    pub remaining: Option<u64>,
}

/// Whether an event put or removed its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Created (no old value) or replaced.
    Put,
    /// Removed.
    Delete,
}

/// One change, as watchers see it.
#[derive(Debug, Clone)]
pub struct Event {
    /// When.
    pub revision: Revision,
    /// What.
    pub key: Key,
    /// The tag after the change; of a deletion, the last one.
    pub tag: Option<Arc<str>>,
    /// The value before, if there was one.
    pub old: Option<Bytes>,
    /// The tag before.
    pub old_tag: Option<Arc<str>>,
    /// What happened.
    pub change: EventKind,
    /// The value after; of a deletion, the last state.
    pub value: Bytes,
}

/// Where objects live. Its futures may be dropped at any time; a write whose future is dropped may still happen.
pub trait Store: Send + Sync + 'static {
    /// Makes one change; gives back the entry as written (of a deletion: its last state).
    ///
    /// # Errors
    /// When the precondition is wrong or the backend cannot make it durable. After [`Error::Io`] the change may or
    /// may not be there after a restart; until then it is not.
    fn write(&self, write: Write) -> BoxFuture<'_, Result<Entry, Error>>;

    /// The entry as it is now.
    fn get(&self, key: &Key) -> BoxFuture<'_, Result<Option<Entry>, Error>>;

    /// Up to `limit` (0: all) entries after the key `after`, as they were at `at` (or are now).
    ///
    /// # Errors
    /// [`Error::Expired`] when that moment is no longer kept.
    fn list(
        &self,
        scope: &Scope,
        after: Option<&Key>,
        limit: usize,
        at: Option<Revision>,
    ) -> BoxFuture<'_, Result<Page, Error>>;

    /// Waits until readers here see everything that any server was told is written. `get`, and `list` of the present,
    /// do so themselves.
    ///
    /// # Errors
    /// When the backend cannot say.
    fn sync(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Whether other servers write to the same place.
    fn is_shared(&self) -> bool {
        false
    }

    /// Whether the backend has answered lately.
    fn is_healthy(&self) -> bool {
        true
    }

    /// The newest revision that readers can see.
    fn revision(&self) -> Revision;

    /// Every change of the scope with a revision above `after` (or from now on), in order, none left out.
    ///
    /// # Errors
    /// [`Error::Expired`] when changes after that revision are no longer kept, or it was never reached.
    fn watch(&self, scope: Scope, after: Option<Revision>) -> Result<Watch, Error>;
}
