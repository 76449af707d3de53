//! Being a kubelet towards a real Kubernetes: its kubeconfig, its certificates, and the API that its API server calls.
//!
//! [`mod@join`] turns a kubeconfig into a client that may speak for the node, if need be by asking for a certificate as a new
//! kubelet does. [`Kubelet`] is what the cluster's API server dials for logs and sessions: the one place where a node of
//! ours listens to the network, so everybody is asked who they are and the API server is asked what they may.
//! What runs the pods is `dunlin_node`'s backend; nothing here knows containers.

mod attributes;
mod auth;
mod cached;
pub mod clients;
mod csr;
mod error;
pub mod join;
pub mod kubeconfig;
pub mod labels;
mod listen;
mod metrics;
mod pods;
mod routes;
pub mod service;
mod serving;
mod streaming;

pub use error::Error;
pub use join::{Joined, join};
pub use listen::Listener;
pub use routes::{Facts, Kubelet};
pub use serving::Serving;
