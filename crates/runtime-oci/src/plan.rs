//! What is decided before anything is done: pure functions from specifications to configuration.

pub mod capabilities;
pub mod config;
pub mod limits;
pub mod microvm;
pub mod native;
pub mod unikernel;
pub mod validate;
pub mod wasm;
