//! The audit log: who asked for what, when, from where, and with which outcome, one JSON document a line.
//!
//! Policy and events are Kubernetes' (`audit.k8s.io/v1`). What a request leaves behind is gathered in its [`Trail`]; the
//! policy decides how much of it becomes events, and a thread of its own writes them. Without a policy a trail is empty,
//! and each of its uses is a test of one pointer. Nothing here refuses or delays a request, unless writing is chosen to be
//! waited for.

mod event;
mod log;
mod policy;
mod read;
mod rotate;
mod source;
mod trail;

use std::path::PathBuf;
use std::sync::Arc;

pub use log::Counters;
pub use policy::Policy;
pub use read::{PolicyError, read};
pub use source::From;
pub use trail::{About, Trail, id};

use log::Log;
use rotate::{Bounds, Sink};

/// The response header that names the events of a request.
pub const HEADER: http::HeaderName = http::HeaderName::from_static("audit-id");

/// Where events go, and how many of them are kept.
#[derive(Debug, Clone)]
pub struct AuditSettings {
    /// The file of the policy.
    pub policy: PathBuf,
    /// The file of the log; `-` is the standard output.
    pub log: PathBuf,
    /// How large the file may get before it is set aside, bytes.
    pub max_size: u64,
    /// How many files that were set aside are kept; all if zero.
    pub max_backup: usize,
    /// For how many days they are kept; for ever if zero.
    pub max_age: u32,
    /// Whether answers wait until their events are written.
    pub blocking: bool,
    /// How large an event may be before its objects are left out, bytes; zero for any size.
    pub max_event: usize,
}

/// The log cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The policy cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The file cannot be written.
    #[error(
        "the audit log {path} cannot be written: {source}; make its folder writable, or name another file"
    )]
    Log {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A policy and the log that it fills.
#[derive(Debug)]
pub struct Audit {
    policy: Policy,
    log: Log,
    max_event: usize,
}

impl Audit {
    /// Reads the policy, opens the log, and starts to write.
    ///
    /// # Errors
    /// When the policy is wrong, or the file cannot be opened.
    pub fn open(settings: AuditSettings) -> Result<Arc<Self>, AuditError> {
        let policy = read(&settings.policy)?;
        let bounds = Bounds { size: settings.max_size, backups: settings.max_backup, days: settings.max_age };
        let sink = Sink::open(&settings.log, bounds)
            .map_err(|source| AuditError::Log { path: settings.log.clone(), source })?;
        let log = Log::start(sink, settings.blocking)
            .map_err(|source| AuditError::Log { path: settings.log, source })?;
        Ok(Arc::new(Self { policy, log, max_event: settings.max_event }))
    }

    /// What has become of the events so far.
    pub fn counters(&self) -> &Counters {
        self.log.counters()
    }
}
