//! A store that forgets everything when it is dropped: for tests, simulations, and as the measure of the others.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use crate::state::{Start, State};
use crate::{Entry, Error, Key, Limits, Page, Revision, Scope, Store, Watch, Write};

/// The store without a disk. Every class of entry lives as long as it does.
pub struct MemoryStore {
    state: Arc<State>,
    /// One writer at a time; holds the next row number, which nothing here reads.
    writer: Mutex<i64>,
}

impl MemoryStore {
    /// An empty store with default limits.
    pub fn new() -> Self {
        Self::with_limits(&Limits::default())
    }

    /// An empty store.
    pub fn with_limits(limits: &Limits) -> Self {
        // Revision 0 means "any" to Kubernetes clients, so an empty store is at 1.
        let start = Start { durable: 1, start: 1, ..Start::default() };
        Self { state: State::new(start, limits), writer: Mutex::new(1) }
    }

    fn apply(&self, write: Write) -> Result<Entry, Error> {
        let mut row = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = self.state.snapshot();
        let applied = now.apply(self.state.revision() + 1, write, &mut row)?;
        self.state.publish(now, std::iter::once(&applied.event));
        Ok(applied.entry())
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.state.close();
    }
}

impl Store for MemoryStore {
    fn write(&self, write: Write) -> BoxFuture<'_, Result<Entry, Error>> {
        // Nothing happens before the future is polled, as with a store that has a disk.
        async move { self.apply(write) }.boxed()
    }

    fn get(&self, key: &Key) -> BoxFuture<'_, Result<Option<Entry>, Error>> {
        ready(Ok(self.state.get(key))).boxed()
    }

    fn list(
        &self,
        scope: &Scope,
        after: Option<&Key>,
        limit: usize,
        at: Option<Revision>,
    ) -> BoxFuture<'_, Result<Page, Error>> {
        ready(self.state.list(scope, after, limit, at)).boxed()
    }

    fn revision(&self) -> Revision {
        self.state.revision()
    }

    fn watch(&self, scope: Scope, after: Option<Revision>) -> Result<Watch, Error> {
        self.state.watch(scope, after)
    }
}
