//! What is asked of a host for every pod and every host, as plain numbers: looking names up in maps of quantities, and
//! comparing names of images, is most of the time of a decision otherwise.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::model::{Node, Quantities};

/// CPU (milli) and memory (bytes).
type Pair = (i64, i64);

#[derive(Debug, Clone, Default)]
pub(super) struct Room {
    pub(super) has: Pair,
    /// What requests leave; less than nothing if pods were bound past the scheduler.
    pub(super) free: Pair,
    /// How many more pods.
    places: i64,
    most_pods: i64,
    /// Hashed names of images with their sizes, sorted; shared, since it changes seldom.
    images: Arc<[(u64, i64)]>,
}

impl Room {
    pub(super) fn new(node: &Node, used: &Quantities, pods: usize) -> Self {
        let has = &node.status.allocatable;
        let names =
            node.status.images.iter().flat_map(|i| i.names.iter().map(|name| (hash(name), i.size_bytes)));
        let mut images: Vec<(u64, i64)> = names.collect();
        images.sort_unstable();
        let mut room = Self {
            has: (has.get("cpu"), has.get("memory")),
            most_pods: has.get("pods"),
            images: images.into(),
            ..Self::default()
        };
        room.count(used, pods);
        room
    }

    /// Counts what is in use anew.
    pub(super) fn count(&mut self, used: &Quantities, pods: usize) {
        self.free =
            (self.has.0.saturating_sub(used.get("cpu")), self.has.1.saturating_sub(used.get("memory")));
        self.places = self.most_pods - i64::try_from(pods).unwrap_or(i64::MAX);
    }

    /// Whether pods, CPU and memory leave room for so much: never wrong in saying no.
    pub(super) fn takes(&self, (cpu, memory): Pair) -> bool {
        self.places > 0 && (cpu <= 0 || cpu <= self.free.0) && (memory <= 0 || memory <= self.free.1)
    }

    /// Whether there is room and nothing but CPU and memory is wanted.
    pub(super) fn plainly_takes(&self, wanted: &Quantities) -> bool {
        wanted.iter().all(|(name, _)| matches!(&**name, "cpu" | "memory"))
            && self.takes((wanted.get("cpu"), wanted.get("memory")))
    }

    /// Size of an image by its hashed name; 0 if it is not present.
    pub(super) fn image(&self, name: u64) -> i64 {
        let at = self.images.partition_point(|(other, _)| *other < name);
        self.images.get(at).filter(|(other, _)| *other == name).map_or(0, |(_, size)| *size)
    }
}

pub(super) fn hash(image: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    image.hash(&mut hasher);
    hasher.finish()
}
