//! The messages: what a runtime asks of a shim, what a shim answers, what a creator reports, what a shim sets up.
//!
//! Each has `encode` into fields and `decode` from them. Bytes after the last field known here are left alone, because
//! a newer peer of the same version may append fields.

mod config;
mod creator;
mod reply;
mod request;

pub use config::{Config, Tmpfs};
pub use creator::Report;
pub use reply::{ContainerInfo, Reply, State};
pub use request::{Request, Start};

/// What kind of failure a text describes, so that it can become the right error above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Failure {
    /// Anything else: the container could not be made.
    Create = 0,
    /// The command is not there or cannot be executed.
    Command = 1,
    /// The specification is wrong.
    Spec = 2,
    /// No such container.
    NoContainer = 3,
    /// The container is not running.
    NotRunning = 4,
    /// The request makes no sense now (a container with this id exists, the version is unknown).
    Refused = 5,
}

impl Failure {
    /// From its number; an unknown one is [`Failure::Create`].
    pub fn from_u8(v: u8) -> Self {
        match v {
            1 => Failure::Command,
            2 => Failure::Spec,
            3 => Failure::NoContainer,
            4 => Failure::NotRunning,
            5 => Failure::Refused,
            _ => Failure::Create,
        }
    }
}

#[cfg(test)]
mod tests;
