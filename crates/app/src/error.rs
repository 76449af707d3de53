//! Why a role could not start or had to end, in words for the person who started it.

use std::io::ErrorKind;
use std::path::PathBuf;

/// An error that ends the program.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something is wrong with what the user gave, and the text says what to do.
    #[error("{0}")]
    Input(String),
    /// The data directory was made by a program that stores things differently.
    #[error(
        "the data directory {path} has version {found:?}, this program reads version {expected:?}; \
         use the program that made it, or another --data-dir"
    )]
    Version {
        /// The directory.
        path: PathBuf,
        /// What its `VERSION` says.
        found: String,
        /// What it should say.
        expected: &'static str,
    },
    /// The API's address is not free.
    #[error(
        "cannot listen on {address}: {source}; stop what uses it (ss -ltnp shows it), or choose another with --listen"
    )]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server did not accept the join token.
    #[error(
        "{server} refused the join token: it is unknown, has expired or was revoked; \
         make a new one there with `dunlin token create`"
    )]
    Token {
        /// The server's URL.
        server: String,
    },
    /// A step failed for a reason that lies elsewhere.
    #[error("{doing}")]
    Step {
        /// What was being done.
        doing: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Whether the cause is that no space is left on the disk.
    pub(crate) fn is_disk_full(&self) -> bool {
        let Self::Step { source, .. } = self else { return false };
        source
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
    }
}

/// Turns any error into [`Error::Step`] with what was being done.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl Into<String>) -> Result<T, Error>;
}

impl<T, E: Into<Box<dyn std::error::Error + Send + Sync>>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl Into<String>) -> Result<T, Error> {
        self.map_err(|source| Error::Step { doing: what.into(), source: source.into() })
    }
}
