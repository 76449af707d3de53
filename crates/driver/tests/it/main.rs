//! The driver against a whole API server in this process: what a user sees happen.

mod moves;
mod scheduling;
mod support;
mod workloads;
