//! Snapshots kept for lists that are read page by page.
//!
//! A pinned snapshot costs what has changed since: old values that would otherwise be freed. Hence the two bounds, in
//! number and in time; a list whose snapshot is gone starts again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::Revision;
use crate::index::Snapshot;

pub(crate) struct Pins {
    pins: VecDeque<Pin>,
    most: usize,
    age: Duration,
}

struct Pin {
    revision: Revision,
    used: Instant,
    snapshot: Snapshot,
}

impl Pins {
    pub fn new(most: usize, age: Duration) -> Self {
        Self { pins: VecDeque::new(), most, age }
    }

    /// Keeps a snapshot; the one that was unused for longest goes when there are too many.
    pub fn keep(&mut self, revision: Revision, snapshot: &Snapshot, now: Instant) {
        self.pins.retain(|p| p.revision != revision);
        self.pins.push_back(Pin { revision, used: now, snapshot: snapshot.clone() });
        while self.pins.len() > self.most {
            self.pins.pop_front();
        }
    }

    pub fn get(&mut self, revision: Revision) -> Option<Snapshot> {
        self.pins.iter().find(|p| p.revision == revision).map(|p| p.snapshot.clone())
    }

    pub fn expire(&mut self, now: Instant) {
        // In order of use: the oldest is in front.
        while self.pins.front().is_some_and(|p| now.duration_since(p.used) > self.age) {
            self.pins.pop_front();
        }
    }
}
