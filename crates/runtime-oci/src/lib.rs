//! Containers by `libcontainer`, one tiny shim process per pod, no daemon.
//!
//! The runtime object only asks: what runs belongs to the shim of its pod, so that it outlives this process. Containers
//! are made by the *creator*, this program executed again (see [`creator`]), because libcontainer may never be called
//! from a process with threads.

pub mod creator;
mod runtime;

pub use runtime::{Config, OciRuntime};
