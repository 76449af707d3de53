//! The view and the scheduler's snapshot, kept up together.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use dunlin_control::model::{Held, Key, Object};
use dunlin_control::scheduler::{Queue, Snapshot, is_pending};
use dunlin_control::view::{Table, View};

use crate::informer::{Change, News};
use crate::kinds::Any;

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
            News::Progress => Vec::new(),
        };
        let seen = self.versions.entry(resource).or_default();
        *seen = version.max(*seen);
        steps
    }

    fn known(&self, resource: &str, metadata_only: bool) -> Vec<Key> {
        let view = &self.view;
        match (resource, metadata_only) {
            (_, true) => view.objects.of_resource(resource),
            ("pods", _) => view.pods.keys(),
            ("nodes", _) => view.nodes.keys(),
            ("replicasets.apps", _) => view.replica_sets.keys(),
            ("deployments.apps", _) => view.deployments.keys(),
            ("daemonsets.apps", _) => view.daemon_sets.keys(),
            ("jobs.batch", _) => view.jobs.keys(),
            ("migrations.dunlin.io", _) => view.migrations.keys(),
            ("controllerrevisions.apps", _) => view.controller_revisions.keys(),
            ("services", _) => view.services.keys(),
            ("endpointslices.discovery.k8s.io", _) => view.endpoint_slices.keys(),
            ("namespaces", _) => view.namespaces.keys(),
            ("serviceaccounts", _) => view.service_accounts.keys(),
            ("configmaps", _) => view.config_maps.keys(),
            ("leases.coordination.k8s.io", _) => view.leases.keys(),
            ("clusters.dunlin.io", _) => view.clusters.keys(),
            ("persistentvolumes", _) => view.volumes.keys(),
            ("persistentvolumeclaims", _) => view.claims.keys(),
            ("storageclasses.storage.k8s.io", _) => view.storage_classes.keys(),
            ("runtimeclasses.node.k8s.io", _) => view.runtime_classes.keys(),
            _ => Vec::new(),
        }
    }

    fn put(&mut self, object: Any, now: i64) -> Step {
        let view = &mut self.view;
        // Of ConfigMaps the metadata informer sees all, so it alone keeps the graph.
        if !matches!(object, Any::ConfigMap(_)) {
            let entry = Object { resource: object.key().resource, metadata: object.metadata().clone() };
            let other = view.objects.upsert(entry);
            if matches!(object, Any::Other(_)) {
                return Step { old: other.map(Any::Other), new: Some(object) };
            }
        }
        let old = match &object {
            Any::Pod(o) => view.pods.upsert(o.clone()).map(Any::Pod),
            Any::Node(o) => view.nodes.upsert(o.clone()).map(Any::Node),
            Any::ReplicaSet(o) => view.replica_sets.upsert(o.clone()).map(Any::ReplicaSet),
            Any::Deployment(o) => view.deployments.upsert(o.clone()).map(Any::Deployment),
            Any::DaemonSet(o) => view.daemon_sets.upsert(o.clone()).map(Any::DaemonSet),
            Any::Job(o) => view.jobs.upsert(o.clone()).map(Any::Job),
            Any::Migration(o) => view.migrations.upsert(o.clone()).map(Any::Migration),
            Any::ControllerRevision(o) => {
                view.controller_revisions.upsert(o.clone()).map(Any::ControllerRevision)
            }
            Any::Service(o) => view.services.upsert(o.clone()).map(Any::Service),
            Any::EndpointSlice(o) => view.endpoint_slices.upsert(o.clone()).map(Any::EndpointSlice),
            Any::Namespace(o) => view.namespaces.upsert(o.clone()).map(Any::Namespace),
            Any::ServiceAccount(o) => view.service_accounts.upsert(o.clone()).map(Any::ServiceAccount),
            Any::ConfigMap(o) => view.config_maps.upsert(o.clone()).map(Any::ConfigMap),
            Any::Lease(o) => view.leases.upsert(o.clone()).map(Any::Lease),
            Any::Cluster(o) => view.clusters.upsert(o.clone()).map(Any::Cluster),
            Any::Volume(o) => view.volumes.upsert(o.clone()).map(Any::Volume),
            Any::Claim(o) => view.claims.upsert(o.clone()).map(Any::Claim),
            Any::StorageClass(o) => view.storage_classes.upsert(o.clone()).map(Any::StorageClass),
            Any::RuntimeClass(o) => view.runtime_classes.upsert(o.clone()).map(Any::RuntimeClass),
            Any::Other(_) => None,
        };
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
            Any::Volume(o) => {
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
        if &*key.resource != "configmaps" {
            view.objects.remove(key);
        }
        let old = match &*key.resource {
            "pods" => remove(&mut view.pods, key, Any::Pod),
            "nodes" => remove(&mut view.nodes, key, Any::Node),
            "replicasets.apps" => remove(&mut view.replica_sets, key, Any::ReplicaSet),
            "deployments.apps" => remove(&mut view.deployments, key, Any::Deployment),
            "daemonsets.apps" => remove(&mut view.daemon_sets, key, Any::DaemonSet),
            "jobs.batch" => remove(&mut view.jobs, key, Any::Job),
            "migrations.dunlin.io" => remove(&mut view.migrations, key, Any::Migration),
            "controllerrevisions.apps" => {
                remove(&mut view.controller_revisions, key, Any::ControllerRevision)
            }
            "services" => remove(&mut view.services, key, Any::Service),
            "endpointslices.discovery.k8s.io" => remove(&mut view.endpoint_slices, key, Any::EndpointSlice),
            "namespaces" => remove(&mut view.namespaces, key, Any::Namespace),
            "serviceaccounts" => remove(&mut view.service_accounts, key, Any::ServiceAccount),
            "configmaps" => remove(&mut view.config_maps, key, Any::ConfigMap),
            "leases.coordination.k8s.io" => remove(&mut view.leases, key, Any::Lease),
            "clusters.dunlin.io" => remove(&mut view.clusters, key, Any::Cluster),
            "persistentvolumes" => remove(&mut view.volumes, key, Any::Volume),
            "persistentvolumeclaims" => remove(&mut view.claims, key, Any::Claim),
            "storageclasses.storage.k8s.io" => remove(&mut view.storage_classes, key, Any::StorageClass),
            "runtimeclasses.node.k8s.io" => remove(&mut view.runtime_classes, key, Any::RuntimeClass),
            _ => None,
        }?;
        match &old {
            Any::Pod(pod) => {
                self.pending.remove(key);
                if self.snapshot.remove_pod(&pod.metadata.uid) {
                    self.pending.wake();
                }
            }
            Any::Node(node) => self.snapshot.remove_node(&node.metadata.name),
            Any::Namespace(o) => self.snapshot.remove_namespace(&o.metadata.name),
            Any::Cluster(o) => self.snapshot.remove_child(&o.metadata.name),
            Any::Volume(_) | Any::Claim(_) | Any::StorageClass(_) => self.snapshot.remove_storage(key),
            Any::RuntimeClass(o) => self.snapshot.remove_runtime_class(&o.metadata.name),
            Any::Lease(lease) => {
                view.heard.remove(&lease.metadata.name);
            }
            _ => {}
        }
        Some(Step { old: Some(old), new: None })
    }
}

fn remove<T: Held>(table: &mut Table<T>, key: &Key, make: fn(Arc<T>) -> Any) -> Option<Any> {
    table.remove(&key.namespace, &key.name).map(make)
}
