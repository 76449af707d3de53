//! The outside-in suite: the built program on machines of its own, driven by kubectl as a user would.

mod autoscaling;
mod bad_input;
mod disruption;
#[cfg(target_arch = "x86_64")]
mod guest;
mod jobs;
mod joining;
mod kubectl;
mod machines;
mod pods;
mod restart;
mod scheduler;
mod stateful;
mod streaming;
mod support;
mod tree;
mod verbs;
