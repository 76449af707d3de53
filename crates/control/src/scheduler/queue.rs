//! Which pod is placed next: higher priority first, then older; those that found no node wait.
//!
//! A pod that found no node tries again when the cluster changed, but not before its backoff has passed; and now and
//! then even if nothing changed. Times are milliseconds of any clock that does not go backwards.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use crate::model::Key;

/// kube-scheduler's backoff: 1 s, doubled up to 10 s.
const FIRST: u64 = 1_000;
const MOST: u64 = 10_000;
/// A pod is tried again after this long without any change, in case a change was overlooked.
const AT_LATEST: u64 = 300_000;

/// Priority, creation (seconds) and key: the order of the queue.
type Rank = (Reverse<i32>, i64, Key);

#[derive(Debug, Default)]
pub struct Queue {
    active: BTreeSet<Rank>,
    entries: HashMap<Key, Entry>,
}

#[derive(Debug)]
struct Entry {
    rank: Rank,
    attempts: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Active,
    /// Taken out by `pop` and not reported as failed yet.
    Busy,
    /// Not before the first time, and at the second in any case.
    Waiting {
        not_before: u64,
        at: u64,
    },
}

impl Queue {
    /// Puts a pod in; one that is known already stays as it is, apart from its rank.
    pub fn add(&mut self, key: Key, priority: i32, created: i64) {
        let rank = (Reverse(priority), created, key.clone());
        let entry = self.entries.entry(key);
        let entry = entry.or_insert_with(|| Entry { rank: rank.clone(), attempts: 0, state: State::Active });
        if entry.state == State::Active {
            self.active.remove(&entry.rank);
            self.active.insert(rank.clone());
        }
        entry.rank = rank;
    }

    /// Takes a pod out for good: it is bound or gone.
    pub fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.active.remove(&entry.rank);
        }
    }

    /// The next pod to place; it must be removed or reported as failed.
    pub fn pop(&mut self, now: u64) -> Option<Key> {
        let due = self
            .entries
            .values_mut()
            .filter(|entry| matches!(entry.state, State::Waiting { at, .. } if at <= now));
        for entry in due {
            entry.state = State::Active;
            self.active.insert(entry.rank.clone());
        }
        let (_, _, key) = self.active.pop_first()?;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.state = State::Busy;
        }
        Some(key)
    }

    /// Takes a pod that was not popped, because it is placed together with one that was; it must be removed or
    /// reported as failed.
    pub fn claim(&mut self, key: &Key) {
        if let Some(entry) = self.entries.get_mut(key) {
            self.active.remove(&entry.rank);
            entry.state = State::Busy;
        }
    }

    /// The pod could not be placed; `soon` says that the failure had nothing to do with the cluster's state.
    pub fn failed(&mut self, key: &Key, now: u64, soon: bool) {
        if let Some(entry) = self.entries.get_mut(key) {
            self.active.remove(&entry.rank);
            let not_before = now + (FIRST << entry.attempts.min(8)).min(MOST);
            entry.attempts = entry.attempts.saturating_add(1);
            let at = if soon { not_before } else { now + AT_LATEST };
            entry.state = State::Waiting { not_before, at };
        }
    }

    /// The cluster changed: all waiting pods try again once their backoff has passed.
    pub fn wake(&mut self) {
        for entry in self.entries.values_mut() {
            if let State::Waiting { not_before, at } = &mut entry.state {
                *at = (*at).min(*not_before);
            }
        }
    }

    /// When `pop` may give a pod again, if nothing happens in between.
    pub fn next_at(&self) -> Option<u64> {
        let times = self.entries.values().filter_map(|entry| match entry.state {
            State::Active => Some(0),
            State::Waiting { at, .. } => Some(at),
            State::Busy => None,
        });
        times.min()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("pods", "default", name)
    }

    #[test]
    fn priority_goes_before_age() {
        let mut queue = Queue::default();
        queue.add(key("young"), 0, 20);
        queue.add(key("old"), 0, 10);
        queue.add(key("vip"), 1000, 30);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(0)).map(|k| k.name.to_string()).collect();
        assert_eq!(order, ["vip", "old", "young"]);
    }

    #[test]
    fn a_claimed_pod_is_not_popped() {
        let mut queue = Queue::default();
        queue.add(key("a"), 0, 0);
        queue.add(key("b"), 0, 1);
        queue.claim(&key("a"));
        assert_eq!(queue.pop(0), Some(key("b")));
        assert_eq!(queue.pop(AT_LATEST), None);
        queue.failed(&key("a"), 0, true);
        assert_eq!(queue.pop(FIRST), Some(key("a")));
    }

    #[test]
    fn failures_wait_for_change_and_backoff() {
        let mut queue = Queue::default();
        queue.add(key("a"), 0, 0);
        assert!(queue.pop(0).is_some());
        queue.failed(&key("a"), 0, false);
        assert_eq!(queue.pop(5_000), None, "nothing changed");
        assert!(queue.pop(AT_LATEST).is_some(), "but it is not forgotten");
        queue.failed(&key("a"), AT_LATEST, false);
        queue.wake();
        assert_eq!(queue.next_at(), Some(AT_LATEST + 2 * FIRST));
        assert_eq!(queue.pop(AT_LATEST + FIRST), None, "backoff has doubled");
        assert!(queue.pop(AT_LATEST + 2 * FIRST).is_some());
        queue.remove(&key("a"));
        assert!(queue.is_empty());
    }
}
