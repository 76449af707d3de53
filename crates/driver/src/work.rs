//! Which keys are planned, and when: each at most once at a time, failures with growing pauses.
//!
//! Pure; times are milliseconds since the driver began.

use std::collections::{BTreeSet, HashMap, VecDeque};

use dunlin_control::model::Key;

use crate::awaits::Awaits;

/// A controller's number and the key that it plans.
pub type Id = (usize, Key);

const FIRST: u64 = 20;
const MOST: u64 = 60_000;
/// After this long, a key is planned although the informers have not seen its writes: what was awaited may have been
/// overtaken in a way that nobody thought of, and a controller must not stop for good.
const PATIENCE: u64 = 60_000;

#[derive(Debug, Default)]
pub struct Work {
    ready: VecDeque<Id>,
    entries: HashMap<Id, Entry>,
    timers: BTreeSet<(u64, Id)>,
    /// Keys that rest until their own writes have been seen.
    resting: BTreeSet<Id>,
}

#[derive(Debug, Default)]
struct Entry {
    queued: bool,
    running: bool,
    /// Something changed while the key could not be planned.
    dirty: bool,
    failures: u32,
    not_before: u64,
    awaits: Option<(Awaits, u64)>,
    timer: Option<u64>,
}

impl Work {
    /// Something changed that the key depends on.
    pub fn push(&mut self, id: Id, now: u64) {
        let entry = self.entries.entry(id.clone()).or_default();
        if entry.queued {
            return;
        }
        if entry.running || entry.awaits.is_some() {
            entry.dirty = true;
        } else if entry.not_before > now {
            let at = entry.not_before;
            self.at(id, at);
        } else {
            entry.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Plans the key at `at` (or earlier).
    pub fn at(&mut self, id: Id, at: u64) {
        let entry = self.entries.entry(id.clone()).or_default();
        if entry.timer.is_some_and(|earlier| earlier <= at) {
            return;
        }
        if let Some(later) = entry.timer.replace(at) {
            self.timers.remove(&(later, id.clone()));
        }
        self.timers.insert((at, id));
    }

    /// The next key to plan; it counts as running until [`Self::done`] or [`Self::idle`].
    pub fn pop(&mut self) -> Option<Id> {
        let id = self.ready.pop_front()?;
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.queued = false;
            entry.running = true;
        }
        Some(id)
    }

    /// The plan of the key had nothing to write.
    pub fn idle(&mut self, id: &Id) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.running = false;
            entry.failures = 0;
            if entry.timer.is_none() && !entry.dirty {
                self.entries.remove(id);
            }
        }
    }

    /// The key's writes were made; it rests until `awaits` is satisfied, and longer if one of them failed.
    pub fn done(&mut self, id: Id, awaits: Awaits, failed: bool, now: u64) {
        let entry = self.entries.entry(id.clone()).or_default();
        entry.running = false;
        if failed {
            let pause = (FIRST << entry.failures.min(16)).min(MOST);
            entry.failures = entry.failures.saturating_add(1);
            entry.not_before = now + pause;
            entry.dirty = true;
        } else {
            entry.failures = 0;
            entry.not_before = 0;
        }
        if !awaits.is_empty() {
            entry.awaits = Some((awaits, now));
            self.resting.insert(id);
        } else if std::mem::take(&mut entry.dirty) {
            self.push(id, now);
        }
    }

    /// Wakes keys whose timers are due, and resting ones whose writes have been seen.
    pub fn wake(&mut self, now: u64, seen: impl Fn(&mut Awaits) -> bool) {
        while let Some((at, id)) = self.timers.first().filter(|(at, _)| *at <= now).cloned() {
            self.timers.remove(&(at, id.clone()));
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.timer = None;
                self.push(id, now);
            }
        }
        let entries = &mut self.entries;
        let rested: Vec<Id> = self
            .resting
            .iter()
            .filter(|id| {
                let Some((awaits, since)) = entries.get_mut(*id).and_then(|entry| entry.awaits.as_mut())
                else {
                    return true;
                };
                let late = *since + PATIENCE <= now;
                if late {
                    tracing::warn!(key = %id.1, awaits = ?awaits, "own writes were not seen in time");
                }
                late || seen(awaits)
            })
            .cloned()
            .collect();
        for id in rested {
            self.resting.remove(&id);
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.awaits = None;
                if std::mem::take(&mut entry.dirty) {
                    self.push(id, now);
                } else if entry.timer.is_none() && !entry.queued && !entry.running {
                    self.entries.remove(&id);
                }
            }
        }
    }

    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// When `wake` may find something to do by time alone.
    pub fn next_at(&self) -> Option<u64> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let patience = |id: &Id| self.entries.get(id)?.awaits.as_ref().map(|(_, since)| since + PATIENCE);
        timer.into_iter().chain(self.resting.iter().filter_map(patience)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> Id {
        (0, Key::new("pods", "default", name))
    }

    #[test]
    fn a_key_is_planned_once_at_a_time() {
        let mut work = Work::default();
        work.push(id("a"), 0);
        work.push(id("a"), 0);
        assert_eq!(work.pop(), Some(id("a")));
        assert_eq!(work.pop(), None);
        work.push(id("a"), 0);
        assert_eq!(work.pop(), None, "it is running");
        work.done(id("a"), Awaits::default(), false, 1);
        assert_eq!(work.pop(), Some(id("a")), "it changed while it ran");
    }

    #[test]
    fn a_key_rests_until_its_writes_are_seen() {
        let mut work = Work::default();
        work.push(id("a"), 0);
        work.pop();
        let mut awaits = Awaits::default();
        awaits.version("pods".into(), 7);
        work.done(id("a"), awaits, false, 0);
        work.push(id("a"), 1);
        work.wake(2, |_| false);
        assert_eq!(work.pop(), None);
        work.wake(3, |_| true);
        assert_eq!(work.pop(), Some(id("a")));
    }

    #[test]
    fn failures_pause_longer_each_time() {
        let mut work = Work::default();
        let mut now = 0;
        let mut pauses = Vec::new();
        work.push(id("a"), now);
        for _ in 0..3 {
            work.pop().expect("ready");
            work.done(id("a"), Awaits::default(), true, now);
            let at = work.next_at().expect("a timer");
            pauses.push(at - now);
            now = at;
            work.wake(now, |_| true);
        }
        assert_eq!(pauses, [20, 40, 80]);
    }
}
