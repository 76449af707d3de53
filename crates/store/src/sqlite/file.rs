//! The file: its schema, opening and reading it, and one transaction.
//!
//! Two tables. `entries` has one row per durable entry and no index. `meta` holds the schema version, the ceiling of
//! the revisions, the revision of the last deletion (of a put, the row itself tells), and the resources that have held
//! ephemeral entries. No other file knows SQL.

use std::collections::HashSet;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::Options;
use crate::index::{Applied, Disk, Snapshot, Stored};
use crate::state::Start;
use crate::{Error, Key, Revision};

/// The format this program reads and writes. A change of the tables is a new number.
const VERSION: i64 = 1;

/// How long another process may still hold the file (a predecessor that is just ending) before we give up.
const BUSY: Duration = Duration::from_secs(2);

/// Bounded memory (512 KiB of page cache, nothing mapped) and the durability that the store promises. The automatic
/// checkpoint is only a safety net above our own.
const SET_UP: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA cache_size = -512;
    PRAGMA mmap_size = 0;
    PRAGMA temp_store = MEMORY;
    PRAGMA wal_autocheckpoint = 8000;
    PRAGMA journal_size_limit = 8388608;
";

const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

const SCHEMA: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY,
        revision INTEGER NOT NULL,
        resource TEXT NOT NULL,
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        tag TEXT,
        value BLOB NOT NULL
    );
";

/// A store file that was opened and read.
pub(super) struct Opened {
    pub file: File,
    pub start: Start,
    pub ceiling: Revision,
    pub next_row: i64,
}

/// The open file.
pub(super) struct File {
    connection: Connection,
    path: PathBuf,
}

/// What a transaction writes besides the entries.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pub ceiling: Option<Revision>,
    pub deleted: Option<Revision>,
    pub ephemeral: Vec<Arc<str>>,
}

impl Marks {
    pub fn is_empty(&self) -> bool {
        self.ceiling.is_none() && self.deleted.is_none() && self.ephemeral.is_empty()
    }
}

pub(super) fn open(path: &Path, options: &Options) -> Result<Opened, Error> {
    create(path, options)?;
    let connection = Connection::open_with_flags(path, FLAGS).map_err(|e| failed("opening", path, e))?;
    let file = File { connection, path: path.to_path_buf() };
    file.prepare().map_err(|e| e.unwrap_or_else(|e| failed("opening", path, e)))?;
    file.read().map_err(|e| failed("reading", path, e)).map(|(start, ceiling, next_row)| Opened {
        file,
        start,
        ceiling,
        next_row,
    })
}

/// Makes the file if there is none: whole and on the disk under another name, which only then becomes its own. So a
/// power cut leaves no file or one that opens. Only its owner may read it (it holds Secrets; the log inherits the mode).
fn create(path: &Path, options: &Options) -> Result<(), Error> {
    if path.exists() {
        return Ok(());
    }
    let io = |source| Error::Io { operation: "creating", path: path.to_path_buf(), source: Arc::new(source) };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(io)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    // A cut may have left one; nothing was ever promised of it.
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(beside);
    let file = file.map_err(io)?;
    fill(beside, options).map_err(|e| failed("creating", path, e))?;
    file.sync_all().map_err(io)?;
    std::fs::rename(beside, path).map_err(io)?;
    std::fs::File::open(folder).and_then(|f| f.sync_all()).map_err(io)
}

/// Puts the tables into an empty file. Without a journal: until the file has its name nobody needs the way back.
fn fill(path: &Path, options: &Options) -> rusqlite::Result<()> {
    let connection = Connection::open_with_flags(path, FLAGS)?;
    connection.execute_batch(&format!(
        "PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA journal_mode = OFF;
         BEGIN; {SCHEMA}
         INSERT INTO meta VALUES ('version', {VERSION}), ('deleted', 0), ('ceiling', {});
         COMMIT;
         PRAGMA journal_mode = WAL;",
        options.revision_block
    ))?;
    connection.close().map_err(|(_, error)| error)
}

/// An error of our own, or one of SQLite's that still needs its place.
type Either = Result<Error, rusqlite::Error>;

impl File {
    /// Checks the version before anything in the file is changed, then sets it up.
    fn prepare(&self) -> Result<(), Either> {
        let c = &self.connection;
        let sql = |e| Either::Err(e);
        c.busy_timeout(BUSY).map_err(sql)?;
        c.execute_batch("PRAGMA locking_mode = EXCLUSIVE;").map_err(sql)?;
        let tables: Vec<String> = c
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
            .and_then(|mut s| s.query_map([], |row| row.get(0))?.collect())
            .map_err(sql)?;
        if !tables.iter().any(|t| t == "meta") {
            let reason = "it is a database of something else".to_owned();
            return Err(Ok(Error::Corrupt { path: self.path.clone(), reason }));
        }
        match meta(c, "version").map_err(sql)? {
            Some(VERSION) => c.execute_batch(SET_UP).map_err(sql),
            Some(found) => Err(Ok(Error::Version { path: self.path.clone(), found, supported: VERSION })),
            None => {
                let reason = "it has no version".to_owned();
                Err(Ok(Error::Corrupt { path: self.path.clone(), reason }))
            }
        }
    }

    fn read(&self) -> rusqlite::Result<(Start, Revision, i64)> {
        let c = &self.connection;
        let mut entries = Snapshot::default();
        let mut next_row = 1;
        let deleted = unsigned(meta(c, "deleted")?.unwrap_or(0));
        let mut durable = deleted.max(1);
        let mut rows =
            c.prepare("SELECT id, revision, resource, namespace, name, tag, value FROM entries")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let revision = unsigned(row.get(1)?);
            let text = |i| row.get_ref(i).and_then(|v| Ok(Arc::<str>::from(v.as_str()?)));
            let key = Key { resource: text(2)?, namespace: text(3)?, name: text(4)? };
            let tag = row.get_ref(5)?.as_str_or_null()?.map(Arc::from);
            let value = Bytes::copy_from_slice(row.get_ref(6)?.as_blob()?);
            next_row = next_row.max(id + 1);
            durable = durable.max(revision);
            entries.insert(key, Stored { revision, tag, value, row: id });
        }
        let ceiling = unsigned(meta(c, "ceiling")?.unwrap_or(0)).max(durable);
        let fresh = entries.len() == 0 && deleted == 0;
        // A revision that no earlier process handed out, except in a file that never held anything.
        let start = if fresh && durable == 1 && !self.has_ephemeral()? { 1 } else { ceiling + 1 };
        let ephemeral = self.ephemeral()?;
        Ok((Start { entries, durable, start, ephemeral }, ceiling, next_row))
    }

    fn has_ephemeral(&self) -> rusqlite::Result<bool> {
        self.ephemeral().map(|e| !e.is_empty())
    }

    fn ephemeral(&self) -> rusqlite::Result<HashSet<Arc<str>>> {
        let mut rows =
            self.connection.prepare("SELECT substr(key, 11) FROM meta WHERE key LIKE 'ephemeral:%'")?;
        rows.query_map([], |row| row.get::<_, String>(0).map(Arc::from))?.collect()
    }

    /// Writes changes in one transaction and waits until they are on the disk.
    pub fn commit(&mut self, changes: &[&Applied], marks: &Marks) -> Result<(), Error> {
        self.transaction(changes, marks).map_err(|e| {
            if !self.connection.is_autocommit() {
                // If even this fails there is nothing better to do: SQLite rolls back when it next can.
                let _ = self.connection.execute_batch("ROLLBACK");
            }
            failed("writing to", &self.path, e)
        })
    }

    fn transaction(&self, changes: &[&Applied], marks: &Marks) -> rusqlite::Result<()> {
        let c = &self.connection;
        c.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for applied in changes {
            let event = &applied.event;
            match applied.disk {
                Disk::Nothing => {}
                Disk::Put(row) => {
                    let key = &event.key;
                    c.prepare_cached("REPLACE INTO entries VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(
                        params![
                            row,
                            signed(event.revision),
                            &*key.resource,
                            &*key.namespace,
                            &*key.name,
                            event.tag.as_deref(),
                            &event.value[..],
                        ],
                    )?;
                }
                Disk::Delete(row) => {
                    c.prepare_cached("DELETE FROM entries WHERE id = ?1")?.execute([row])?;
                }
            }
        }
        let mark = |key: &str, value: Revision| {
            c.prepare_cached("REPLACE INTO meta VALUES (?1, ?2)")?.execute(params![key, signed(value)])
        };
        if let Some(ceiling) = marks.ceiling {
            mark("ceiling", ceiling)?;
        }
        if let Some(deleted) = marks.deleted {
            mark("deleted", deleted)?;
        }
        for resource in &marks.ephemeral {
            mark(&format!("ephemeral:{resource}"), 1)?;
        }
        c.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// Carries the log over into the file.
    pub fn checkpoint(&mut self) -> Result<(), Error> {
        let c = &self.connection;
        let done =
            c.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)").and_then(|mut s| s.query_row([], |_| Ok(())));
        done.map_err(|e| failed("checkpointing", &self.path, e))
    }
}

fn meta(c: &Connection, key: &str) -> rusqlite::Result<Option<i64>> {
    c.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
}

/// Revisions are counted in steps of one from one; the top bit is never reached.
fn signed(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> Revision {
    u64::try_from(number).unwrap_or(0)
}

/// SQLite's error as ours.
fn failed(operation: &'static str, path: &Path, error: rusqlite::Error) -> Error {
    let path = path.to_path_buf();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::Full { path },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::Corrupt { path, reason: error.to_string() }
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::InUse { path },
        _ => Error::Sqlite { operation, path, source: Arc::new(error) },
    }
}
