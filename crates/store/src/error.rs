//! What can go wrong in a store.

use std::path::PathBuf;

use crate::{Entry, Key, Revision};

/// Why a call to a store failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The entry was changed since the revision that the writer expected.
    #[error("{key} was changed since it was read")]
    Conflict {
        /// The entry's key.
        key: Key,
        /// The entry as it is now.
        current: Option<Box<Entry>>,
    },
    /// The entry exists, and the writer expected none.
    #[error("{key} exists already")]
    Exists {
        /// The entry's key.
        key: Key,
        /// The entry as it is now.
        current: Option<Box<Entry>>,
    },
    /// There is no such entry.
    #[error("{key} does not exist")]
    NotFound {
        /// The key.
        key: Key,
    },
    /// The history back to the wanted revision is not kept (any more).
    #[error("the wanted revision is not kept; the oldest that can be resumed is {oldest}")]
    Expired {
        /// The oldest revision a watch can start after.
        oldest: Revision,
    },
    /// A watcher did not keep up with the changes, and has ended. It must list again.
    #[error("the watcher was too slow for the changes it asked for")]
    Lagged,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The disk is full. Nothing was changed; reads go on, and writes succeed again once there is space.
    #[error(
        "the disk is full: {} cannot be written, and nothing was changed; free some space there and try again, \
         no restart is needed",
        path.display()
    )]
    Full {
        /// The store's file.
        path: PathBuf,
    },
    /// The file was written by another version of the program.
    #[error(
        "{} has store format {found}, and this program understands {supported}; run the version that wrote it, or move \
         the file away to start empty",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The format it has.
        found: i64,
        /// The format this program reads and writes.
        supported: i64,
    },
    /// The file is damaged, or is no store.
    #[error("{} is damaged or not a store ({reason}); restore it from a backup, or move it away to start empty", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// Another process has the file open.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The function that makes a value's bytes panicked. Nothing was changed.
    #[error("encoding {key} panicked")]
    Encode {
        /// The entry's key.
        key: Key,
    },
    /// etcd did not answer in time, or could not do what was asked. A change may have been made.
    #[error("{operation} etcd at {endpoints} failed: {reason}")]
    Unavailable {
        /// What was being done.
        operation: &'static str,
        /// Its members.
        endpoints: String,
        /// What went wrong.
        reason: String,
    },
    /// The entry is larger than etcd takes. Nothing was changed.
    #[error(
        "{key} has {size} bytes, more than etcd takes in one request ({reason}); make it smaller, or raise etcd's \
         --max-request-bytes"
    )]
    TooLarge {
        /// The entry's key.
        key: Key,
        /// Its size, in bytes.
        size: usize,
        /// What etcd said.
        reason: String,
    },
    /// etcd is too old.
    #[error("etcd at {endpoints} has version {version}; this program needs 3.5 or later")]
    EtcdVersion {
        /// Its members.
        endpoints: String,
        /// Its version.
        version: String,
    },
    /// The system gave no random numbers.
    #[error("the system gave no random numbers")]
    Random,
    /// The database library or the system failed.
    #[error("{operation} {} failed", path.display())]
    Sqlite {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why. Shared, because one failure is told to every writer of a batch.
        #[source]
        source: std::sync::Arc<rusqlite::Error>,
    },
    /// The file system failed.
    #[error("{operation} {} failed", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::sync::Arc<std::io::Error>,
    },
}
