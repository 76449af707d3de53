//! The outside-in suite: the built program on machines of its own, driven by kubectl as a user would.

mod access;
mod autoscaling;
mod bad_input;
mod client;
mod crd;
mod cri;
mod deep;
mod disruption;
mod exposed;
#[cfg(target_arch = "x86_64")]
mod guest;
mod jobs;
mod joining;
mod kubectl;
mod machines;
#[cfg(target_arch = "x86_64")]
mod microvm;
#[cfg(target_arch = "x86_64")]
mod mixed;
mod pods;
mod process;
mod quota;
mod reach;
mod restart;
mod scheduler;
mod simulate;
mod stateful;
mod storage;
mod streaming;
mod support;
mod tree;
mod verbs;
mod wasm;
