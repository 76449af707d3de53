//! What can happen, and the order in which it does: by time, and at one time in the order in which it was set.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use dunlin_api::offer::Answer;
use dunlin_control::model::{Cluster as Told, Node};
use k8s_openapi::api::core::v1::PodStatus;
use std::sync::Arc;

use crate::cluster::ClusterId;
use crate::offering::Asked;
use crate::pods::PodId;

pub enum Event {
    /// A pod is made in its home's API.
    Made(PodId),
    /// A scheduler looks at what waits.
    Turn(ClusterId),
    /// A question has come down to a child.
    Offered(ClusterId, Vec<Asked>),
    /// Its answers have come back up.
    Answered(ClusterId, Arc<str>, Vec<(Asked, Answer)>),
    /// A pod that was bound to a child has come down to it.
    Bound(ClusterId, PodId),
    /// A pod has come to its machine.
    Arrived(PodId),
    /// Its containers run.
    Running(PodId),
    /// Its readiness changes.
    Changed(PodId, bool),
    /// Its work is done.
    Finished(PodId),
    /// A cluster's API has a new status of a pod.
    Status(ClusterId, PodId, Box<PodStatus>),
    /// A mirror may have waited for too long.
    Unplaced(ClusterId, PodId),
    /// A cluster sums itself up.
    Summary(ClusterId),
    /// The Node that stands for a child has changed.
    Node(ClusterId, Arc<Node>),
    /// What a child says of itself has changed.
    Told(ClusterId, Arc<Told>),
    /// Places and refusals whose time may be over.
    Expire(ClusterId),
    /// The machines are looked at.
    Sample,
}

struct Set {
    at: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Set {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Set {}

impl PartialOrd for Set {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Set {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// All events to come.
#[derive(Default)]
pub struct Agenda {
    sets: BinaryHeap<Reverse<Set>>,
    count: u64,
}

impl Agenda {
    pub fn set(&mut self, at: u64, event: Event) {
        self.count += 1;
        self.sets.push(Reverse(Set { at, order: self.count, event }));
    }

    /// The next event, if it comes no later than `end`.
    pub fn next_until(&mut self, end: u64) -> Option<(u64, Event)> {
        self.sets.peek().filter(|Reverse(set)| set.at <= end)?;
        self.sets.pop().map(|Reverse(set)| (set.at, set.event))
    }
}
