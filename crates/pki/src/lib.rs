//! Who is who: the cluster's own CA, the certificates it issues, TLS that checks them, and service account tokens.
//!
//! Everything is ECDSA P-256 with ring: small keys and fast handshakes on small boards. Private keys are in files that
//! only their owner may read, and are written whole or not at all.
//!
//! A board without a battery wakes up in 1970. [`clock`] says what that may and may not break.
//!
//! Nothing here knows HTTP, Kubernetes objects or who may do what.

mod authority;
mod files;
mod identity;
mod subject;

pub mod clock;
pub mod jwt;
pub mod tls;

pub use authority::Authority;
pub use identity::Identity;
pub use subject::{Subject, csr_subject, peer_subject};

use std::path::PathBuf;

/// The largest certificate, request or key that is parsed, in bytes of PEM. Ours have about 1 KiB.
pub const MOST_PEM: usize = 64 << 10;

/// What can go wrong with keys and certificates.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{operation} {} failed", path.display())]
    File {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// One of two files that belong together is gone.
    #[error("{} is missing although {} is there; restore it from a backup", missing.display(), present.display())]
    Incomplete {
        /// The file that is there.
        present: PathBuf,
        /// The file that is not.
        missing: PathBuf,
    },
    /// Something is larger than anything genuine.
    #[error("the {what} has {bytes} bytes, more than the {most} that are accepted")]
    TooLarge {
        /// What it claims to be.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The most.
        most: usize,
    },
    /// Something is not what it claims to be.
    #[error("the {what} cannot be read: {reason}")]
    Malformed {
        /// What it claims to be.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A name that certificates cannot carry.
    #[error("{name:?} cannot be put into a certificate")]
    Name {
        /// The name.
        name: String,
    },
    /// A key or certificate could not be made.
    #[error("{operation} failed")]
    Make {
        /// What was being made.
        operation: &'static str,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// The system gave no randomness, or a key was refused.
    #[error("{0} failed")]
    Crypto(&'static str),
    /// TLS refused certificates or keys.
    #[error("setting up TLS failed")]
    Tls(#[source] rustls::Error),
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

pub(crate) fn limited(what: &'static str, bytes: &[u8]) -> Result<()> {
    if bytes.len() > MOST_PEM {
        return Err(Error::TooLarge { what, bytes: bytes.len(), most: MOST_PEM });
    }
    Ok(())
}
