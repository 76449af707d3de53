//! Revisioned keys and watch: where a server keeps its objects.
//!
//! One trait, [`Store`]; three backends: [`memory`], [`sqlite`] and [`etcd`]. All hold every entry in an ordered
//! copy-on-write map and the recent changes in a ring, so reads and watches never touch the disk; `sqlite` adds one file
//! that holds the latest state only, `etcd` is for several servers. The suite behind the feature `contract` says what a backend must do.
//!
//! Revisions. Every change gets the next revision, and revisions never go backwards, not even over a crash: their
//! ceiling is written in blocks, and a restart goes on above it. A client that had seen the last *durable* change
//! before a restart has missed nothing, so its watch goes on without a new list; see [`state`] for how that is known.
//!
//! The store must not know what a value means: no JSON, no Kubernetes.

mod error;
mod hub;
mod index;
mod pins;
mod types;
mod watch;

pub mod etcd;
pub mod memory;
pub mod sqlite;
pub mod state;

#[cfg(feature = "contract")]
pub mod contract;

pub use error::Error;
pub use state::Limits;
pub use types::{
    Change, Class, Encode, Entry, Event, EventKind, Expect, Key, Page, Revision, Scope, Store, Write,
};
pub use watch::Watch;
