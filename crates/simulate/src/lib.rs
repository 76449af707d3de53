//! A described world, simulated: a tree of clusters, its machines and what is asked of them, placed by the very planners
//! of production, on a clock of its own.
//!
//! What decides is `control`; what travels is made and encoded by the pure halves of `uplink`, `node` and `agent`, so
//! that the bytes are those that the programs would send. Nothing here does I/O or reads a clock: the time that
//! decisions take is measured with a clock that the caller hands in, and only what the reports call `measured` depends on
//! it. Everything else is the same in every run of the same file.

mod amount;
mod cluster;
mod event;
mod life;
mod offering;
mod placing;
mod pods;
mod quality;
mod random;
mod report;
mod reporting;
mod run;
mod stats;
#[cfg(test)]
mod tests;
mod tree;
pub mod world;

pub use report::{Compared, LevelReport, Pods, Quality, Report, RunReport, Traffic, WorldReport};
pub use run::{Clock, Progress, simulate};
pub use world::{File, Wrong};
