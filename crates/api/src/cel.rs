//! x
pub mod duration;
