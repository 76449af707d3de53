//! The words in which images are asked for and answered.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::ImageConfig;

/// When to ask a registry: `imagePullPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PullPolicy {
    /// Ask the registry each time; what is already here is not fetched again.
    Always,
    /// Ask the registry only when the image is not here.
    #[default]
    IfNotPresent,
    /// Never ask; an image that is not here is an error.
    Never,
}

impl PullPolicy {
    /// Reads Kubernetes' word; anything else is `None`.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "Always" => Some(Self::Always),
            "IfNotPresent" => Some(Self::IfNotPresent),
            "Never" => Some(Self::Never),
            _ => None,
        }
    }
}

/// Who asks the registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and a password; exchanged for a token where the registry wants one.
    Basic {
        /// The user's name.
        username: String,
        /// The password or access token.
        password: String,
    },
    /// A registry token, sent as it is.
    Bearer(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Basic { username, .. } => write!(f, "Basic({username}, hidden)"),
            Self::Bearer(_) => f.write_str("Bearer(hidden)"),
        }
    }
}

/// How registries are reached.
#[derive(Debug, Clone, Default)]
pub struct RegistryOptions {
    /// Registries (`host` or `host:port`) spoken to in plain HTTP. Loopback addresses and `localhost` always are.
    pub insecure: Vec<String>,
    /// Asked before the registry itself, in order.
    pub mirrors: Vec<Mirror>,
    /// PEM files of certificate authorities that are trusted beside the system's.
    pub ca_files: Vec<PathBuf>,
}

/// A place that serves another registry's images under the same repository names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The registry that is mirrored (`docker.io`), or `*` for all.
    pub registry: String,
    /// The mirror: `host[:port]`, or with a repository prefix: `host:port/prefix`.
    pub endpoint: String,
}

/// An image that is here, unpacked and ready to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// The digest of its configuration: what makes two images the same.
    pub id: String,
    /// The digest of its manifest, as the registry names it.
    pub digest: String,
    /// The whole, normalised reference under which it was asked for.
    pub reference: String,
    /// How its containers start.
    pub config: ImageConfig,
    /// Its unpacked layers, lowest first: read-only directories for overlayfs.
    pub layers: Vec<PathBuf>,
    /// Bytes of its configuration and compressed layers.
    pub size: u64,
}

impl Image {
    /// The reference by digest (`docker.io/library/busybox@sha256:...`): the `imageID` of a container's status.
    pub fn repo_digest(&self) -> String {
        let repository = self.reference.split('@').next().unwrap_or(&self.reference);
        let name = match (repository.rfind('/'), repository.rfind(':')) {
            (Some(slash), Some(colon)) if colon > slash => &repository[..colon],
            _ => repository,
        };
        format!("{name}@{}", self.digest)
    }
}

/// A line of [`super::ImageStore::list`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageSummary {
    /// The normalised reference.
    pub reference: String,
    /// The digest of the manifest.
    pub digest: String,
    /// The digest of the configuration.
    pub id: String,
    /// Bytes of configuration and compressed layers.
    pub size: u64,
    /// Seconds since 1970 at which it came.
    pub created: u64,
    /// Seconds since 1970 at which it was last asked for (to the hour, which spares flash memory).
    pub last_used: u64,
}

/// What [`super::ImageStore::remove`] did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Removed {
    /// The name that is gone.
    pub reference: String,
    /// What could go with it because no other image needs it.
    pub freed: Freed,
}

/// What was deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Freed {
    /// References.
    pub images: usize,
    /// Blobs.
    pub blobs: usize,
    /// Unpacked layers.
    pub layers: usize,
    /// Bytes of blobs and unpacked files.
    pub bytes: u64,
}

/// What garbage collection may take.
#[derive(Debug, Clone, PartialEq)]
pub struct GarbagePolicy {
    /// Images used more recently than this stay.
    pub min_age: Duration,
    /// Stop after so many bytes; `None` takes everything that may go. The least recently used go first.
    pub enough: Option<u64>,
    /// The time now.
    pub now: SystemTime,
}

/// What happens during a long operation.
#[derive(Debug, Clone, PartialEq)]
pub enum ProgressEvent {
    /// A step begins: `reading layer sha256:...`.
    Step(String),
    /// A blob has so many of so many bytes.
    Blob {
        /// Its digest.
        digest: String,
        /// Bytes done.
        done: u64,
        /// Bytes in all; 0 when unknown.
        total: u64,
    },
}

impl ProgressEvent {
    /// Whether a new step begins; otherwise one goes on.
    pub fn is_step(&self) -> bool {
        matches!(self, Self::Step(_))
    }
}

impl std::fmt::Display for ProgressEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |bytes: &u64| *bytes as f64 / f64::from(1 << 20);
        match self {
            Self::Step(text) => f.write_str(text),
            Self::Blob { digest, done, total } => {
                let short = digest.get("sha256:".len()..).and_then(|hex| hex.get(..12)).unwrap_or(digest);
                write!(f, "{short} {:.1} of {:.1} MiB", mib(done), mib(total))
            }
        }
    }
}

/// Hears of progress; called from any thread, must not block.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<dyn Fn(ProgressEvent) + Send + Sync>>);

impl Progress {
    /// Calls `hear` with each event.
    pub fn new(hear: impl Fn(ProgressEvent) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hear)))
    }

    /// Nobody listens.
    pub fn none() -> Self {
        Self(None)
    }

    pub(crate) fn step(&self, text: impl FnOnce() -> String) {
        if let Some(hear) = &self.0 {
            hear(ProgressEvent::Step(text()));
        }
    }

    pub(crate) fn blob(&self, digest: &str, done: u64, total: u64) {
        if let Some(hear) = &self.0 {
            hear(ProgressEvent::Blob { digest: digest.to_owned(), done, total });
        }
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}
