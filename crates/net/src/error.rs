//! What can go wrong with a pod's network, in words that end up in an event.

use std::path::PathBuf;

/// An error of the pod network.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node's pod range cannot be read.
    #[error("pod range {0:?} is no IPv4 range such as 10.42.1.0/24")]
    Cidr(String),
    /// Every address is taken.
    #[error("no address is left in {0}")]
    Exhausted(String),
    /// The kernel refused a netlink request.
    #[error("{operation} {what}")]
    Netlink {
        /// `creating`, `moving`, ...
        operation: &'static str,
        /// Which link or address.
        what: String,
        /// The kernel's answer.
        #[source]
        source: rtnetlink::Error,
    },
    /// A link that was just made is not there.
    #[error("link {0} does not exist")]
    NoLink(String),
    /// A file or socket operation failed.
    #[error("{operation} {path}")]
    Io {
        /// `reading`, `writing`, ...
        operation: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The program `nft` failed; without it neither pods' way out nor host ports work.
    #[error("nft: {0}")]
    Nft(String),
    /// A thread or task ended without an answer.
    #[error("{0} ended without an answer")]
    Ended(&'static str),
}

impl Error {
    pub(crate) fn io(operation: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { operation, path: path.into(), source }
    }
}
