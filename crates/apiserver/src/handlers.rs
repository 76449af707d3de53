//! The common verbs, one file each, and what they share.

pub mod convert;
pub mod create;
pub mod decode;
pub mod delete;
pub mod delete_collection;
pub mod emit;
pub mod get;
pub mod list;
pub mod modify;
pub mod patch;
pub mod prepare;
pub mod protobuf;
pub mod storage;
pub mod update;
pub mod watch;
pub mod yaml;
