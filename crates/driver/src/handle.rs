//! What others in the process may ask the driver: places for pods that are offered from above, and the sum of all.

use std::collections::BTreeMap;
use std::sync::Arc;

use dunlin_api::offer::Answer;
use dunlin_control::model::Quantities;
use dunlin_control::summary::Summary;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

/// Questions that wait for the loop.
pub(crate) const WAITING: usize = 64;

/// One question.
pub(crate) enum Request {
    /// Keep places for these pods, for so many seconds. They are as they would be created here.
    Reserve { pods: Vec<Value>, seconds: u32, reply: oneshot::Sender<Vec<Answer>> },
    /// What each machine has for pods of `parent`.
    Machines { parent: Arc<str>, reply: oneshot::Sender<BTreeMap<Arc<str>, Quantities>> },
    /// What the cluster tells `parent` of itself.
    Summary { parent: Arc<str>, reply: oneshot::Sender<Summary> },
}

/// Asks the driver; cheap to clone.
#[derive(Debug, Clone)]
pub struct SchedulerHandle {
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) changes: watch::Receiver<u64>,
}

impl SchedulerHandle {
    /// Places for pods that a parent wants to bind to this cluster, kept for `seconds`; an answer for each, in order.
    /// `None`: the driver has ended.
    pub async fn reserve(&self, pods: Vec<Value>, seconds: u32) -> Option<Vec<Answer>> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Reserve { pods, seconds, reply }).await.ok()?;
        answer.await.ok()
    }

    /// The sum of the cluster, where pods with the label `dunlin.io/mirror: <parent>` are the parent's.
    /// `None`: the driver has ended.
    pub async fn summary(&self, parent: &str) -> Option<Summary> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Summary { parent: parent.into(), reply }).await.ok()?;
        answer.await.ok()
    }

    /// What each machine has, less what the cluster's own pods use. `None`: the driver has ended.
    pub async fn machines(&self, parent: &str) -> Option<BTreeMap<Arc<str>, Quantities>> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Machines { parent: parent.into(), reply }).await.ok()?;
        answer.await.ok()
    }

    /// Ticks whenever something changed that a sum may show.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }
}
