//! All decisions of the control plane, pure: a snapshot goes in, a plan and a report of why not more come out.
//!
//! It must not do I/O, read a clock, log, or depend on an async runtime; the crate `driver` does what is decided here.

pub mod controllers;
pub mod labels;
pub mod model;
pub mod plan;
pub mod resource;
pub mod scheduler;
pub mod settings;
pub mod summary;
pub mod view;
pub mod volumes;
