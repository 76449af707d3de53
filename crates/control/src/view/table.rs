//! All objects of one resource, by namespace and name, indexed by controlling owner and by node.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::{Held, Key};

/// Namespace and name.
type Name = (Arc<str>, Arc<str>);
type Index = HashMap<Arc<str>, BTreeSet<Name>>;

#[derive(Debug)]
pub struct Table<T> {
    by_name: BTreeMap<Name, Arc<T>>,
    by_owner: Index,
    by_node: Index,
    visited: AtomicU64,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            by_name: BTreeMap::new(),
            by_owner: Index::new(),
            by_node: Index::new(),
            visited: AtomicU64::new(0),
        }
    }
}

impl<T: Held> Table<T> {
    /// Takes the newest state of an object and returns the one it replaces.
    pub fn upsert(&mut self, object: impl Into<Arc<T>>) -> Option<Arc<T>> {
        let object = object.into();
        let name = (object.metadata().namespace.clone(), object.metadata().name.clone());
        let old = self.remove(&name.0, &name.1);
        if let Some(owner) = object.metadata().controller() {
            self.by_owner.entry(owner.uid.clone()).or_default().insert(name.clone());
        }
        if let Some(node) = object.node() {
            self.by_node.entry(node.clone()).or_default().insert(name.clone());
        }
        self.by_name.insert(name, object);
        old
    }

    /// Forgets an object and returns its last state; an unknown name changes nothing.
    pub fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<T>> {
        let name = (namespace.into(), name.into());
        let old = self.by_name.remove(&name)?;
        if let Some(owner) = old.metadata().controller() {
            take(&mut self.by_owner, &owner.uid, &name);
        }
        if let Some(node) = old.node() {
            take(&mut self.by_node, node, &name);
        }
        Some(old)
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<T>> {
        let found = self.by_name.get(&(namespace.into(), name.into()));
        self.count(usize::from(found.is_some()));
        found
    }

    pub fn by_key(&self, key: &Key) -> Option<&Arc<T>> {
        let found = self.by_name.get(&(key.namespace.clone(), key.name.clone()));
        self.count(usize::from(found.is_some()));
        found
    }

    /// Objects whose controlling owner has `uid`, by namespace and name.
    pub fn of_owner(&self, uid: &str) -> Vec<Arc<T>> {
        self.look_up(&self.by_owner, uid)
    }

    /// Objects bound to `node`, by namespace and name.
    pub fn on_node(&self, node: &str) -> Vec<Arc<T>> {
        self.look_up(&self.by_node, node)
    }

    /// Objects of `namespace`, by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<T>> {
        let first: Name = (namespace.into(), "".into());
        let from = self.by_name.range(first..).take_while(|((of, _), _)| &**of == namespace);
        let found: Vec<_> = from.map(|(_, object)| object.clone()).collect();
        self.count(found.len());
        found
    }

    /// All objects, by namespace and name; costs all of them.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.count(self.by_name.len());
        self.by_name.values().cloned().collect()
    }

    /// Keys of all objects.
    pub fn keys(&self) -> Vec<Key> {
        self.by_name
            .keys()
            .map(|(namespace, name)| Key::new(T::RESOURCE, namespace.clone(), name.clone()))
            .collect()
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// How many objects lookups have returned so far.
    pub fn visited(&self) -> u64 {
        self.visited.load(Ordering::Relaxed)
    }

    fn look_up(&self, index: &Index, key: &str) -> Vec<Arc<T>> {
        let names = index.get(key).into_iter().flatten();
        let found: Vec<_> = names.filter_map(|name| self.by_name.get(name).cloned()).collect();
        self.count(found.len());
        found
    }

    fn count(&self, objects: usize) {
        self.visited.fetch_add(objects as u64, Ordering::Relaxed);
    }
}

fn take(index: &mut Index, key: &Arc<str>, name: &Name) {
    if let Some(names) = index.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            index.remove(key);
        }
    }
}
