//! The view and the scheduler's snapshot, kept up together.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use dunlin_control::model::{ConfigMap, Held, Key, Object, PodMetrics};
use dunlin_control::scheduler::{Queue, Snapshot, is_pending};
use dunlin_control::view::View;

use crate::informer::{Change, News};
use crate::kinds::{self, Any};

/// All that the driver knows of the cluster.
#[derive(Debug, Default)]
pub struct Cluster {
    pub view: View,
    pub snapshot: Snapshot,
    /// Pods that wait for a node.
    pub pending: Queue,
    /// How far the informers are, by resource; the faster one where there are two (ConfigMaps), since the typed one
    /// sees few objects and would be waited for in vain.
    pub versions: HashMap<Arc<str>, u64>,
    /// Informers (resource, metadata only) that have delivered their first list.
    pub listed: HashSet<(Arc<str>, bool)>,
}

/// One object before and after a change.
#[derive(Debug)]
pub struct Step {
    pub old: Option<Any>,
    pub new: Option<Any>,
}

impl Cluster {
    /// Takes a change in and returns what it did, object by object.
    pub fn take(&mut self, change: Change, now: i64) -> Vec<Step> {
        let Change { resource, metadata_only, version, news } = change;
        let steps = match news {
            News::Put(object) => vec![self.put(object, now)],
            News::Gone(object) => self.drop(&object.key(), metadata_only).into_iter().collect(),
            News::All(objects) => {
                let present: HashSet<Key> = objects.iter().map(Any::key).collect();
                let known = self.known(&resource, metadata_only);
                let gone: Vec<Key> = known.into_iter().filter(|key| !present.contains(key)).collect();
                let gone = gone.iter().filter_map(|key| self.drop(key, metadata_only)).collect::<Vec<_>>();
                self.listed.insert((resource.clone(), metadata_only));
                gone.into_iter()
                    .chain(objects.into_iter().map(|object| self.put(object, now)).collect::<Vec<_>>())
                    .collect()
            }
            News::Measured(measured) => {
                self.view.measured = measured;
                Vec::new()
            }
            News::Progress => Vec::new(),
        };
        let seen = self.versions.entry(resource).or_default();
        *seen = version.max(*seen);
        steps
    }

    fn known(&self, resource: &str, metadata_only: bool) -> Vec<Key> {
        match metadata_only {
            true => self.view.objects.of_resource(resource),
            false => kinds::keys(&self.view, resource),
        }
    }

    fn put(&mut self, object: Any, now: i64) -> Step {
        let view = &mut self.view;
        if matches!(object, Any::Other(_)) || in_graph(&object.key().resource) {
            let entry = Object { resource: object.key().resource, metadata: object.metadata().clone() };
            let other = view.objects.upsert(entry);
            if matches!(object, Any::Other(_)) {
                return Step { old: other.map(Any::Other), new: Some(object) };
            }
        }
        let old = kinds::upsert(view, &object);
        self.follow(old.as_ref(), &object, now);
        Step { old, new: Some(object) }
    }

    /// What scheduler and node lifecycle keep beside the tables.
    fn follow(&mut self, old: Option<&Any>, new: &Any, now: i64) {
        match new {
            Any::Pod(pod) => {
                let held = |old: &Any| matches!(old, Any::Pod(old) if !old.spec.node_name.is_empty() && !old.is_finished());
                if let Some(Any::Pod(old)) = old.filter(|old| old.metadata().uid != pod.metadata.uid) {
                    self.snapshot.remove_pod(&old.metadata.uid);
                    self.pending.remove(&old.key());
                }
                self.snapshot.set_pod(pod);
                if is_pending(pod) && !self.snapshot.is_assumed(&pod.metadata.uid) {
                    let created = pod.metadata.creation_timestamp.map_or(0, |at| at.0);
                    self.pending.add(pod.key(), pod.spec.priority, created);
                } else if !is_pending(pod) {
                    self.pending.remove(&pod.key());
                }
                // Room came free, or a pod appeared that others want to be near.
                let holds = !pod.spec.node_name.is_empty() && !pod.is_finished();
                if old.is_some_and(held) != holds {
                    self.pending.wake();
                }
            }
            Any::Node(node) => {
                let changed = self.snapshot.set_node(node.clone());
                changed.then(|| self.pending.wake());
            }
            Any::Cluster(o) => {
                let changed = self.snapshot.set_child(o.clone());
                changed.then(|| self.pending.wake());
            }
            Any::PersistentVolume(o) => {
                self.snapshot.set_volume(o.clone());
                self.pending.wake();
            }
            Any::Claim(o) => {
                self.snapshot.set_claim(o.clone());
                self.pending.wake();
            }
            Any::StorageClass(o) => {
                self.snapshot.set_storage_class(o.clone());
                self.pending.wake();
            }
            Any::RuntimeClass(o) => {
                self.snapshot.set_runtime_class(o.clone());
                self.pending.wake();
            }
            Any::Namespace(o) => self.snapshot.set_namespace(&o.metadata.name, o.metadata.labels.clone()),
            Any::Lease(lease) => {
                let same = matches!(old, Some(Any::Lease(old)) if old.metadata.resource_version == lease.metadata.resource_version);
                if !same {
                    self.view.heard.insert(lease.metadata.name.clone(), now);
                }
            }
            _ => {}
        }
    }

    fn drop(&mut self, key: &Key, metadata_only: bool) -> Option<Step> {
        let view = &mut self.view;
        if metadata_only {
            let old = view.objects.remove(key)?;
            return Some(Step { old: Some(Any::Other(old)), new: None });
        }
        if in_graph(&key.resource) {
            view.objects.remove(key);
        }
        let old = kinds::remove(view, key)?;
        match &old {
            Any::Pod(pod) => {
                self.pending.remove(key);
                if self.snapshot.remove_pod(&pod.metadata.uid) {
                    self.pending.wake();
                }
            }
            Any::Node(node) => self.snapshot.remove_node(&node.metadata.name),
            Any::HorizontalPodAutoscaler(_) => drop(view.histories.remove(key)),
            Any::Namespace(o) => self.snapshot.remove_namespace(&o.metadata.name),
            Any::Cluster(o) => self.snapshot.remove_child(&o.metadata.name),
            Any::PersistentVolume(_) | Any::Claim(_) | Any::StorageClass(_) => {
                self.snapshot.remove_storage(key)
            }
            Any::RuntimeClass(o) => self.snapshot.remove_runtime_class(&o.metadata.name),
            Any::Lease(lease) => {
                view.heard.remove(&lease.metadata.name);
            }
            _ => {}
        }
        Some(Step { old: Some(old), new: None })
    }
}

/// Whether objects that are read whole are in the graph: of ConfigMaps the metadata informer sees all, so it alone keeps it,
/// and measurements are not objects at all.
fn in_graph(resource: &str) -> bool {
    ![ConfigMap::RESOURCE, PodMetrics::RESOURCE].contains(&resource)
}
