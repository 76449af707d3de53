//! Being a node towards any Kubernetes API: registration, lease, pods, their status, events, logs and exec.
//!
//! What runs the pods is behind [`PodBackend`]: this machine's agent, or a whole child cluster. This crate talks to the
//! API and serves the node's HTTP paths; it must not know how containers are run.

pub mod admit;
pub mod backend;
pub mod connect;
pub mod events;
pub mod fence;
pub mod follow;
pub mod logs;
mod meter;
pub mod pods;
pub mod registration;
pub mod service;
pub mod status;
mod streams;
pub mod volumes;

pub use backend::{
    Connection, ContainerRef, ExecOptions, Input, LogOptions, Output, PodBackend, PodEvent, PodRef, Readings,
    ServeError, Session, Usage, WrittenTo,
};
pub use dunlin_streams::body::{self, BoxBody, BoxError};
pub use events::Recorder;
pub use registration::{Assigned, NodeInfo, Registration, RegistrationOptions};
pub use service::NodeService;
pub use status::StatusWriter;
