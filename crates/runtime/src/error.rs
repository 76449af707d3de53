//! What can go wrong when containers are run, in words that end up in a pod's status.

use std::path::PathBuf;

use crate::spec::{ContainerId, SandboxId};

/// An error of a runtime.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such sandbox.
    #[error("sandbox {0} does not exist")]
    NoSandbox(SandboxId),
    /// There is no such container.
    #[error("container {1} does not exist in sandbox {0}")]
    NoContainer(SandboxId, ContainerId),
    /// The container is not running, so it cannot do what was asked.
    #[error("container {0} is not running")]
    NotRunning(ContainerId),
    /// The command is not in the image, or may not be executed (Kubernetes: `StartError`, exit code 127 or 126).
    #[error("exec: {command:?}: {reason}")]
    Command {
        /// The first word of the command.
        command: String,
        /// `no such file or directory in the image`, `permission denied`, ...
        reason: String,
    },
    /// The specification cannot be run as it stands (Kubernetes: `CreateContainerConfigError`).
    #[error("{field}: {reason}")]
    Spec {
        /// Which part of the specification.
        field: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The container could not be made (Kubernetes: `CreateContainerError` or `RunContainerError`).
    #[error("creating container {container}: {reason}")]
    Create {
        /// The container.
        container: ContainerId,
        /// What the layer below said.
        reason: String,
    },
    /// This runtime cannot do what was asked.
    #[error("runtime {runtime} cannot {operation}")]
    Unsupported {
        /// The runtime's name.
        runtime: &'static str,
        /// What was asked.
        operation: &'static str,
    },
    /// The process that owns the sandbox could not be reached or answered nonsense.
    #[error("talking to the shim of sandbox {sandbox}: {reason}")]
    Shim {
        /// The sandbox.
        sandbox: SandboxId,
        /// What happened.
        reason: String,
    },
    /// The program that others run for us, and that runs the containers, refused or did not answer.
    #[error("{operation}: {daemon}: {reason}")]
    Daemon {
        /// Which, as a user knows it: its socket.
        daemon: String,
        /// `making a sandbox`, ...
        operation: &'static str,
        /// What it said, or that it said nothing.
        reason: String,
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
        source: std::io::Error,
    },
}
