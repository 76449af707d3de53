//! The outside-in suite: the built program on machines of its own, driven by kubectl as a user would.

mod bad_input;
mod kubectl;
mod machines;
mod pods;
mod restart;
mod scheduler;
mod support;
