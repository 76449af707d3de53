//! The outside-in suite: the built program on machines of its own, driven by kubectl as a user would.

mod bad_input;
mod crd;
mod deep;
mod exposed;
#[cfg(target_arch = "x86_64")]
mod guest;
mod joining;
mod kubectl;
mod machines;
mod pods;
mod reach;
mod restart;
mod scheduler;
mod simulate;
mod storage;
mod streaming;
mod support;
mod tree;
mod verbs;
