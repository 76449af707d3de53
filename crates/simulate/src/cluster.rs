//! One server of the tree: what its driver and its uplink would hold.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use dunlin_control::model::Pod;
use dunlin_control::scheduler::kept::Kept;
use dunlin_control::scheduler::{Policy, Queue, Snapshot};
use dunlin_control::summary::Summary;
use dunlin_node::NodeInfo;
use dunlin_node::registration::Transitions;
use dunlin_uplink::Level;

use crate::offering::Asked;
use crate::pods::PodId;

/// A cluster by its place in [`crate::run::Simulation::clusters`].
pub type ClusterId = usize;

#[derive(Default)]
pub struct Cluster {
    pub name: Arc<str>,
    pub depth: usize,
    pub parent: Option<ClusterId>,
    /// How it is a node of its parent.
    pub uplink: Option<Level>,
    /// Child clusters by the names of their nodes.
    pub children: HashMap<Arc<str>, ClusterId>,
    /// In thousandths of a degree.
    pub position: Option<(i64, i64)>,
    pub policy: Policy,
    pub snapshot: Snapshot,
    pub pending: Queue,
    pub kept: Kept,
    /// Pods of this cluster's API that are not finished, by name.
    pub pods: HashMap<Arc<str>, (PodId, Arc<Pod>)>,
    /// Pods about which children are asked at the end of this turn, by node.
    pub offers: BTreeMap<Arc<str>, Vec<Asked>>,
    /// Pods about whose binding a child is being asked.
    pub under_way: usize,
    /// What the parent was told last.
    pub told: Option<(NodeInfo, Summary)>,
    pub transitions: Transitions,
    /// When the next event of each sort is set for (milliseconds), if one is.
    pub turn_at: Option<u64>,
    pub summary_at: Option<u64>,
    pub expire_at: Option<u64>,
    pub forgive_at: Option<u64>,
}
