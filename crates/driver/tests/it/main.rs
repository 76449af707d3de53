//! The driver against a whole API server in this process: what a user sees happen.

mod election;
mod extender;
mod moves;
mod policies;
mod scheduling;
mod stateful;
mod storage;
mod support;
mod workloads;
