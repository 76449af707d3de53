//! The order to move a pod, and how far it is.

use std::sync::Arc;

use super::base::held;
use super::{Meta, Time, projection};

/// The new pod is being made, or waits to be ready, or takes over.
pub const MIGRATING: &str = "Migrating";
/// The old pod is gone and the new one is ready.
pub const SUCCEEDED: &str = "Succeeded";
/// The old pod is as it was; the status says why.
pub const FAILED: &str = "Failed";

projection! {
    pub struct Migration {
        pub metadata: Arc<Meta>,
        pub spec: MigrationSpec,
        pub status: MigrationStatus,
    }

    pub struct MigrationSpec {
        /// Name of the pod that shall move, in the Migration's namespace.
        pub pod: Arc<str>,
        /// The cluster to move to, as `dunlin.io/cluster` names it; empty: the machine decides.
        pub cluster: Arc<str>,
        /// The machine: its node's name or, in a child cluster, its path below the cluster's node.
        pub machine: Arc<str>,
        /// How long the new pod may take to be ready.
        pub timeout_seconds: Option<i64>,
    }

    pub struct MigrationStatus {
        /// Empty (not looked at yet), `Migrating`, `Succeeded` or `Failed`.
        pub phase: Arc<str>,
        pub reason: Arc<str>,
        pub message: Arc<str>,
        /// The pod that moves.
        #[serde(rename = "podUID")]
        pub pod_uid: Arc<str>,
        /// Name of the pod that takes its place.
        pub replacement: Arc<str>,
        pub start_time: Option<Time>,
        /// When the new pod was ready and the old one began to leave its Services.
        pub switch_time: Option<Time>,
        pub completion_time: Option<Time>,
    }
}

impl Migration {
    /// Whether nothing will happen any more.
    pub fn is_finished(&self) -> bool {
        matches!(&*self.status.phase, SUCCEEDED | FAILED)
    }
}

held! {
    Migration = "migrations.dunlin.io",
}
