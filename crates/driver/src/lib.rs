//! Runs the controllers and the scheduler of `dunlin-control` against a Kubernetes API.
//!
//! Informers keep one view of the cluster; every change of it names the keys to plan again; plans are executed apart
//! from the loop, and a key rests until the informers have seen what its own writes did. All state belongs to one task
//! with one loop. No decision is made here: what to write is said by a plan, where a pod goes by the scheduler.

mod awaits;
mod cluster;
mod controllers;
mod discovery;
pub mod election;
mod events;
mod execute;
mod extender;
mod handle;
mod informer;
mod kinds;
mod offers;
mod options;
mod run;
mod usage;
mod work;

pub use handle::SchedulerHandle;
pub use offers::KEPT;
pub use options::{Options, Scheduler};
pub use run::{Driver, TURN, UNDER_WAY, run};
