//! Why this machine cannot be a node of the cluster, in words for the person who started it.

use std::path::PathBuf;

/// What goes wrong before the node runs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something is wrong with what the user gave, and the text says what to do.
    #[error("{0}")]
    Input(String),
    /// The kubeconfig cannot be read.
    #[error("reading the kubeconfig {path}")]
    Kubeconfig {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// A file cannot be read or written.
    #[error("{doing} {path}")]
    File {
        /// `reading` or `writing`.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Keys and certificates.
    #[error(transparent)]
    Pki(#[from] dunlin_pki::Error),
    /// There is no client of the API.
    #[error(transparent)]
    Connect(#[from] dunlin_node::connect::Error),
    /// The API refused, or could not be asked.
    #[error("{doing}")]
    Api {
        /// What was asked.
        doing: String,
        /// What it said.
        #[source]
        source: Box<kube::Error>,
    },
    /// A signing request was not granted.
    #[error("the signing request {name} was denied: {why}")]
    Denied {
        /// The request.
        name: String,
        /// What its condition says.
        why: String,
    },
    /// The system gives no random bytes.
    #[error("drawing a random name: {0}")]
    Random(getrandom::Error),
    /// The port of the kubelet's API is not free.
    #[error(
        "cannot listen on {address}: {source}; stop what uses it (ss -ltnp shows it; another kubelet, perhaps), or choose \
         another with --kubelet-port, 0 for none"
    )]
    Listen {
        /// Where.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn api(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        |source| Self::Api { doing: doing.into(), source: Box::new(source) }
    }
}
