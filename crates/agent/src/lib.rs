//! The agent: what runs this machine's pods, as the backend of [`dunlin_node`].
//!
//! `plan`, `podstatus`, `env` and `probe` decide and are pure; the worker of each pod carries out. A pod's life never
//! waits for the API: what is needed to run it again is kept on disk.

mod agent;
mod claims;
mod config;
mod disk;
mod env;
mod held;
mod home;
mod hooks;
mod launch;
pub mod machine;
pub mod model;
mod plan;
pub mod podstatus;
mod probe;
mod pull;
mod security;
mod sources;
mod tokens;
mod volumes;
mod worker;

pub use agent::{Agent, AgentHandle, Error};
pub use config::{AgentConfig, Foreign, HomeDial};
pub use dunlin_node::{NodeService, RegistrationOptions};
pub use plan::Delays;
