//! What the composition root may choose.

use std::time::Duration;

pub use dunlin_control::scheduler::Policy;
use dunlin_control::settings::Settings;

/// Choices about scheduler and controllers.
#[derive(Debug, Clone)]
pub struct Options {
    pub scheduler: Policy,
    /// IPv4 range out of which every node gets its `spec.podCIDR`.
    pub cluster_cidr: String,
    /// Prefix length of one node's range.
    pub node_mask: u8,
    /// Silence after which a node counts as unreachable.
    pub node_grace: Duration,
    /// How long pods without own tolerations stay on an unreachable node.
    pub eviction_toleration: Duration,
    /// What is added to a pod's `dunlin.io/fence-after` before the pod counts as stopped.
    pub fence_margin: Duration,
    /// The CA certificate for the ConfigMaps `kube-root-ca.crt`.
    pub ca_pem: String,
    /// How many finished pods are kept.
    pub terminated_pods: usize,
    /// How long a moved pod may take to be ready, unless its Migration says otherwise.
    pub migration_timeout: Duration,
    /// How long a finished Migration is kept.
    pub migration_ttl: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let settings = Settings::default();
        Self {
            scheduler: Policy::default(),
            cluster_cidr: settings.cluster_cidr.to_string(),
            node_mask: settings.node_mask,
            node_grace: Duration::from_secs(40),
            eviction_toleration: Duration::from_secs(300),
            fence_margin: Duration::from_secs(15),
            ca_pem: String::new(),
            terminated_pods: settings.terminated_pods,
            migration_timeout: Duration::from_secs(settings.migration_timeout.unsigned_abs()),
            migration_ttl: Duration::from_secs(settings.migration_ttl.unsigned_abs()),
        }
    }
}

impl Options {
    pub(crate) fn settings(&self, started_at: i64) -> Settings {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        Settings {
            cluster_cidr: self.cluster_cidr.as_str().into(),
            node_mask: self.node_mask,
            node_grace: seconds(self.node_grace),
            eviction_toleration: seconds(self.eviction_toleration),
            fence_margin: seconds(self.fence_margin),
            ca_pem: self.ca_pem.as_str().into(),
            terminated_pods: self.terminated_pods,
            migration_timeout: seconds(self.migration_timeout),
            migration_ttl: seconds(self.migration_ttl),
            started_at,
        }
    }
}
