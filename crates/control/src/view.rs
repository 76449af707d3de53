//! The snapshot that controllers plan on, with indexes that are kept up change by change.
//!
//! A lookup costs the objects it returns and no others; `visited` counts them so that tests can hold this.

mod objects;
mod table;

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{
    Claim, Cluster, ConfigMap, ControllerRevision, DaemonSet, Deployment, EndpointSlice, Job, Lease,
    Migration, Namespace, Node, PersistentVolume, Pod, ReplicaSet, RuntimeClass, Service, ServiceAccount,
    StorageClass,
};
use crate::resource::Resources;
use crate::settings::Settings;

pub use objects::Objects;
pub use table::Table;

/// Everything that controllers may read. Whoever changes a typed table tells `objects` as well.
#[derive(Debug, Default)]
pub struct View {
    pub settings: Arc<Settings>,
    pub resources: Resources,
    pub pods: Table<Pod>,
    pub nodes: Table<Node>,
    pub replica_sets: Table<ReplicaSet>,
    pub deployments: Table<Deployment>,
    pub daemon_sets: Table<DaemonSet>,
    pub jobs: Table<Job>,
    pub controller_revisions: Table<ControllerRevision>,
    pub migrations: Table<Migration>,
    pub services: Table<Service>,
    pub endpoint_slices: Table<EndpointSlice>,
    pub namespaces: Table<Namespace>,
    pub service_accounts: Table<ServiceAccount>,
    /// Those named `kube-root-ca.crt`.
    pub config_maps: Table<ConfigMap>,
    /// Those in `kube-node-lease`.
    pub leases: Table<Lease>,
    pub volumes: Table<PersistentVolume>,
    pub claims: Table<Claim>,
    pub storage_classes: Table<StorageClass>,
    pub runtime_classes: Table<RuntimeClass>,
    /// What child clusters say of themselves, by the name of the node that stands for each.
    pub clusters: Table<Cluster>,
    /// Metadata of all objects of all resources, the typed ones among them; not Events and Leases.
    pub objects: Objects,
    /// When each node's Lease was last seen to change, by this machine's clock: clocks of nodes are not trusted.
    pub heard: HashMap<Arc<str>, i64>,
}

impl View {
    /// How many objects all lookups have returned so far.
    pub fn visited(&self) -> u64 {
        self.pods.visited()
            + self.nodes.visited()
            + self.replica_sets.visited()
            + self.deployments.visited()
            + self.daemon_sets.visited()
            + self.jobs.visited()
            + self.controller_revisions.visited()
            + self.migrations.visited()
            + self.services.visited()
            + self.endpoint_slices.visited()
            + self.namespaces.visited()
            + self.service_accounts.visited()
            + self.config_maps.visited()
            + self.leases.visited()
            + self.volumes.visited()
            + self.claims.visited()
            + self.storage_classes.visited()
            + self.runtime_classes.visited()
            + self.clusters.visited()
            + self.objects.visited()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, owner: &str, node: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "default", "uid": name, "labels": null,
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "uid": owner, "controller": true}]},
            "spec": {"nodeName": node, "affinity": null, "tolerations": null},
            "status": null
        }))
        .expect("a pod")
    }

    #[test]
    fn lookups_follow_changes_and_visit_only_what_they_return() {
        let mut view = View::default();
        for n in 0..100 {
            view.pods.upsert(pod(&format!("other-{n}"), "other", "far"));
        }
        view.pods.upsert(pod("a", "web", ""));
        view.pods.upsert(pod("b", "web", "near"));
        assert_eq!(view.pods.of_owner("web").len(), 2);
        assert_eq!(view.visited(), 2);

        view.pods.upsert(pod("a", "adopter", "near"));
        assert_eq!(view.pods.of_owner("web").len(), 1);
        assert_eq!(view.pods.on_node("near").len(), 2);

        view.pods.remove("default", "a");
        view.pods.remove("default", "unknown");
        assert_eq!(view.pods.on_node("near").len(), 1);
        assert!(view.pods.of_owner("adopter").is_empty());
        assert_eq!(view.pods.in_namespace("default").len(), 101);
        assert!(view.pods.in_namespace("defaul").is_empty());
    }
}
