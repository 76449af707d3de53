//! Who watches what, and the ring of recent changes.
//!
//! The ring is bounded in bytes, because a change of a large object costs as much memory as a hundred small ones. A
//! watcher is found by the narrowest part of its scope, so that a change of one pod costs the watchers of its node,
//! its name, its namespace and all pods, and none of the thousands that watch other nodes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::{Event, Revision, Scope};

/// What an event costs besides its two values: the event, its key, and its place in the ring.
const EVENT_OVERHEAD: usize = 256;

/// The narrowest part of a scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Interest {
    All,
    Namespace(Arc<str>),
    Name(Arc<str>),
    Tag(Arc<str>),
}

impl Interest {
    pub fn of(scope: &Scope) -> Self {
        match scope {
            Scope { tag: Some(tag), .. } => Self::Tag(tag.clone()),
            Scope { name: Some(name), .. } => Self::Name(name.clone()),
            Scope { namespace: Some(namespace), .. } => Self::Namespace(namespace.clone()),
            _ => Self::All,
        }
    }
}

struct Sink {
    id: u64,
    scope: Scope,
    queue: mpsc::Sender<Arc<Event>>,
    lagged: Arc<AtomicBool>,
}

/// A new watcher's half of the hub.
pub(crate) struct Source {
    pub id: u64,
    pub backlog: VecDeque<Arc<Event>>,
    pub queue: mpsc::Receiver<Arc<Event>>,
    pub lagged: Arc<AtomicBool>,
}

pub(crate) struct Hub {
    ring: VecDeque<Arc<Event>>,
    bytes: usize,
    most_bytes: usize,
    queue: usize,
    /// The oldest revision that a watch can start after.
    floor: Revision,
    /// When each resource last changed, as far back as this process knows.
    changed: HashMap<Arc<str>, Revision>,
    sinks: HashMap<Arc<str>, HashMap<Interest, Vec<Sink>>>,
    next_id: u64,
    closed: bool,
}

impl Hub {
    pub fn new(floor: Revision, most_bytes: usize, queue: usize) -> Self {
        Self {
            ring: VecDeque::new(),
            bytes: 0,
            most_bytes,
            queue: queue.max(1),
            floor,
            changed: HashMap::new(),
            sinks: HashMap::new(),
            next_id: 0,
            closed: false,
        }
    }

    pub fn floor(&self) -> Revision {
        self.floor
    }

    pub fn changed(&self, resource: &str) -> Option<Revision> {
        self.changed.get(resource).copied()
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Ends every watcher.
    pub fn close(&mut self) {
        self.closed = true;
        self.sinks.clear();
    }

    /// Forgets everything up to `floor`; all watchers have lagged.
    pub fn reset(&mut self, floor: Revision) {
        self.ring.clear();
        self.bytes = 0;
        self.floor = floor;
        self.changed.clear();
        for sink in self.sinks.drain().flat_map(|(_, of)| of.into_values().flatten()) {
            sink.lagged.store(true, Ordering::Release);
        }
    }

    pub fn publish(&mut self, event: &Arc<Event>) {
        self.bytes += cost(event);
        self.ring.push_back(event.clone());
        while self.bytes > self.most_bytes
            && let Some(oldest) = self.ring.pop_front()
        {
            self.bytes -= cost(&oldest);
            self.floor = oldest.revision;
        }
        match self.changed.get_mut(&event.key.resource) {
            Some(changed) => *changed = event.revision,
            None => {
                self.changed.insert(event.key.resource.clone(), event.revision);
            }
        }
        self.deliver(event);
    }

    /// Adds a watcher, with what the ring holds for it after `after`.
    pub fn subscribe(&mut self, scope: &Scope, after: Revision) -> Source {
        let start = self.ring.partition_point(|event| event.revision <= after);
        let backlog = self.ring.iter().skip(start).filter(|event| scope.concerns(event)).cloned().collect();
        let (sender, receiver) = mpsc::channel(self.queue);
        let lagged = Arc::new(AtomicBool::new(false));
        self.next_id += 1;
        let sink = Sink { id: self.next_id, scope: scope.clone(), queue: sender, lagged: lagged.clone() };
        let resource = self.sinks.entry(scope.resource.clone()).or_default();
        resource.entry(Interest::of(scope)).or_default().push(sink);
        Source { id: self.next_id, backlog, queue: receiver, lagged }
    }

    pub fn unsubscribe(&mut self, scope: &Scope, id: u64) {
        let Some(resource) = self.sinks.get_mut(&scope.resource) else { return };
        let interest = Interest::of(scope);
        if let Some(sinks) = resource.get_mut(&interest) {
            sinks.retain(|s| s.id != id);
            if sinks.is_empty() {
                resource.remove(&interest);
            }
        }
        if resource.is_empty() {
            self.sinks.remove(&scope.resource);
        }
    }

    fn deliver(&mut self, event: &Arc<Event>) {
        let Some(resource) = self.sinks.get_mut(&event.key.resource) else { return };
        let mut tell = |interest: Interest| {
            if let Some(sinks) = resource.get_mut(&interest) {
                sinks.retain(|sink| offer(sink, event));
            }
        };
        tell(Interest::All);
        tell(Interest::Namespace(event.key.namespace.clone()));
        tell(Interest::Name(event.key.name.clone()));
        if let Some(tag) = &event.tag {
            tell(Interest::Tag(tag.clone()));
        }
        if let Some(old) = &event.old_tag
            && event.tag.as_ref() != Some(old)
        {
            tell(Interest::Tag(old.clone()));
        }
    }
}

/// Hands an event to a watcher; false when the watcher is to be forgotten.
fn offer(sink: &Sink, event: &Arc<Event>) -> bool {
    if !sink.scope.concerns(event) {
        return true;
    }
    match sink.queue.try_send(event.clone()) {
        Ok(()) => true,
        Err(TrySendError::Full(_)) => {
            sink.lagged.store(true, Ordering::Release);
            false
        }
        Err(TrySendError::Closed(_)) => false,
    }
}

fn cost(event: &Event) -> usize {
    EVENT_OVERHEAD + event.value.len() + event.old.as_ref().map_or(0, bytes::Bytes::len)
}
