//! Keeps the map of this process up to date: a list at the start, then one watch over everything.
//!
//! A lost watch goes on where it was, at any member. When etcd has compacted that revision, what happened in between
//! cannot be told any more: the map is listed anew, and all watchers here have to list again, too.

use std::sync::Arc;
use std::time::Duration;

use dunlin_base::backoff::Backoff;
use dunlin_base::error::chain;
use dunlin_grpc::Failure;
use tokio::sync::{Notify, watch};

use super::keys::{Keys, Name};
use super::link::{Link, Stream};
use super::message::{self, Range, Ranged, Watched};
use super::record::Record;
use crate::index::{Snapshot, Stored};
use crate::state::{Start, State};
use crate::{Event, Revision};

const RANGE: &str = "/etcdserverpb.KV/Range";
const WATCH: &str = "/etcdserverpb.Watch/Watch";
/// Entries in a page of the first list.
const PAGE: i64 = 100;

/// The task that follows.
pub struct Follower {
    pub link: Arc<Link>,
    pub keys: Keys,
    pub state: Arc<State>,
    /// Up to where readers see everything.
    pub reached: watch::Sender<Revision>,
    /// Somebody waits for a revision that has not come.
    pub nudge: Arc<Notify>,
}

enum End {
    /// The revision to go on from is not kept any more.
    Compacted,
    Failed(Failure),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Follower {
    /// Follows for as long as it is polled.
    pub async fn run(self) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            let from = *self.reached.borrow();
            let end = self.session().await;
            if *self.reached.borrow() > from {
                backoff.reset();
            }
            match end {
                End::Compacted => {
                    tracing::warn!(
                        revision = from,
                        "etcd has compacted what this server has not seen, listing anew"
                    );
                    match load(&self.link, &self.keys).await {
                        Ok(start) => {
                            self.state.reset(start.entries, start.start);
                            self.reached.send_replace(start.start);
                            // At once, before that is compacted, too.
                            continue;
                        }
                        Err(failure) => tracing::warn!(error = chain(&failure), "listing etcd anew failed"),
                    }
                }
                End::Failed(failure) => {
                    tracing::warn!(error = chain(&failure), "the watch of etcd ended, trying again")
                }
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn session(&self) -> End {
        let (first, end) = self.keys.range();
        let next = *self.reached.borrow() + 1;
        let mut stream = match self.link.open(WATCH, message::watch(&first, &end, next)).await {
            Ok(stream) => stream,
            Err(failure) => return failure.into(),
        };
        let end = self.read(&mut stream).await;
        self.link.leave(stream.id).await;
        end
    }

    async fn read(&self, stream: &mut Stream) -> End {
        let mut events = Vec::new();
        loop {
            let answer = tokio::select! {
                answer = stream.next() => answer,
                () = self.nudge.notified() => {
                    stream.send(message::progress());
                    continue;
                }
            };
            let answer = match answer {
                Ok(Some(answer)) => answer,
                Ok(None) => return Failure::Lost("etcd has ended the watch".to_owned()).into(),
                Err(failure) => return failure.into(),
            };
            let Ok(mut answer) = Watched::decode(answer) else {
                return Failure::Lost("an answer of etcd is malformed".to_owned()).into();
            };
            if answer.compact_revision > 0 {
                return End::Compacted;
            }
            if answer.canceled {
                return Failure::Lost(format!("etcd has ended the watch: {}", answer.reason)).into();
            }
            let quiet = answer.events.is_empty() && events.is_empty() && !answer.created;
            events.append(&mut answer.events);
            if answer.fragment {
                continue;
            }
            if quiet {
                // An answer without events says that there are none up to its revision.
                self.reach(answer.revision);
            } else if let Some(last) = events.last() {
                let last = last.kv.mod_revision;
                self.apply(std::mem::take(&mut events));
                self.reach(last);
            }
        }
    }

    fn reach(&self, revision: Revision) {
        self.state.advance(revision);
        self.reached.send_if_modified(|reached| {
            let more = revision > *reached;
            *reached = revision.max(*reached);
            more
        });
    }

    /// Takes changes into the map and tells the watchers.
    fn apply(&self, changes: Vec<message::Event>) {
        let mut now = self.state.snapshot();
        let mut events: Vec<Arc<Event>> = Vec::with_capacity(changes.len());
        let mut last: Option<(Revision, Record)> = None;
        for change in changes {
            let revision = change.kv.mod_revision;
            let key = match self.keys.read(&change.kv.key) {
                Name::Object(key) => key,
                Name::Deleted if !change.deleted => {
                    last = Record::decode(change.kv.value).ok().map(|record| (revision, record));
                    continue;
                }
                Name::Deleted | Name::Other => continue,
            };
            if change.deleted {
                let state =
                    last.take().filter(|(at, _)| *at == revision).map(|(_, record)| record.value(revision));
                events.extend(now.follow_delete(revision, key, state));
                continue;
            }
            match Record::decode(change.kv.value) {
                Ok(record) => events.push(now.follow_put(key, stored(&record, revision))),
                Err(error) => tracing::error!(%key, error = chain(&error), "an entry in etcd cannot be read"),
            }
        }
        self.state.publish(now, events.iter());
    }
}

fn stored(record: &Record, revision: Revision) -> Stored {
    Stored { revision, tag: record.tag.clone(), value: record.value(revision), row: 0 }
}

/// Everything, as of one revision.
///
/// # Errors
/// When etcd does not answer.
pub async fn load(link: &Link, keys: &Keys) -> Result<Start, Failure> {
    let (first, end) = keys.range();
    let mut range = Range { key: first, end, limit: PAGE, ..Range::default() };
    let mut entries = Snapshot::default();
    let mut durable = 0;
    loop {
        let answer = link.call(RANGE, range.encode()).await?;
        let answer = Ranged::decode(answer).map_err(|e| Failure::Lost(format!("etcd's list: {e}")))?;
        if range.revision == 0 {
            range.revision = answer.revision;
        }
        let last = answer.kvs.last().map(|kv| kv.key.clone());
        for kv in answer.kvs {
            // Whatever was changed last: a deletion changes the key that tells of deletions.
            durable = durable.max(kv.mod_revision);
            let Name::Object(key) = keys.read(&kv.key) else { continue };
            match Record::decode(kv.value) {
                Ok(record) => entries.insert(key, stored(&record, kv.mod_revision)),
                Err(error) => tracing::error!(%key, error = chain(&error), "an entry in etcd cannot be read"),
            }
        }
        match last {
            Some(last) if answer.more => {
                let mut next = last.to_vec();
                next.push(0);
                range.key = next.into();
            }
            _ => break,
        }
    }
    let start = range.revision.max(1);
    Ok(Start { entries, durable: durable.clamp(1, start), start, ..Start::default() })
}
