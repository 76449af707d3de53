//! The Kubernetes API as data: what its objects look like, and what may be done to them.
//!
//! Everything here is pure and works on [`serde_json::Value`]: names, quantities and selectors, the table of the
//! published types, decoding, defaulting, validation, patches and server-side apply. The API server, the controllers
//! and the node agent share it, so a rule of the API stands in one place.
//!
//! This crate must not do I/O, read a clock, log, or know how objects are stored or sent.

pub mod apply;
pub mod cel;
pub mod cron;
pub mod decode;
pub mod defaults;
pub mod duration;
pub mod flowcontrol;
pub mod gvk;
pub mod jsonpath;
pub mod names;
pub mod offer;
pub mod patch;
mod path;
pub mod pattern;
pub mod pod_security;
pub mod policy;
pub mod quantity;
pub mod query;
pub mod quota;
pub mod review;
pub mod schema;
pub mod selector;
pub mod status;
pub mod stream;
pub mod structural;
pub mod token;
pub mod validate;
pub mod warnings;
