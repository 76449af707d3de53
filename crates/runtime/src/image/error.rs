//! What can go wrong with images: each message names what, where, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use super::reference::InvalidName;

/// An error of the image store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is no image name.
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    /// There is no such image here.
    #[error(
        "image {reference} is not here; `dunlin image ls` shows what is, `dunlin image pull` or `import` brings it"
    )]
    NotFound {
        /// The normalised reference.
        reference: String,
    },
    /// A file operation failed.
    #[error("{operation} {path}")]
    Io {
        /// `writing`, `creating`, ...
        operation: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No space is left.
    #[error(
        "{operation} {path}: the disk is full; free space there, or remove images with `dunlin image rm`"
    )]
    DiskFull {
        /// What was being done.
        operation: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// Bytes that are not what their digest says.
    #[error(
        "{what} has the wrong digest: {expected} was promised, {found} came; fetch it again, or check its source"
    )]
    Digest {
        /// Which blob, from where.
        what: String,
        /// The digest promised.
        expected: String,
        /// The digest of what came.
        found: String,
    },
    /// A file that is not what it should be.
    #[error("{what} cannot be read: {reason}")]
    Format {
        /// Which archive, manifest or layer.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something is larger than any sound image needs.
    #[error("{what} is too large: {found} {unit}, at most {limit} are taken")]
    Limit {
        /// What is too large.
        what: String,
        /// Its size.
        found: u64,
        /// The most that is taken.
        limit: u64,
        /// `bytes`, `entries`, `layers`.
        unit: &'static str,
    },
    /// A layer that tries what no layer may.
    #[error("layer {layer}, entry {entry:?}: {reason}; the image is damaged or hostile")]
    HostileLayer {
        /// The layer's diff id or digest.
        layer: String,
        /// The entry's path.
        entry: String,
        /// What it tries.
        reason: &'static str,
    },
    /// The image is not made for this machine.
    #[error("{reference} has nothing for {wanted}; it has {found}")]
    Platform {
        /// The image.
        reference: String,
        /// `linux/amd64`.
        wanted: String,
        /// What the index lists.
        found: String,
    },
    /// The registry does not know the image.
    #[error("{registry} does not have {reference}; check the name and the tag")]
    Unknown {
        /// The registry.
        registry: String,
        /// The image.
        reference: String,
    },
    /// The registry wants other credentials.
    #[error(
        "{registry} refuses {operation} of {reference}: not authorized; check the credentials (imagePullSecrets)"
    )]
    Unauthorized {
        /// The registry.
        registry: String,
        /// `pulling`, `pushing`.
        operation: &'static str,
        /// The image.
        reference: String,
    },
    /// The registry cannot be reached, or broke off.
    #[error("{operation} {reference}: {registry} cannot be reached: {reason}")]
    Unreachable {
        /// The registry.
        registry: String,
        /// `pulling`, `pushing`.
        operation: &'static str,
        /// The image or blob.
        reference: String,
        /// What the connection said.
        reason: String,
    },
    /// The registry answered with an error.
    #[error("{operation} {reference}: {registry} answered: {reason}")]
    Registry {
        /// The registry.
        registry: String,
        /// `pulling`, `pushing`.
        operation: &'static str,
        /// The image or blob.
        reference: String,
        /// The answer.
        reason: String,
    },
}

impl Error {
    /// Wraps an I/O error; a full disk gets its own variant, because its remedy is its own.
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { operation, path: path.to_owned() }
            }
            _ => Self::Io { operation, path: path.to_owned(), source },
        }
    }

    pub(crate) fn format(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Format { what: what.into(), reason: reason.into() }
    }
}

/// Attaches the operation and the path to an I/O error.
pub(crate) trait IoContext<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|e| Error::io(operation, path, e))
    }
}

impl<T> IoContext<T> for rustix::io::Result<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|e| Error::io(operation, path, e.into()))
    }
}

/// Why an image is not ready to run, in the kinds that a container's `waiting.reason` distinguishes.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PullError {
    /// `InvalidImageName`: the name will never work.
    #[error("{0}")]
    InvalidName(String),
    /// `ErrImageNeverPull`: it is not here and may not be fetched.
    #[error(
        "image {0} is not present and its pull policy is Never; import it with `dunlin image import`, or for a runtime \
         that has images of its own with that runtime's tool"
    )]
    NeverPull(String),
    /// `RegistryUnavailable`: the network or the registry; trying again helps.
    #[error("{0}")]
    Unavailable(String),
    /// `ErrImagePull`: the registry refused, or what came is wrong.
    #[error("{0}")]
    Failed(String),
}

impl PullError {
    /// The word for a container's `state.waiting.reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidName(_) => "InvalidImageName",
            Self::NeverPull(_) => "ErrImageNeverPull",
            Self::Unavailable(_) => "RegistryUnavailable",
            Self::Failed(_) => "ErrImagePull",
        }
    }
}

impl From<Error> for PullError {
    fn from(error: Error) -> Self {
        let text = dunlin_base::error::chain(&error);
        match error {
            Error::InvalidName(_) => Self::InvalidName(text),
            Error::Unreachable { .. } => Self::Unavailable(text),
            _ => Self::Failed(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_what_to_do() {
        let error = Error::io("writing", Path::new("/data/x"), io::Error::from(io::ErrorKind::StorageFull));
        assert!(error.to_string().contains("disk is full"), "{error}");
        assert_eq!(PullError::from(error).reason(), "ErrImagePull");
    }

    #[test]
    fn reasons_are_kubernetes_words() {
        let invalid = Error::from(InvalidName { name: "A:B:C".into(), reason: "it is wrong".into() });
        assert_eq!(PullError::from(invalid).reason(), "InvalidImageName");
        assert_eq!(PullError::NeverPull("x".into()).reason(), "ErrImageNeverPull");
    }
}
