//! What every crate may use and what knows no Kubernetes: error chains, owned tasks, backoff, log set-up.
//!
//! It must stay small: a thing belongs here only when two crates of different layers need it.

pub mod backoff;
pub mod error;
pub mod log;
pub mod task;
