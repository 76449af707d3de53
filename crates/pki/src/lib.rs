//! Who is who: the certificate authority of a server, what it issues, TLS made of it, and service account tokens.
//!
//! Keys are ECDSA P-256 throughout: small certificates and quick handshakes on small machines. A board without a battery
//! wakes up in 1970: [`clock`] says what that may and may not break.

mod authority;
pub mod clock;
mod files;
mod identity;
pub mod jws;
pub mod jwt;
mod sealed;
mod subject;
pub mod tls;

pub use authority::{Authority, LIFE};
pub use identity::Identity;
pub use sealed::{Bundle, ClusterKey};
pub use subject::{Peer, Subject, peer_subject};

/// The longest certificate, key or request that is looked at, bytes. Ours have about 1 KiB.
const LIMIT: usize = 64 * 1024;

/// What can go wrong with keys and certificates.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{operation} {path}")]
    File {
        /// `reading` or `writing`.
        operation: &'static str,
        /// Which file.
        path: std::path::PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Something given to us is not what it should be.
    #[error("{what} is not usable: {reason}")]
    Malformed {
        /// `certificate`, `signing request`, `key`, ...
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// A certificate could not be made.
    #[error("issuing a certificate")]
    Issue(#[from] rcgen::Error),
    /// TLS could not be set up.
    #[error("setting up TLS")]
    Tls(#[from] rustls::Error),
}

impl Error {
    fn malformed(what: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Malformed { what, reason: reason.to_string() }
    }

    /// Refuses what is longer than anything genuine, before it is parsed.
    fn unless_short(what: &'static str, bytes: &[u8]) -> Result<(), Self> {
        if bytes.len() > LIMIT {
            return Err(Self::malformed(what, format!("it is longer than {LIMIT} bytes")));
        }
        Ok(())
    }
}
