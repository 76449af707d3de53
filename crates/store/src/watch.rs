//! A watcher's end of the hub.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::mpsc;

use crate::state::State;
use crate::{Error, Event, Revision, Scope};

/// The changes of a scope, in order. Dropping it ends the watch.
pub struct Watch {
    pub(crate) scope: Scope,
    pub(crate) id: u64,
    pub(crate) state: Weak<State>,
    pub(crate) backlog: VecDeque<Arc<Event>>,
    pub(crate) queue: mpsc::Receiver<Arc<Event>>,
    pub(crate) lagged: Arc<AtomicBool>,
    pub(crate) revision: Arc<AtomicU64>,
    pub(crate) seen: Revision,
}

impl Watch {
    /// The next change. Safe to drop and call again: no change is lost by it.
    ///
    /// # Errors
    /// [`Error::Lagged`] when the watcher did not keep up, [`Error::Closed`] when the store is gone. What was queued
    /// before comes first; after an error nothing more comes.
    pub async fn next(&mut self) -> Result<Arc<Event>, Error> {
        let event = match self.backlog.pop_front() {
            Some(event) => {
                if self.backlog.is_empty() {
                    self.backlog = VecDeque::new();
                }
                event
            }
            None => match self.queue.recv().await {
                Some(event) => event,
                None if self.lagged.load(Ordering::Acquire) => return Err(Error::Lagged),
                None => return Err(Error::Closed),
            },
        };
        self.seen = event.revision;
        Ok(event)
    }

    /// The revision up to which `next` has returned every change of the scope: what a bookmark may say.
    pub fn progress(&self) -> Revision {
        // The order matters: every event up to this revision was queued before the revision became visible.
        let reached = self.revision.load(Ordering::Acquire);
        let behind =
            !self.backlog.is_empty() || self.lagged.load(Ordering::Acquire) || !self.queue.is_empty();
        if behind { self.seen } else { self.seen.max(reached) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(state) = self.state.upgrade() {
            state.unsubscribe(&self.scope, self.id);
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("scope", &self.scope).field("seen", &self.seen).finish_non_exhaustive()
    }
}
