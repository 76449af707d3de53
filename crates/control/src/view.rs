//! The snapshot that controllers plan on, with indexes that are kept up change by change.
//!
//! A lookup costs the objects it returns and no others; `visited` counts them so that tests can hold this.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::model::Pod;

type Index = HashMap<Arc<str>, BTreeSet<Arc<str>>>;

/// All pods by uid, indexed by controlling owner, node and namespace.
#[derive(Debug, Default)]
pub struct View {
    pods: BTreeMap<Arc<str>, Arc<Pod>>,
    by_owner: Index,
    by_node: Index,
    by_namespace: Index,
    visited: Cell<u64>,
}

impl View {
    /// Takes the newest state of a pod, in place of an older one with the same uid.
    pub fn upsert_pod(&mut self, pod: Pod) {
        let uid = pod.metadata.uid.clone();
        self.remove_pod(&uid);
        for (index, key) in Self::keys(&pod) {
            self.index(index).entry(key).or_default().insert(uid.clone());
        }
        self.pods.insert(uid, Arc::new(pod));
    }

    /// Forgets a pod; an unknown uid changes nothing.
    pub fn remove_pod(&mut self, uid: &str) {
        let Some(pod) = self.pods.remove(uid) else { return };
        for (index, key) in Self::keys(&pod) {
            let index = self.index(index);
            if let Some(uids) = index.get_mut(&key) {
                uids.remove(uid);
                if uids.is_empty() {
                    index.remove(&key);
                }
            }
        }
    }

    /// Pods whose controlling owner has `uid`, by pod uid.
    pub fn pods_of_owner(&self, uid: &str) -> Vec<Arc<Pod>> {
        self.look_up(&self.by_owner, uid)
    }

    /// Pods bound to `node`, by pod uid.
    pub fn pods_on_node(&self, node: &str) -> Vec<Arc<Pod>> {
        self.look_up(&self.by_node, node)
    }

    /// Pods of `namespace`, by pod uid.
    pub fn pods_in_namespace(&self, namespace: &str) -> Vec<Arc<Pod>> {
        self.look_up(&self.by_namespace, namespace)
    }

    /// How many objects all lookups have returned so far.
    pub fn visited(&self) -> u64 {
        self.visited.get()
    }

    fn look_up(&self, index: &Index, key: &str) -> Vec<Arc<Pod>> {
        let uids = index.get(key).into_iter().flatten();
        let found: Vec<_> = uids.filter_map(|uid| self.pods.get(uid).cloned()).collect();
        self.visited.set(self.visited.get() + found.len() as u64);
        found
    }

    fn keys(pod: &Pod) -> Vec<(By, Arc<str>)> {
        let mut keys = vec![(By::Namespace, pod.metadata.namespace.clone())];
        keys.extend(pod.metadata.controller().map(|owner| (By::Owner, owner.uid.clone())));
        if !pod.spec.node_name.is_empty() {
            keys.push((By::Node, pod.spec.node_name.clone()));
        }
        keys
    }

    fn index(&mut self, by: By) -> &mut Index {
        match by {
            By::Owner => &mut self.by_owner,
            By::Node => &mut self.by_node,
            By::Namespace => &mut self.by_namespace,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum By {
    Owner,
    Node,
    Namespace,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str, owner: &str, node: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": uid, "namespace": "default", "uid": uid,
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "uid": owner, "controller": true}]},
            "spec": {"nodeName": node}
        }))
        .expect("a pod")
    }

    #[test]
    fn lookups_follow_changes_and_visit_only_what_they_return() {
        let mut view = View::default();
        for n in 0..100 {
            view.upsert_pod(pod(&format!("other-{n}"), "other", "far"));
        }
        view.upsert_pod(pod("a", "web", ""));
        view.upsert_pod(pod("b", "web", "near"));
        assert_eq!(view.pods_of_owner("web").len(), 2);
        assert_eq!(view.visited(), 2);

        view.upsert_pod(pod("a", "adopter", "near"));
        assert_eq!(view.pods_of_owner("web").len(), 1);
        assert_eq!(view.pods_on_node("near").len(), 2);

        view.remove_pod("a");
        view.remove_pod("unknown");
        assert_eq!(view.pods_on_node("near").len(), 1);
        assert!(view.pods_of_owner("adopter").is_empty());
        assert_eq!(view.pods_in_namespace("default").len(), 101);
    }
}
