//! The embedded default: one SQLite file with the latest state, everything else in memory.
//!
//! One thread owns the file. It takes whatever writes are waiting, puts them into one transaction with one fsync,
//! publishes them, and only then answers: a hundred concurrent writers cost about as much as one. Reads and watches
//! never come here; they are served from memory. At idle nothing is written: SQLite checkpoints only when we say so,
//! and we say so only after a write.
//!
//! Why a write-ahead log with `synchronous=FULL`: one fsync per batch (a rollback journal needs three), and a torn tail
//! is recognised by its checksums. Why no index besides the row number: the map knows each entry's row, so an update
//! writes one page for most objects. The file is locked for this process alone, so no shared-memory file is needed.

mod file;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::{mpsc, oneshot};

use crate::state::State;
use crate::{Entry, Error, Key, Limits, Page, Revision, Scope, Store, Watch, Write};

/// Writes that may wait for the writing thread; further writers wait for a place. A few batches' worth.
const QUEUE: usize = 1024;

/// How a store file is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is kept in memory besides the entries.
    pub limits: Limits,
    /// How many revisions are reserved at once. A block costs one write of the file when ephemeral changes alone use
    /// it up, and after a crash the revision skips at most this many.
    pub revision_block: u64,
    /// The log is carried over into the file when about this many pages of 4 KiB have been written to it. Larger
    /// means fewer writes to flash and a larger log.
    pub checkpoint_pages: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { limits: Limits::default(), revision_block: 100_000, checkpoint_pages: 1000 }
    }
}

/// What the store has done since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Changes made.
    pub writes: u64,
    /// Transactions; each is one fsync of the log (and a second one when the log starts over).
    pub batches: u64,
    /// Times the log was carried over into the file; each is two fsyncs.
    pub checkpoints: u64,
}

#[derive(Debug, Default)]
struct Counters {
    writes: AtomicU64,
    batches: AtomicU64,
    checkpoints: AtomicU64,
}

struct Request {
    write: Write,
    reply: oneshot::Sender<Result<Entry, Error>>,
}

/// A store in a file. Dropping it finishes the waiting writes and closes the file.
pub struct SqliteStore {
    state: Arc<State>,
    path: PathBuf,
    counters: Arc<Counters>,
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl SqliteStore {
    /// Opens the file, or makes it, and reads all entries. Blocks; takes about a second per hundred thousand entries.
    ///
    /// # Errors
    /// When the file is damaged, of another version, in use, or cannot be read.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, Error> {
        let path = path.as_ref().to_path_buf();
        let opened = file::open(&path, &options)?;
        tracing::debug!(path = %path.display(), entries = opened.start.entries.len(), revision = opened.start.start, "store opened");
        let counters = Arc::new(Counters::default());
        let known = opened.start.ephemeral.clone();
        let next = opened.start.start;
        let state = State::new(opened.start, &options.limits);
        let (sender, receiver) = mpsc::channel(QUEUE);
        let writer = writer::Writer {
            file: opened.file,
            state: state.clone(),
            counters: counters.clone(),
            options,
            revision: next,
            ceiling: opened.ceiling,
            next_row: opened.next_row,
            ephemeral: known,
            log_pages: 0,
            failing: false,
        };
        let thread =
            std::thread::Builder::new().name("store".into()).spawn(move || writer.run(receiver)).map_err(
                |e| Error::Io { operation: "starting a thread for", path: path.clone(), source: Arc::new(e) },
            )?;
        Ok(Self { state, path, counters, requests: Some(sender), thread: Some(thread) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was done since the store was opened.
    pub fn stats(&self) -> Stats {
        Stats {
            writes: self.counters.writes.load(Ordering::Relaxed),
            batches: self.counters.batches.load(Ordering::Relaxed),
            checkpoints: self.counters.checkpoints.load(Ordering::Relaxed),
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by the panic hook; there is nobody left to tell.
            let _ = thread.join();
        }
        self.state.close();
    }
}

impl Store for SqliteStore {
    fn write(&self, write: Write) -> BoxFuture<'_, Result<Entry, Error>> {
        let requests = self.requests.clone();
        async move {
            let (reply, answer) = oneshot::channel();
            let requests = requests.ok_or(Error::Closed)?;
            requests.send(Request { write, reply }).await.map_err(|_| Error::Closed)?;
            // The clone must not keep the writer alive while this future waits for its answer.
            drop(requests);
            answer.await.unwrap_or(Err(Error::Closed))
        }
        .boxed()
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
