//! Images: references, the content-addressed store, import, pull and push.
//!
//! The store is a directory that an agent and any number of command lines may use at the same time: everything in it is
//! written beside its place and renamed, and every change is made under a file lock. It knows no Kubernetes; the agent
//! above translates a [`PullError`] into the reason of a waiting container.

mod archive;
mod compression;
mod config;
mod disk;
mod error;
mod fetch;
mod gc;
mod index;
mod layer;
mod manifest;
mod reference;
mod registry;
#[cfg(test)]
mod sample;
mod send;
mod store;
mod types;

pub use config::ImageConfig;
pub use error::{Error, PullError};
pub use reference::{InvalidName, Reference};
pub use store::ImageStore;
pub use types::{
    Credentials, Freed, GarbagePolicy, Image, ImageSummary, Mirror, Progress, ProgressEvent, PullPolicy,
    RegistryOptions, Removed,
};
