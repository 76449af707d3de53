//! Metadata of all objects, indexed by uid, by owners and by namespace: the graph that garbage collection walks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::{Key, Object};

#[derive(Debug, Default)]
pub struct Objects {
    by_key: BTreeMap<Key, Arc<Object>>,
    by_uid: HashMap<Arc<str>, Key>,
    dependents: HashMap<Arc<str>, BTreeSet<Key>>,
    by_namespace: HashMap<Arc<str>, BTreeSet<Key>>,
    visited: AtomicU64,
}

impl Objects {
    pub fn upsert(&mut self, object: Object) -> Option<Arc<Object>> {
        let key = object.key();
        let old = self.remove(&key);
        self.by_uid.insert(object.metadata.uid.clone(), key.clone());
        for owner in &object.metadata.owner_references {
            self.dependents.entry(owner.uid.clone()).or_default().insert(key.clone());
        }
        if !key.namespace.is_empty() {
            self.by_namespace.entry(key.namespace.clone()).or_default().insert(key.clone());
        }
        self.by_key.insert(key, Arc::new(object));
        old
    }

    pub fn remove(&mut self, key: &Key) -> Option<Arc<Object>> {
        let old = self.by_key.remove(key)?;
        self.by_uid.remove(&old.metadata.uid);
        for owner in &old.metadata.owner_references {
            take(&mut self.dependents, &owner.uid, key);
        }
        take(&mut self.by_namespace, &key.namespace, key);
        Some(old)
    }

    pub fn get(&self, key: &Key) -> Option<&Arc<Object>> {
        let found = self.by_key.get(key);
        self.count(usize::from(found.is_some()));
        found
    }

    pub fn by_uid(&self, uid: &str) -> Option<&Arc<Object>> {
        self.by_uid.get(uid).and_then(|key| self.get(key))
    }

    /// Objects with an owner reference to `uid`, controlling or not.
    pub fn dependents(&self, uid: &str) -> Vec<Arc<Object>> {
        self.look_up(self.dependents.get(uid))
    }

    /// Objects that have an owner.
    pub fn owned(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.by_key.values().filter(|object| !object.metadata.owner_references.is_empty())
    }

    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<Object>> {
        self.look_up(self.by_namespace.get(namespace))
    }

    /// Keys of all objects of `resource`; for informers that list again.
    pub fn of_resource(&self, resource: &str) -> Vec<Key> {
        let first = Key::new(resource, "", "");
        let keys = self.by_key.range(first..).map(|(key, _)| key);
        keys.take_while(|key| &*key.resource == resource).cloned().collect()
    }

    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    pub fn visited(&self) -> u64 {
        self.visited.load(Ordering::Relaxed)
    }

    fn look_up(&self, keys: Option<&BTreeSet<Key>>) -> Vec<Arc<Object>> {
        let keys = keys.into_iter().flatten();
        let found: Vec<_> = keys.filter_map(|key| self.by_key.get(key).cloned()).collect();
        self.count(found.len());
        found
    }

    fn count(&self, objects: usize) {
        self.visited.fetch_add(objects as u64, Ordering::Relaxed);
    }
}

fn take(index: &mut HashMap<Arc<str>, BTreeSet<Key>>, of: &Arc<str>, key: &Key) {
    if let Some(keys) = index.get_mut(of) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(of);
        }
    }
}
