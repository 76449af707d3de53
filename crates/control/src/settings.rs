//! What an operator may choose about the controllers; part of the view, so that a plan depends on nothing else.

use std::sync::Arc;

/// Choices that hold for the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// IPv4 range out of which every node gets its `spec.podCIDR`.
    pub cluster_cidr: Arc<str>,
    /// Prefix length of one node's range.
    pub node_mask: u8,
    /// Seconds of silence after which a node counts as unreachable.
    pub node_grace: i64,
    /// Seconds during which pods without own tolerations stay on an unreachable or unready node.
    pub eviction_toleration: i64,
    /// Seconds that are added to a pod's `dunlin.io/fence-after`: clocks run differently, and stops take time.
    pub fence_margin: i64,
    /// The CA certificate that every namespace gets as ConfigMap `kube-root-ca.crt`.
    pub ca_pem: Arc<str>,
    /// How many finished pods are kept before the oldest are deleted.
    pub terminated_pods: usize,
    /// Seconds that a moved pod may take to be ready, unless its Migration says otherwise.
    pub migration_timeout: i64,
    /// Seconds that a finished Migration is kept.
    pub migration_ttl: i64,
    /// When this driver began, in seconds since the epoch: silence is judged only one grace period after it.
    pub started_at: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster_cidr: "10.42.0.0/16".into(),
            node_mask: 24,
            node_grace: 40,
            eviction_toleration: 300,
            fence_margin: 15,
            ca_pem: "".into(),
            terminated_pods: 12_500,
            migration_timeout: 300,
            migration_ttl: 3600,
            started_at: 0,
        }
    }
}
