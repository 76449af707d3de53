//! `Cluster` objects: what a child cluster says of itself, in aggregates.

use std::sync::Arc;

use super::base::held;
use super::{Meta, Quantities, Time, projection};

projection! {
    pub struct Cluster {
        pub metadata: Arc<Meta>,
        pub status: ClusterStatus,
    }

    #[derive(serde::Serialize)]
    pub struct ClusterStatus {
        /// Machines at any depth.
        pub machines: i64,
        pub ready_machines: i64,
        pub area: Arc<str>,
        pub version: Arc<str>,
        pub pools: Vec<ClusterPool>,
        /// For each label key that occurs below, the values that occur.
        pub labels: Vec<ClusterLabel>,
        /// There are more keys than are listed.
        pub labels_truncated: bool,
        #[serde(skip_serializing)]
        pub observed_time: Option<Time>,
    }

    /// The machines of one architecture that run one runtime class (empty: the default).
    #[derive(serde::Serialize)]
    pub struct ClusterPool {
        pub architecture: Arc<str>,
        pub runtime_class: Arc<str>,
        pub machines: i64,
        /// Left on all of them together.
        pub free: Quantities,
        /// The most of each resource that is left on a single one.
        pub largest: Quantities,
    }

    #[derive(serde::Serialize)]
    pub struct ClusterLabel {
        pub key: Arc<str>,
        pub values: Vec<Arc<str>>,
        /// There are more values than are listed.
        pub truncated: bool,
        /// Every machine has the key.
        pub everywhere: bool,
    }
}

held! { Cluster = "clusters.dunlin.io" }
