//! What has to be looked at again: each thing by itself, one look at a time, failures after a pause.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_base::backoff::step;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Pauses after failures.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(20);

/// One thing that is kept as the parent wants it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Id {
    /// A pod above, by uid, and its mirror.
    Pod(String),
    /// A DaemonSet above, by uid, and what it became below.
    Daemon(String),
    /// Copies that nobody uses any more.
    Copies,
}

#[derive(Default)]
struct Inner {
    waiting: BTreeMap<Id, Instant>,
    busy: BTreeSet<Id>,
    failures: BTreeMap<Id, u32>,
}

/// The queue.
#[derive(Default)]
pub struct Queue {
    inner: Mutex<Inner>,
    wake: Notify,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something about `id` changed.
    pub fn push(&self, id: Id) {
        self.at(id, Instant::now());
    }

    /// Look at `id` at that time, or earlier if that was asked for before.
    pub fn at(&self, id: Id, at: Instant) {
        let mut inner = self.lock();
        let due = inner.waiting.entry(id).or_insert(at);
        *due = (*due).min(at);
        drop(inner);
        self.wake.notify_one();
    }

    /// The next thing that is due; waits for one.
    pub async fn next(&self) -> Id {
        loop {
            let due = {
                let mut inner = self.lock();
                let now = Instant::now();
                let free = inner.waiting.iter().filter(|(id, _)| !inner.busy.contains(*id));
                let first = free.min_by_key(|(_, at)| **at).map(|(id, at)| (id.clone(), *at));
                match first {
                    Some((id, at)) if at <= now => {
                        inner.waiting.remove(&id);
                        inner.busy.insert(id.clone());
                        return id;
                    }
                    other => other.map(|(_, at)| at),
                }
            };
            match due {
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = self.wake.notified() => {}
                },
                None => self.wake.notified().await,
            }
        }
    }

    /// `id` has been looked at; after a failure it is again, later each time.
    pub fn done(&self, id: Id, failed: bool) {
        let mut inner = self.lock();
        inner.busy.remove(&id);
        if failed {
            let failures = inner.failures.entry(id.clone()).or_default();
            let pause = step(FIRST, LONGEST, *failures);
            *failures = failures.saturating_add(1);
            inner.waiting.insert(id, Instant::now() + pause);
        } else {
            inner.failures.remove(&id);
        }
        drop(inner);
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_look_at_a_time_and_failures_wait() {
        let queue = Queue::default();
        let id = Id::Pod("a".into());
        queue.push(id.clone());
        assert_eq!(queue.next().await, id);
        queue.push(id.clone());
        let both = tokio::time::timeout(Duration::from_secs(60), queue.next()).await;
        assert!(both.is_err(), "it is being looked at");
        queue.done(id.clone(), true);
        let begun = Instant::now();
        assert_eq!(queue.next().await, id);
        assert!(begun.elapsed() >= FIRST, "a failure is not repeated at once");
    }
}
