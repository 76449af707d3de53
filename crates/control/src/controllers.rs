//! One module per controller; each plans one key.
//!
//! A plan reads the view and nothing else, is idempotent, and asks for writes whose preconditions hold it to what was
//! read. Siblings look alike: `plan(view, key, now, seed) -> (Plan, Report)`.

pub mod claim;
pub mod common;
pub mod daemonset;
pub mod deployment;
pub mod endpointslice;
pub mod ephemeral;
pub mod fencing;
pub mod gc;
pub mod job;
pub mod migration;
pub mod namespace;
pub mod nodeipam;
pub mod nodelifecycle;
pub mod podgc;
pub mod replicaset;
pub mod serviceaccount;
pub mod succession;
pub mod volume;

#[cfg(test)]
mod tests;

use crate::model::Key;
use crate::plan::{Plan, Report};
use crate::view::View;

/// The shape of every controller's decision. `now` is in seconds since the epoch; `seed` makes names.
pub type PlanFn = fn(&View, &Key, i64, u64) -> (Plan, Report);
