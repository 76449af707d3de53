//! The thread that owns the file: group commit, the revisions' ceiling, and what happens when the disk fails.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};

use super::file::{File, Marks};
use super::{Counters, Options, Request};
use crate::index::{Applied, Disk, Snapshot};
use crate::state::State;
use crate::{Class, Entry, Error, Key, Revision};

/// The most writes in one transaction. Bounds how long the first waits for the last, and the pages a transaction
/// holds.
const BATCH: usize = 256;
/// The most bytes in one transaction, reached by a few large objects.
const BATCH_BYTES: usize = 1 << 20;

pub(super) struct Writer {
    pub file: File,
    pub state: Arc<State>,
    pub counters: Arc<Counters>,
    pub options: Options,
    /// The last revision handed out, seen by readers or not.
    pub revision: Revision,
    /// The revision up to which the file allows us to go.
    pub ceiling: Revision,
    pub next_row: i64,
    /// Resources that the file knows to have held ephemeral entries.
    pub ephemeral: HashSet<Arc<str>>,
    /// A rough count of the pages in the log since the last checkpoint.
    pub log_pages: u64,
    /// The last transaction failed. Told once, not for every write: the log may lie on the very disk that is full.
    pub failing: bool,
}

type Reply = oneshot::Sender<Result<Entry, Error>>;

/// A batch before it is published.
struct Batch {
    now: Snapshot,
    done: Vec<(Applied, Reply)>,
    refused: Vec<(Error, Reply)>,
    marks: Marks,
}

impl Writer {
    pub fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            let batch = self.gather(first, &mut requests);
            self.finish(batch);
            self.checkpoint();
        }
        self.close();
    }

    /// Applies what is waiting to a copy of the state.
    fn gather(&mut self, first: Request, requests: &mut mpsc::Receiver<Request>) -> Batch {
        let mut batch = Batch {
            now: self.state.snapshot(),
            done: Vec::new(),
            refused: Vec::new(),
            marks: Marks::default(),
        };
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(Request { write, reply }) = next.take() {
            let class = write.class;
            match batch.now.apply(self.revision + 1, write, &mut self.next_row) {
                Ok(applied) => {
                    self.revision += 1;
                    bytes += applied.event.value.len();
                    self.mark(&mut batch.marks, &applied, class);
                    batch.done.push((applied, reply));
                }
                // Answered with the rest: the entry that is in the way may be from this very batch.
                Err(error) => batch.refused.push((error, reply)),
            }
            if batch.done.len() + batch.refused.len() < BATCH && bytes < BATCH_BYTES {
                next = requests.try_recv().ok();
            }
        }
        batch
    }

    fn mark(&self, marks: &mut Marks, applied: &Applied, class: Class) {
        let resource = &applied.event.key.resource;
        if matches!(applied.disk, Disk::Delete(_)) {
            marks.deleted = Some(applied.event.revision);
        }
        if class == Class::Ephemeral
            && !self.ephemeral.contains(resource)
            && !marks.ephemeral.contains(resource)
        {
            marks.ephemeral.push(resource.clone());
        }
    }

    /// Makes a batch durable, publishes it, and answers.
    fn finish(&mut self, mut batch: Batch) {
        let durable: Vec<&Applied> =
            batch.done.iter().map(|(a, _)| a).filter(|a| a.disk != Disk::Nothing).collect();
        let writes = !durable.is_empty() || !batch.marks.is_empty();
        let left = self.ceiling.saturating_sub(self.revision);
        // A block is renewed early if a transaction is made anyway, so that ephemeral changes hardly ever need one.
        if self.revision > self.ceiling || (writes && left < self.options.revision_block / 2) {
            batch.marks.ceiling = Some(self.revision + self.options.revision_block);
        }
        if writes || batch.marks.ceiling.is_some() {
            let pages: usize = durable.iter().map(|a| 1 + a.event.value.len() / 4096).sum();
            match self.file.commit(&durable, &batch.marks) {
                Ok(()) => {
                    if std::mem::take(&mut self.failing) {
                        tracing::info!("store can write again");
                    }
                    self.log_pages += pages as u64 + 1;
                    self.ceiling = batch.marks.ceiling.unwrap_or(self.ceiling);
                    self.ephemeral.extend(batch.marks.ephemeral.drain(..));
                    self.counters.batches.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => return self.fail(batch, &error),
            }
        }
        self.publish(batch);
    }

    fn publish(&self, batch: Batch) {
        if !batch.done.is_empty() {
            self.counters.writes.fetch_add(batch.done.len() as u64, Ordering::Relaxed);
            self.state.publish(batch.now, batch.done.iter().map(|(a, _)| &a.event));
        }
        // Whoever no longer waits for an answer does not need one.
        for (applied, reply) in batch.done {
            let _ = reply.send(Ok(applied.entry()));
        }
        for (error, reply) in batch.refused {
            let _ = reply.send(Err(error));
        }
    }

    /// The disk refused the batch. Ephemeral changes need no disk and are made all the same, so that heartbeats go on
    /// while the disk is full; a change that builds on a failed one fails with it. Revisions are not used again:
    /// nobody can tell what a failed transaction left behind.
    fn fail(&mut self, batch: Batch, error: &Error) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(error = %dunlin_base::error::chain(error), "store cannot write");
        }
        let touched: HashSet<Key> = batch
            .done
            .iter()
            .filter(|(a, _)| a.disk != Disk::Nothing)
            .map(|(a, _)| a.event.key.clone())
            .collect();
        let mut kept = Batch {
            now: self.state.snapshot(),
            done: Vec::new(),
            refused: Vec::new(),
            marks: Marks::default(),
        };
        for (applied, reply) in batch.done {
            let event = &applied.event;
            let known = self.ephemeral.contains(&event.key.resource);
            if known && event.revision <= self.ceiling && !touched.contains(&event.key) {
                kept.now.repeat(event);
                kept.done.push((applied, reply));
            } else {
                kept.refused.push((error.clone(), reply));
            }
        }
        // A refusal may rest on an entry that has just failed; to try again is right for every one of them.
        for (refusal, reply) in batch.refused {
            let about = match &refusal {
                Error::Conflict { key, .. } | Error::Exists { key, .. } | Error::NotFound { key } => {
                    Some(key)
                }
                _ => None,
            };
            let doubtful = about.is_some_and(|key| touched.contains(key));
            kept.refused.push((if doubtful { error.clone() } else { refusal }, reply));
        }
        self.publish(kept);
    }

    fn checkpoint(&mut self) {
        if self.log_pages < self.options.checkpoint_pages {
            return;
        }
        // Also after a failure: the next try comes after as many pages again, not with every write.
        self.log_pages = 0;
        match self.file.checkpoint() {
            Ok(()) => {
                self.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                tracing::warn!(error = %dunlin_base::error::chain(&error), "store cannot checkpoint its log");
            }
        }
    }

    /// An orderly end gives back the revisions that were reserved and not used.
    fn close(mut self) {
        if self.ceiling > self.revision {
            let marks = Marks { ceiling: Some(self.revision), ..Marks::default() };
            if let Err(error) = self.file.commit(&[], &marks) {
                tracing::warn!(error = %dunlin_base::error::chain(&error), "store cannot note its last revision");
            }
        }
    }
}
