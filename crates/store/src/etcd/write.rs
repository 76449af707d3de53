//! Writes as transactions, and what is done when an answer is lost.
//!
//! A precondition is a condition on the revision in which the key was last changed. Where the answer did not come, the
//! same transaction is tried again: if it was carried out the first time, its condition does not hold any more, and the
//! number in the record that is found says that it is ours. So a change is never made twice.

use std::sync::Arc;

use bytes::Bytes;
use dunlin_grpc::Failure;

use super::EtcdStore;
use super::link;
use super::message::{self, Compare, KeyValue, Range, Ranged, Step, Transacted};
use super::record::{Record, stand_in};
use crate::{Change, Entry, Error, Expect, Key, Revision, Write};

const TXN: &str = "/etcdserverpb.KV/Txn";
const RANGE: &str = "/etcdserverpb.KV/Range";

/// A write that is ready to be sent.
struct Ready {
    key: Key,
    place: Bytes,
    expect: Expect,
    /// What is written; of a deletion, the last state.
    record: Record,
    value: Bytes,
    deletes: bool,
}

impl EtcdStore {
    pub(super) async fn change(&self, write: Write) -> Result<Entry, Error> {
        let ready = self.prepare(write)?;
        let written = self.attempt(&ready).await?;
        // Whoever was answered must find it here. Should the map be late, readers wait for it themselves.
        if self.wait(written.revision).await.is_err() {
            tracing::warn!(revision = written.revision, "a change is in etcd and has not come back yet");
        }
        Ok(written)
    }

    fn prepare(&self, write: Write) -> Result<Ready, Error> {
        let Write { key, expect, tag, change, class: _ } = write;
        let random = random()?;
        let (encode, deletes) = match change {
            Change::Put(encode) => (encode, false),
            Change::Delete(encode) => (encode, true),
        };
        let revision = stand_in(random[0]);
        let bytes = crate::index::encoded(&key, encode, revision)?;
        let tag = if deletes { None } else { tag };
        let record = Record::new(random[1], tag, &bytes, revision);
        let value = record.as_ref().and_then(Record::encode);
        let (Some(record), Some(value)) = (record, value) else { return Err(Error::Encode { key }) };
        Ok(Ready { place: self.keys.object(&key), key, expect, record, value, deletes })
    }

    async fn attempt(&self, ready: &Ready) -> Result<Entry, Error> {
        let Ready { place, expect, .. } = ready;
        let deleted = self.keys.deleted();
        let then = if ready.deletes {
            vec![Step::Put(deleted.clone(), ready.value.clone()), Step::Delete(place.clone())]
        } else {
            vec![Step::Put(place.clone(), ready.value.clone())]
        };
        let compare = match expect {
            Expect::Absent => Some(Compare::ModRevision(0)),
            // What does not exist is told from what was changed by what is found.
            Expect::Revision(revision) => Some(Compare::ModRevision(*revision)),
            Expect::Any => ready.deletes.then_some(Compare::Exists),
        };
        let otherwise = [Step::Get(place.clone()), Step::Get(deleted)];
        let transaction = message::transaction(place, compare.as_ref(), &then, &otherwise);
        let begun = tokio::time::Instant::now();
        let mut doubtful = false;
        loop {
            let failure = match self.link.call(TXN, transaction.clone()).await {
                Ok(answer) => return self.judge(ready, answer, doubtful),
                Err(failure) => failure,
            };
            match &failure {
                Failure::Lost(_) => doubtful = true,
                Failure::Unreached(_) => {}
                Failure::Refused { .. } if link::is_too_large(&failure) => {
                    let size = ready.value.len();
                    return Err(Error::TooLarge {
                        key: ready.key.clone(),
                        size,
                        reason: failure.to_string(),
                    });
                }
                Failure::Refused { .. } => return Err(self.unavailable("writing to", failure)),
            }
            if begun.elapsed() >= self.options.patience {
                return Err(self.unavailable("writing to", failure));
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            if doubtful && compare.is_none() {
                // Without a condition it could be made twice, the second time over somebody else's change.
                return self.look(ready).await;
            }
        }
    }

    fn judge(&self, ready: &Ready, answer: Bytes, doubtful: bool) -> Result<Entry, Error> {
        let malformed = |e| self.unavailable("writing to", Failure::Lost(format!("{e}")));
        let answer = Transacted::decode(answer).map_err(malformed)?;
        let mut found = answer.found.into_iter();
        if answer.succeeded {
            // Of a deletion the second step says what there was.
            let tag = if ready.deletes {
                let before = found.nth(1).flatten().and_then(|kv| Record::decode(kv.value).ok());
                before.and_then(|record| record.tag)
            } else {
                ready.record.tag.clone()
            };
            return Ok(entry(&ready.key, tag, &ready.record, answer.revision));
        }
        let (present, gone) = (found.next().flatten(), found.next().flatten());
        if doubtful {
            let written = if ready.deletes { gone } else { present.clone() };
            return match self.ours(ready, written) {
                Some(entry) => Ok(entry),
                None => Err(self.unavailable(
                    "writing to",
                    Failure::Lost("an answer was lost, and the entry has been changed since".to_owned()),
                )),
            };
        }
        let key = ready.key.clone();
        let current = present.and_then(|kv| {
            let record = Record::decode(kv.value).ok()?;
            Some(Box::new(entry(&key, record.tag.clone(), &record, kv.mod_revision)))
        });
        Err(match (ready.expect, current) {
            (Expect::Absent, None) if ready.deletes => Error::NotFound { key },
            (Expect::Absent, current) => Error::Exists { key, current },
            (_, None) => Error::NotFound { key },
            (_, current) => Error::Conflict { key, current },
        })
    }

    /// Whether a change that had no condition was made.
    async fn look(&self, ready: &Ready) -> Result<Entry, Error> {
        let range = Range { key: ready.place.clone(), ..Range::default() };
        let answer = self.link.read(RANGE, range.encode(), self.options.patience).await;
        let answer = answer.map_err(|failure| self.unavailable("writing to", failure))?;
        let found = Ranged::decode(answer).unwrap_or_default().kvs.into_iter().next();
        self.ours(ready, found).ok_or_else(|| {
            let why = "an answer was lost, and the change is not there (or was changed since)";
            self.unavailable("writing to", Failure::Lost(why.to_owned()))
        })
    }

    /// The entry that was written, if what is found is ours.
    fn ours(&self, ready: &Ready, found: Option<KeyValue>) -> Option<Entry> {
        let found = found?;
        let record = Record::decode(found.value).ok().filter(|record| record.id == ready.record.id)?;
        // A deletion's tag is what the map had last.
        let tag = if ready.deletes {
            self.state.get(&ready.key).and_then(|entry| entry.tag)
        } else {
            record.tag.clone()
        };
        Some(entry(&ready.key, tag, &record, found.mod_revision))
    }
}

fn entry(key: &Key, tag: Option<Arc<str>>, record: &Record, revision: Revision) -> Entry {
    Entry { key: key.clone(), revision, tag, value: record.value(revision) }
}

fn random() -> Result<[u64; 2], Error> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|_| Error::Random)?;
    let number = u128::from_le_bytes(bytes);
    Ok([number as u64, (number >> 64) as u64])
}
