//! Containers by `libcontainer`, native processes, and virtual machines by QEMU, with one tiny shim process per pod and no daemon.
//!
//! The runtime object only asks: what runs belongs to the shim of its pod, so that it outlives this process. Containers
//! are made by the *creator*, this program executed again (see [`creator`]), because libcontainer may never be called
//! from a process with threads. The decision is written down in `docs/adr/0001-shim-and-creator.md`.

mod attach;
mod bundle;
mod cgroup;
mod connection;
mod container;
pub mod creator;
mod exec;
mod install;
pub mod microvm;
mod paths;
mod plan;
pub mod probe;
mod runtime;
mod sandbox;

pub use cgroup::{Cgroups, Error as CgroupError};
pub use plan::{capabilities::NAMES as CAPABILITIES, validate};
pub use runtime::{Config, Kind, OciRuntime};
