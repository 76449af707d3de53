//! etcd's messages, as far as they are used here. Numbers of fields: etcd's `rpc.proto` and `kv.proto`.

use bytes::Bytes;
use dunlin_grpc::wire::{Malformed, Message, Value, fields};

/// A key with its value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Bytes,
    pub mod_revision: u64,
    pub value: Bytes,
}

/// One change, as a watch tells it.
#[derive(Debug, Clone, Default)]
pub struct Event {
    pub deleted: bool,
    /// Of a deletion: the key alone, and the revision of the deletion.
    pub kv: KeyValue,
}

/// A condition of a transaction.
#[derive(Debug, Clone)]
pub enum Compare {
    /// The key was last changed at this revision; 0: it does not exist.
    ModRevision(u64),
    /// The key exists.
    Exists,
}

/// A step of a transaction.
#[derive(Debug, Clone)]
pub enum Step {
    Get(Bytes),
    Put(Bytes, Bytes),
    Delete(Bytes),
}

/// From `key` up to `end` (or `key` alone), `limit` at most, at `revision` (0: now).
#[derive(Debug, Clone, Default)]
pub struct Range {
    pub key: Bytes,
    pub end: Bytes,
    pub limit: i64,
    pub revision: u64,
    pub count_only: bool,
}

impl Range {
    fn message(&self) -> Message {
        let message = Message::default().bytes(1, &self.key).bytes(2, &self.end).int(3, self.limit);
        message.int(4, signed(self.revision)).int(9, self.count_only.into())
    }

    pub fn encode(&self) -> Bytes {
        self.message().done()
    }
}

/// The answer to a [`Range`].
#[derive(Debug, Default)]
pub struct Ranged {
    /// The newest revision of the whole store.
    pub revision: u64,
    pub kvs: Vec<KeyValue>,
    pub more: bool,
}

impl Ranged {
    pub fn decode(message: Bytes) -> Result<Self, Malformed> {
        let mut found = Self::default();
        fields(message, |field, value| {
            match field {
                1 => found.revision = header(value)?,
                2 => found.kvs.push(key_value(value)?),
                3 => found.more = value.int() != 0,
                _ => {}
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// A transaction on `key`: if the condition holds, `then` is done, else `otherwise`.
pub fn transaction(key: &Bytes, compare: Option<&Compare>, then: &[Step], otherwise: &[Step]) -> Bytes {
    const EQUAL: i64 = 0;
    const GREATER: i64 = 1;
    const VERSION: i64 = 0;
    const MOD: i64 = 2;
    let mut message = Message::default();
    if let Some(compare) = compare {
        let condition = match compare {
            Compare::ModRevision(revision) => {
                Message::default().int(1, EQUAL).int(2, MOD).bytes(3, key).int(6, signed(*revision))
            }
            Compare::Exists => Message::default().int(1, GREATER).int(2, VERSION).bytes(3, key),
        };
        message = message.message(1, condition);
    }
    for (field, steps) in [(2, then), (3, otherwise)] {
        for step in steps {
            let step = match step {
                Step::Get(key) => {
                    Message::default().message(1, Range { key: key.clone(), ..Range::default() }.message())
                }
                Step::Put(key, value) => {
                    Message::default().message(2, Message::default().bytes(1, key).bytes(2, value))
                }
                Step::Delete(key) => {
                    Message::default().message(3, Message::default().bytes(1, key).int(3, 1))
                }
            };
            message = message.message(field, step);
        }
    }
    message.done()
}

/// The answer to a transaction.
#[derive(Debug, Default)]
pub struct Transacted {
    pub revision: u64,
    pub succeeded: bool,
    /// What the steps have found, or deleted, in their order.
    pub found: Vec<Option<KeyValue>>,
}

impl Transacted {
    pub fn decode(message: Bytes) -> Result<Self, Malformed> {
        let mut answer = Self::default();
        fields(message, |field, value| {
            match field {
                1 => answer.revision = header(value)?,
                2 => answer.succeeded = value.int() != 0,
                3 => fields(value.bytes(), |step, value| {
                    // Of a get the entries are field 2, of a deletion those before it field 3.
                    let wanted = match step {
                        1 => 2,
                        3 => 3,
                        _ => 0,
                    };
                    let mut found = None;
                    fields(value.bytes(), |field, value| {
                        if field == wanted {
                            found = Some(key_value(value)?);
                        }
                        Ok(())
                    })?;
                    answer.found.push(found);
                    Ok(())
                })?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(answer)
    }
}

/// Asks for every change of the keys from `key` to `end`, beginning at `revision`.
pub fn watch(key: &Bytes, end: &Bytes, revision: u64) -> Bytes {
    let create = Message::default().bytes(1, key).bytes(2, end).int(3, signed(revision));
    // Fragments: an answer that is larger than etcd's own limit comes in pieces.
    Message::default().message(1, create.int(8, 1)).done()
}

/// Asks a watch how far it is.
pub fn progress() -> Bytes {
    Message::default().message(3, Message::default()).done()
}

/// What a watch says.
#[derive(Debug, Default)]
pub struct Watched {
    pub revision: u64,
    pub created: bool,
    pub canceled: bool,
    /// Set when the revision asked for is compacted.
    pub compact_revision: u64,
    pub reason: String,
    /// More of the same answer follows.
    pub fragment: bool,
    pub events: Vec<Event>,
}

impl Watched {
    pub fn decode(message: Bytes) -> Result<Self, Malformed> {
        let mut answer = Self::default();
        fields(message, |field, value| {
            match field {
                1 => answer.revision = header(value)?,
                3 => answer.created = value.int() != 0,
                4 => answer.canceled = value.int() != 0,
                5 => answer.compact_revision = unsigned(&value),
                6 => answer.reason = value.text(),
                7 => answer.fragment = value.int() != 0,
                11 => answer.events.push(event(value)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(answer)
    }
}

/// Forgets what was before `revision`.
pub fn compaction(revision: u64) -> Bytes {
    Message::default().int(1, signed(revision)).done()
}

/// Asks for a token.
pub fn authenticate(name: &str, password: &str) -> Bytes {
    Message::default().bytes(1, name.as_bytes()).bytes(2, password.as_bytes()).done()
}

/// The text in the field `wanted` of an answer: a token, or a version.
pub fn text(message: Bytes, wanted: u32) -> Result<String, Malformed> {
    let mut found = String::new();
    fields(message, |field, value| {
        if field == wanted {
            found = value.text();
        }
        Ok(())
    })?;
    Ok(found)
}

fn header(value: Value) -> Result<u64, Malformed> {
    let mut revision = 0;
    fields(value.bytes(), |field, value| {
        if field == 3 {
            revision = unsigned(&value);
        }
        Ok(())
    })?;
    Ok(revision)
}

fn key_value(value: Value) -> Result<KeyValue, Malformed> {
    let mut found = KeyValue::default();
    fields(value.bytes(), |field, value| {
        match field {
            1 => found.key = value.bytes(),
            3 => found.mod_revision = unsigned(&value),
            5 => found.value = value.bytes(),
            _ => {}
        }
        Ok(())
    })?;
    Ok(found)
}

fn event(value: Value) -> Result<Event, Malformed> {
    let mut found = Event::default();
    fields(value.bytes(), |field, value| {
        match field {
            1 => found.deleted = value.int() == 1,
            2 => found.kv = key_value(value)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(found)
}

/// etcd's revisions are signed and never negative.
fn unsigned(value: &Value) -> u64 {
    u64::try_from(value.int()).unwrap_or(0)
}

fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}
