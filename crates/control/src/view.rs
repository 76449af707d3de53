//! The snapshot that controllers plan on, with indexes that are kept up change by change.
//!
//! A lookup costs the objects it returns and no others; `visited` counts them so that tests can hold this.

mod objects;
mod table;

use std::collections::HashMap;
use std::sync::Arc;

use crate::controllers::autoscaler::History;
use crate::controllers::autoscaler::custom::Measured;
use crate::model::*;
use crate::resource::Resources;
use crate::settings::Settings;

pub use objects::Objects;
pub use table::Table;

/// Calls the macro `$then` with a row for each kind that is held whole: `Kind: table`. What is there for every kind
/// (the view's tables, the driver's informers and routing) is made from these rows.
#[macro_export]
macro_rules! for_each_kind {
    ($then:ident) => {
        $then! {
            Pod: pods,
            Node: nodes,
            ReplicaSet: replica_sets,
            Deployment: deployments,
            DaemonSet: daemon_sets,
            StatefulSet: stateful_sets,
            CronJob: cron_jobs,
            Job: jobs,
            PodDisruptionBudget: budgets,
            HorizontalPodAutoscaler: autoscalers,
            /// Measured while there are autoscalers.
            PodMetrics: pod_metrics,
            ControllerRevision: controller_revisions,
            Migration: migrations,
            Service: services,
            ResourceQuota: quotas,
            ClusterRole: cluster_roles,
            PersistentVolume: volumes,
            Claim: claims,
            StorageClass: storage_classes,
            RuntimeClass: runtime_classes,
            EndpointSlice: endpoint_slices,
            Namespace: namespaces,
            ServiceAccount: service_accounts,
            /// Those named `kube-root-ca.crt`.
            ConfigMap: config_maps,
            /// Those in `kube-node-lease`.
            Lease: leases,
            /// What child clusters say of themselves, by the name of the node that stands for each.
            Cluster: clusters,
        }
    };
}

macro_rules! view {
    ($($(#[$doc:meta])* $kind:ident: $table:ident,)*) => {
        /// Everything that controllers may read. Whoever changes a typed table tells `objects` as well.
        #[derive(Debug, Default)]
        pub struct View {
            pub settings: Arc<Settings>,
            pub resources: Resources,
            $($(#[$doc])* pub $table: Table<$kind>,)*
            /// Metadata of all objects of all resources, the typed ones among them; not Events and Leases.
            pub objects: Objects,
            /// When each node's Lease was last seen to change, by this machine's clock: clocks of nodes are not trusted.
            pub heard: HashMap<Arc<str>, i64>,
            /// What extension servers have told of the metrics that autoscalers need, by the path at which they tell it.
            pub measured: HashMap<Arc<str>, Measured>,
            /// What each autoscaler remembers.
            pub histories: HashMap<Key, Arc<History>>,
        }

        impl View {
            /// How many objects all lookups have returned so far.
            pub fn visited(&self) -> u64 {
                self.objects.visited() $(+ self.$table.visited())*
            }
        }
    };
}
for_each_kind!(view);

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
