//! What clusters tell of themselves, as `uplink` does it: the Node that stands for one and its summary, on change.

use std::sync::Arc;

use dunlin_control::model::{Cluster as Told, Node};
use dunlin_control::summary::{Summary, summarise};
use dunlin_node::{NodeInfo, registration};
use dunlin_uplink::Level;
use dunlin_uplink::plan::report;
use serde_json::{Value, json};

use crate::cluster::ClusterId;
use crate::event::Event;
use crate::pods::timestamp;
use crate::run::Simulation;
use crate::stats::{Sort, nanos};

impl Simulation<'_> {
    /// Makes every cluster known to its parent before the clock starts; that is not counted.
    pub(crate) fn register(&mut self) {
        for at in (0..self.clusters.len()).rev() {
            let Some((level, parent)) = self.clusters[at].uplink.clone().zip(self.clusters[at].parent) else {
                continue;
            };
            let summary = summarise(&self.clusters[at].snapshot, &level.parent);
            let info = report::info(&level, &self.times.version, &summary);
            let (node, _) = self.node(at, &info);
            let (told, _) = told(&level, &self.times.version, &summary, 0);
            let above = &mut self.clusters[parent].snapshot;
            above.set_node(node);
            above.set_child(told);
            self.clusters[at].told = Some((info, summary));
        }
    }

    /// Something changed that a summary may show: it is told once changes have been gathered for a while.
    pub(crate) fn changed(&mut self, at: ClusterId) {
        let cluster = &mut self.clusters[at];
        if cluster.uplink.is_some() && cluster.summary_at.is_none() {
            let due = self.now + u64::try_from(self.times.settle.as_millis()).unwrap_or(u64::MAX);
            cluster.summary_at = Some(due);
            self.agenda.set(due, Event::Summary(at));
        }
    }

    pub(crate) fn summary(&mut self, at: ClusterId) {
        self.clusters[at].summary_at = None;
        let Some((level, parent)) = self.clusters[at].uplink.clone().zip(self.clusters[at].parent) else {
            return;
        };
        let began = (self.clock)();
        let summary = summarise(&self.clusters[at].snapshot, &level.parent);
        let took = nanos((self.clock)().saturating_sub(began));
        let depth = self.clusters[at].depth;
        self.levels[depth].summaries.push(took);
        let info = report::info(&level, &self.times.version, &summary);
        let (old_info, old_summary) = self.clusters[at].told.take().unwrap_or_default();
        let due = self.now + self.link(at);
        if info != old_info {
            let (node, bytes) = self.node(at, &info);
            self.levels[depth].sent(Sort::NodeStatus, bytes, self.now);
            self.agenda.set(due, Event::Node(parent, node));
        }
        if summary != old_summary {
            let (told, bytes) = told(&level, &self.times.version, &summary, self.now);
            self.levels[depth].sent(Sort::Summary, bytes, self.now);
            self.agenda.set(due, Event::Told(parent, told));
        }
        self.clusters[at].told = Some((info, summary));
    }

    pub(crate) fn take_node(&mut self, at: ClusterId, node: Arc<Node>) {
        if self.clusters[at].snapshot.set_node(node) {
            self.wake(at);
        }
        self.changed(at);
    }

    pub(crate) fn take_told(&mut self, at: ClusterId, told: Arc<Told>) {
        if self.clusters[at].snapshot.set_child(told) {
            self.wake(at);
        }
        self.changed(at);
    }

    /// The Node as the parent then has it, and the bytes of the patch of its status.
    fn node(&mut self, at: ClusterId, info: &NodeInfo) -> (Arc<Node>, usize) {
        let patch = registration::patch(info, timestamp(self.now), &mut self.clusters[at].transitions);
        let whole = json!({
            "metadata": {"name": info.name, "labels": info.labels, "annotations": info.annotations},
            "status": patch["status"],
        });
        (Arc::new(serde_json::from_value(whole).unwrap_or_default()), length(&patch))
    }
}

/// The `Cluster` as the parent then has it, and the bytes of the patch.
fn told(level: &Level, version: &str, summary: &Summary, now: u64) -> (Arc<Told>, usize) {
    let patch = report::cluster(level, version, summary, timestamp(now));
    let whole = json!({"metadata": {"name": level.node}, "status": patch["status"]});
    (Arc::new(serde_json::from_value(whole).unwrap_or_default()), length(&patch))
}

fn length(value: &Value) -> usize {
    serde_json::to_vec(value).map_or(0, |text| text.len())
}
