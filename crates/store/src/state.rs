//! What readers see: the newest snapshot, the hub, the pinned snapshots, and the rule of what can be resumed.
//!
//! Backends change a copy of the snapshot, make it durable, and publish copy and events here in one step, so that
//! nobody ever sees a change that a power cut could take back.
//!
//! Resuming over a restart. A store that starts knows two numbers. `durable` is the revision of the last change that
//! reached the disk, deletions included; `start` lies above every revision that was ever handed out. Between them the
//! old process can only have made ephemeral changes. So a watcher that had reached `durable` has missed no durable
//! change and goes on, although the ring is empty. Resources that have held ephemeral entries (the file remembers
//! which, once per resource) are the exception: their entries vanished without an event, so a watch from before
//! `start` must list again.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::hub::Hub;
use crate::index::Snapshot;
use crate::pins::Pins;
use crate::{Entry, Error, Event, Key, Page, Revision, Scope, Watch};

/// What the store may keep in memory besides the entries.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Recent changes for watchers that resume, in bytes of old and new values. Most values are also held by the map
    /// or by the next change of the same entry, so the real cost is lower.
    pub history_bytes: usize,
    /// Changes that wait for one watcher before it has lagged. A queue holds references, not copies.
    pub watch_queue: usize,
    /// Snapshots kept for lists that are read in pages.
    pub snapshots: usize,
    /// How long such a snapshot is kept after its last page was read. Kubernetes clients expect five minutes.
    pub snapshot_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            history_bytes: 4 << 20,
            watch_queue: 1024,
            snapshots: 64,
            snapshot_age: Duration::from_secs(300),
        }
    }
}

/// What a backend knows when it starts.
#[derive(Debug, Default)]
pub(crate) struct Start {
    pub entries: Snapshot,
    pub durable: Revision,
    pub start: Revision,
    /// Resources that may have lost ephemeral entries.
    pub ephemeral: HashSet<Arc<str>>,
}

pub(crate) struct State {
    inner: Mutex<Inner>,
    revision: Arc<AtomicU64>,
    start: Revision,
    ephemeral: HashSet<Arc<str>>,
}

struct Inner {
    now: Snapshot,
    /// Since when nothing has changed but what the hub knows.
    durable: Revision,
    hub: Hub,
    pins: Pins,
}

impl State {
    pub fn new(from: Start, limits: &Limits) -> Arc<Self> {
        let inner = Inner {
            now: from.entries,
            durable: from.durable,
            hub: Hub::new(from.durable, limits.history_bytes, limits.watch_queue),
            pins: Pins::new(limits.snapshots, limits.snapshot_age),
        };
        Arc::new(Self {
            inner: Mutex::new(inner),
            revision: Arc::new(AtomicU64::new(from.start)),
            start: from.start,
            ephemeral: from.ephemeral,
        })
    }

    /// A copy for a backend to change.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().now.clone()
    }

    /// Makes a snapshot and the changes that led to it visible, all at once.
    pub fn publish<'a>(&self, now: Snapshot, events: impl Iterator<Item = &'a Arc<Event>>) {
        let mut inner = self.lock();
        // Freed after the lock: a large batch leaves many old nodes.
        let _old = std::mem::replace(&mut inner.now, now);
        let mut last = None;
        for event in events {
            inner.hub.publish(event);
            last = Some(event.revision);
        }
        if let Some(last) = last {
            self.revision.store(last, Ordering::Release);
        }
        inner.pins.expire(Instant::now());
        drop(inner);
    }

    /// Nothing has changed up to `revision`, but somebody else's things.
    pub fn advance(&self, revision: Revision) {
        let _inner = self.lock();
        self.revision.fetch_max(revision, Ordering::AcqRel);
    }

    /// Puts another snapshot in the place of this one, when nobody can tell the changes that lead from one to the other.
    /// Every watcher has to list again.
    pub fn reset(&self, now: Snapshot, revision: Revision) {
        let mut inner = self.lock();
        let _old = std::mem::replace(&mut inner.now, now);
        inner.durable = revision;
        inner.hub.reset(revision);
        self.revision.fetch_max(revision, Ordering::AcqRel);
        drop(inner);
    }

    pub fn revision(&self) -> Revision {
        self.revision.load(Ordering::Acquire)
    }

    pub fn get(&self, key: &Key) -> Option<Entry> {
        self.lock().now.get(key)
    }

    pub fn list(
        &self,
        scope: &Scope,
        after: Option<&Key>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, Error> {
        let (snapshot, revision) = {
            let mut inner = self.lock();
            inner.pins.expire(Instant::now());
            let newest = self.revision();
            match at {
                None => (inner.now.clone(), newest),
                // Nothing of this resource has changed since, so now is as good as then.
                Some(at) if at <= newest && at >= self.unchanged_since(&inner, &scope.resource) => {
                    (inner.now.clone(), at)
                }
                Some(at) => match inner.pins.get(at) {
                    Some(snapshot) => (snapshot, at),
                    None => return Err(Error::Expired { oldest: newest }),
                },
            }
        };
        let (items, next, remaining) = snapshot.list(scope, after, limit);
        if next.is_some() {
            self.lock().pins.keep(revision, &snapshot, Instant::now());
        }
        Ok(Page { items, revision, next, remaining })
    }

    pub fn watch(self: &Arc<Self>, scope: Scope, after: Option<Revision>) -> Result<Watch, Error> {
        let mut inner = self.lock();
        if inner.hub.is_closed() {
            return Err(Error::Closed);
        }
        let newest = self.revision();
        let after = after.unwrap_or(newest);
        let mut oldest = inner.hub.floor();
        if self.ephemeral.contains(&scope.resource) {
            oldest = oldest.max(self.start);
        }
        // A revision that was never reached comes from another life of this store, as before a backup was restored.
        if after < oldest || after > newest {
            return Err(Error::Expired { oldest });
        }
        let source = inner.hub.subscribe(&scope, after);
        Ok(Watch {
            scope,
            id: source.id,
            state: Arc::downgrade(self),
            backlog: source.backlog,
            queue: source.queue,
            lagged: source.lagged,
            revision: self.revision.clone(),
            seen: after,
        })
    }

    pub fn unsubscribe(&self, scope: &Scope, id: u64) {
        self.lock().hub.unsubscribe(scope, id);
    }

    /// Ends every watch.
    pub fn close(&self) {
        self.lock().hub.close();
    }

    /// The oldest moment at which the resource looked as it does now.
    fn unchanged_since(&self, inner: &Inner, resource: &Arc<str>) -> Revision {
        let before = if self.ephemeral.contains(resource) { self.start } else { inner.durable };
        inner.hub.changed(resource).unwrap_or(before)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing here panics half-way through a change; a poisoned lock still guards a whole state.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
