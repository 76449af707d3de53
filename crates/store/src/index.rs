//! The ordered copy-on-write map of all entries, with a second order by tag.
//!
//! A clone costs nothing and never changes again: it is what a list reads, what a pinned snapshot keeps, and what the
//! writer changes before it publishes. It must stay free of locks, clocks and I/O.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};

use crate::{Change, Class, Entry, Error, Event, EventKind, Expect, Key, Revision, Scope, Write};

/// What the map holds for a key.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub revision: Revision,
    pub tag: Option<Arc<str>>,
    pub value: Bytes,
    /// The row in the file; 0 for an entry that lives in memory only.
    pub row: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Tagged {
    tag: Arc<str>,
    key: Key,
}

/// All entries at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    entries: OrdMap<Key, Arc<Stored>>,
    tagged: OrdSet<Tagged>,
}

/// What a change means for the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disk {
    Nothing,
    Put(i64),
    Delete(i64),
}

/// A change that was made to a snapshot.
#[derive(Debug)]
pub(crate) struct Applied {
    pub event: Arc<Event>,
    pub disk: Disk,
}

impl Applied {
    /// What the writer is told.
    pub fn entry(&self) -> Entry {
        Entry {
            key: self.event.key.clone(),
            revision: self.event.revision,
            tag: self.event.tag.clone(),
            value: self.event.value.clone(),
        }
    }
}

impl Snapshot {
    pub fn get(&self, key: &Key) -> Option<Entry> {
        self.entries.get_key_value(key).map(|(key, stored)| entry(key, stored))
    }

    /// Adds or replaces an entry. Equal strings of neighbours are shared: a namespace's name is in memory about once.
    pub fn insert(&mut self, key: Key, stored: Stored) {
        let old = self.entries.get_key_value(&key);
        let (key, old_tag) = match old {
            Some((known, old)) => (known.clone(), old.tag.clone()),
            None => (self.shared(key), None),
        };
        let mut stored = stored;
        if old_tag == stored.tag {
            stored.tag = old_tag;
        } else {
            self.untag(old_tag, &key);
            if let Some(tag) = stored.tag.take() {
                let entry = self.shared_tag(Tagged { tag, key: key.clone() });
                stored.tag = Some(entry.tag.clone());
                self.tagged.insert(entry);
            }
        }
        self.entries.insert(key, Arc::new(stored));
    }

    pub fn remove(&mut self, key: &Key) {
        if let Some(old) = self.entries.remove(key) {
            self.untag(old.tag.clone(), key);
        }
    }

    /// Checks and makes one change. `next_row` is the first row number that was never used.
    pub fn apply(&mut self, revision: Revision, write: Write, next_row: &mut i64) -> Result<Applied, Error> {
        let Write { key, expect, class, tag, change } = write;
        let (key, old) = match self.entries.get_key_value(&key) {
            Some((known, old)) => (known.clone(), Some(old.clone())),
            None => (key, None),
        };
        check(&key, old.as_deref(), expect)?;
        let row = old.as_ref().map_or(0, |o| o.row);
        let (change, value, tag, disk) = match change {
            Change::Put(encode) => {
                let value = encoded(&key, encode, revision)?;
                let (row, disk) = match (class, row) {
                    (Class::Ephemeral, 0) => (0, Disk::Nothing),
                    (Class::Ephemeral, row) => (0, Disk::Delete(row)),
                    (Class::Durable, 0) => {
                        *next_row += 1;
                        (*next_row - 1, Disk::Put(*next_row - 1))
                    }
                    (Class::Durable, row) => (row, Disk::Put(row)),
                };
                self.insert(key.clone(), Stored { revision, tag: tag.clone(), value: value.clone(), row });
                (EventKind::Put, value, tag, disk)
            }
            Change::Delete(encode) => {
                let Some(old) = &old else { return Err(Error::NotFound { key }) };
                let value = encoded(&key, encode, revision)?;
                self.remove(&key);
                let disk = if row == 0 { Disk::Nothing } else { Disk::Delete(row) };
                (EventKind::Delete, value, old.tag.clone(), disk)
            }
        };
        let (old, old_tag) = match old {
            Some(old) => (Some(old.value.clone()), old.tag.clone()),
            None => (None, None),
        };
        Ok(Applied { event: Arc::new(Event { revision, key, tag, old, old_tag, change, value }), disk })
    }

    /// Makes a change again that `apply` made to another copy and that touched no file.
    pub fn repeat(&mut self, event: &Event) {
        match event.change {
            EventKind::Put => self.insert(
                event.key.clone(),
                Stored {
                    revision: event.revision,
                    tag: event.tag.clone(),
                    value: event.value.clone(),
                    row: 0,
                },
            ),
            EventKind::Delete => self.remove(&event.key),
        }
    }

    /// Takes in a change that was made elsewhere.
    pub fn follow_put(&mut self, key: Key, stored: Stored) -> Arc<Event> {
        let old = self.entries.get(&key).cloned();
        let event = Event {
            revision: stored.revision,
            key: key.clone(),
            tag: stored.tag.clone(),
            old: old.as_ref().map(|old| old.value.clone()),
            old_tag: old.and_then(|old| old.tag.clone()),
            change: EventKind::Put,
            value: stored.value.clone(),
        };
        self.insert(key, stored);
        Arc::new(event)
    }

    /// Takes in a deletion that was made elsewhere; `last` is the last state if it is known. `None`: there was nothing.
    pub fn follow_delete(&mut self, revision: Revision, key: Key, last: Option<Bytes>) -> Option<Arc<Event>> {
        let old = self.entries.get(&key).cloned()?;
        self.remove(&key);
        Some(Arc::new(Event {
            revision,
            key,
            tag: old.tag.clone(),
            old: Some(old.value.clone()),
            old_tag: old.tag.clone(),
            change: EventKind::Delete,
            value: last.unwrap_or_else(|| old.value.clone()),
        }))
    }

    /// Up to `limit` (0: all) entries of the scope after a key; whether more follow, and how many if that is cheap.
    pub fn list(
        &self,
        scope: &Scope,
        after: Option<&Key>,
        limit: usize,
    ) -> (Vec<Entry>, Option<Key>, Option<u64>) {
        if let (Some(namespace), Some(name)) = (&scope.namespace, &scope.name) {
            let key =
                Key { resource: scope.resource.clone(), namespace: namespace.clone(), name: name.clone() };
            let found = self.get(&key).filter(|e| scope.contains(&e.key, e.tag.as_ref()));
            let found = found.filter(|e| after.is_none_or(|after| e.key > *after));
            return (found.into_iter().collect(), None, Some(0));
        }
        let first = Key {
            resource: scope.resource.clone(),
            namespace: scope.namespace.clone().unwrap_or_default(),
            name: Arc::default(),
        };
        let start = match after {
            Some(after) if *after >= first => Bound::Excluded(after.clone()),
            _ => Bound::Included(first),
        };
        if let Some(tag) = &scope.tag {
            let start = start.map(|key| Tagged { tag: tag.clone(), key });
            let found = self.tagged.range((start, Bound::Unbounded));
            let found = found.take_while(|t| t.tag == *tag && inside(scope, &t.key));
            let found = found.filter_map(|t| self.entries.get_key_value(&t.key));
            return collect(found, scope, limit, false);
        }
        let found = self.entries.range((start, Bound::Unbounded)).take_while(|(key, _)| inside(scope, key));
        collect(found, scope, limit, true)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    fn shared(&self, mut key: Key) -> Key {
        for near in [self.entries.get_prev(&key), self.entries.get_next(&key)] {
            let Some((near, _)) = near else { continue };
            if near.resource == key.resource {
                key.resource = near.resource.clone();
                if near.namespace == key.namespace {
                    key.namespace = near.namespace.clone();
                    break;
                }
            }
        }
        key
    }

    fn shared_tag(&self, mut entry: Tagged) -> Tagged {
        for near in [self.tagged.get_prev(&entry), self.tagged.get_next(&entry)].into_iter().flatten() {
            if near.tag == entry.tag {
                entry.tag = near.tag.clone();
                break;
            }
        }
        entry
    }

    fn untag(&mut self, tag: Option<Arc<str>>, key: &Key) {
        if let Some(tag) = tag {
            self.tagged.remove(&Tagged { tag, key: key.clone() });
        }
    }
}

fn check(key: &Key, old: Option<&Stored>, expect: Expect) -> Result<(), Error> {
    let current = || old.map(|old| Box::new(entry(key, old)));
    match (expect, old) {
        (Expect::Absent, Some(_)) => Err(Error::Exists { key: key.clone(), current: current() }),
        (Expect::Revision(_), None) => Err(Error::NotFound { key: key.clone() }),
        (Expect::Revision(wanted), Some(old)) if old.revision != wanted => {
            Err(Error::Conflict { key: key.clone(), current: current() })
        }
        _ => Ok(()),
    }
}

/// The bytes, in an allocation of exactly their size: an encoder's buffer is up to twice as large, and would stay so
/// for the life of the entry.
pub(crate) fn encoded(key: &Key, encode: crate::Encode, revision: Revision) -> Result<Bytes, Error> {
    let value = catch_unwind(AssertUnwindSafe(|| encode(revision)));
    value.map(|v| Bytes::copy_from_slice(&v)).map_err(|_| Error::Encode { key: key.clone() })
}

fn inside(scope: &Scope, key: &Key) -> bool {
    key.resource == scope.resource && scope.namespace.as_ref().is_none_or(|n| *n == key.namespace)
}

fn collect<'a>(
    mut found: impl Iterator<Item = (&'a Key, &'a Arc<Stored>)>,
    scope: &Scope,
    limit: usize,
    count: bool,
) -> (Vec<Entry>, Option<Key>, Option<u64>) {
    let named = |key: &Key| scope.name.as_ref().is_none_or(|n| *n == key.name);
    let mut items: Vec<Entry> = Vec::new();
    while limit == 0 || items.len() < limit {
        let Some((key, stored)) = found.next() else { return (items, None, Some(0)) };
        if named(key) {
            items.push(entry(key, stored));
        }
    }
    let mut rest = found.filter(|(key, _)| named(key));
    let more = if count { rest.count() as u64 } else { u64::from(rest.next().is_some()) };
    let next = if more > 0 { items.last().map(|e| e.key.clone()) } else { None };
    (items, next, (count || more == 0).then_some(more))
}

fn entry(key: &Key, stored: &Stored) -> Entry {
    Entry {
        key: key.clone(),
        revision: stored.revision,
        tag: stored.tag.clone(),
        value: stored.value.clone(),
    }
}
