//! The composition root: what a server and an agent are made of, where their files lie, and how an agent joins.
//!
//! Everything here is wiring. A rule about pods, objects or containers belongs to the crate that owns the thing.

pub mod agent;
mod balancer;
mod cluster;
pub mod cri;
pub mod error;
pub mod home;
pub mod images;
pub mod join;
pub mod layout;
pub mod options;
pub mod reset;
pub mod server;
pub mod shutdown;

pub use dunlin_pki::tls::fingerprint;
pub use error::Error;
pub use options::{AgentOptions, ServerOptions};

/// The network plugin that this program is when a container runtime calls it; called before any thread exists.
pub use dunlin_runtime_cri::plugin;

/// Entry points of the helper processes that make containers; called before any thread exists.
pub mod creator {
    pub use dunlin_runtime_oci::creator::*;
}
