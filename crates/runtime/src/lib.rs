//! What runs a pod's containers: the trait, the words it speaks, and the image store.
//!
//! A runtime knows sandboxes and containers and nothing of Kubernetes: no API object, no probe, no restart policy.
//! Those belong to the agent above it. Every implementation passes the same contract suite (feature `contract`).

#[cfg(feature = "contract")]
pub mod contract;
pub mod error;
#[cfg(feature = "contract")]
pub mod fake;
pub mod image;
pub mod spec;
pub mod stream;

use std::path::PathBuf;

use futures_util::future::BoxFuture;
use tokio::sync::{broadcast, watch};

pub use error::Error;
use image::{Credentials, Image, PullError, PullPolicy};
pub use spec::{
    ContainerId, ContainerSpec, ContainerState, ContainerStatus, ExecSpec, ExitStatus, Mount, Resources,
    SandboxId, SandboxSpec, SandboxStatus, Stats, TerminalSize,
};
pub use stream::{Session, SessionInput, SessionOutput};

/// What happened to a container, told once to everyone who listens.
///
/// Events are hints to look again: a listener that lagged behind calls [`Runtime::sandboxes`] and misses nothing.
#[derive(Debug, Clone)]
pub enum Event {
    /// A container's first process has ended; its exit status can be read now.
    Exited {
        /// The sandbox it ran in.
        sandbox: SandboxId,
        /// The container.
        container: ContainerId,
    },
    /// The sandbox lost what kept it (its shim died); its containers are gone.
    SandboxLost {
        /// The sandbox.
        sandbox: SandboxId,
    },
}

/// Where a runtime's containers have their files from.
pub enum Images<'a> {
    /// From the node's image store, layer by layer.
    Store,
    /// From nowhere: the image's name is the path of the machine's own program.
    Programs,
    /// The runtime keeps and fetches images itself.
    Own(&'a dyn OwnImages),
}

/// The images that a runtime keeps itself. Those that it gives have no layers to look into, and their `id` is what
/// [`ContainerSpec::image`] takes.
pub trait OwnImages: Send + Sync {
    /// An image that is there.
    fn get<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<Option<Image>, PullError>>;

    /// An image, fetched if the policy says so.
    fn ensure<'a>(
        &'a self,
        reference: &'a str,
        policy: PullPolicy,
        credentials: Option<Credentials>,
    ) -> BoxFuture<'a, Result<Image, PullError>>;
}

/// One way of running containers.
///
/// Everything is keyed by ids that the caller chose, and every call is idempotent: after a crash the caller asks again
/// and gets what is already there. What runs does not depend on the caller's life: a killed caller leaves its
/// containers running, and the next one finds them with [`Runtime::sandboxes`].
pub trait Runtime: Send + Sync + 'static {
    /// The name by which a `RuntimeClass` handler selects it: `oci`, `wasm`, `process`, ...
    fn name(&self) -> &str;

    /// Where the files of its containers come from.
    fn images(&self) -> Images<'_> {
        Images::Store
    }

    /// Whether it can run pods now, where that depends on a program that others start and end. `None` is always.
    fn ready(&self) -> Option<watch::Receiver<bool>> {
        None
    }

    /// What speeds up the virtual machines that its containers are: `kvm`, or `tcg` where nothing does. `None` for a runtime
    /// whose containers run on the host's kernel. Those that do not are reached by the pod's address only.
    fn accelerator(&self) -> Option<&'static str> {
        None
    }

    /// What people should know of how a container runs that shares a process with those of other pods; `None` if it does not.
    fn remark(&self, _sandbox: &SandboxId, _container: &ContainerId) -> Option<String> {
        None
    }

    /// Makes the pod's sandbox: its namespaces, its cgroup, the process that will own its containers.
    fn create_sandbox(&self, spec: SandboxSpec) -> BoxFuture<'_, Result<SandboxStatus, Error>>;

    /// Every sandbox of this runtime's root that exists now, with its containers, dead ones included.
    fn sandboxes(&self) -> BoxFuture<'_, Result<Vec<SandboxStatus>, Error>>;

    /// One sandbox with its containers.
    fn sandbox<'a>(&'a self, id: &'a SandboxId) -> BoxFuture<'a, Result<SandboxStatus, Error>>;

    /// Kills what still runs in the sandbox and removes every trace of it. Absent is success.
    fn remove_sandbox<'a>(&'a self, id: &'a SandboxId) -> BoxFuture<'a, Result<(), Error>>;

    /// Creates and starts a container; returns when its first process has been executed, or with the reason why not.
    fn start_container<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        spec: ContainerSpec,
    ) -> BoxFuture<'a, Result<ContainerStatus, Error>>;

    /// Sends a signal to the container's first process (to all of its processes for `SIGKILL`). Gone is success.
    fn signal<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        container: &'a ContainerId,
        signal: i32,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Removes a dead container: its writable layer, its bundle, its exit record. Its log stays (it is the caller's).
    fn remove_container<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        container: &'a ContainerId,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Runs one more process in a running container. The session ends with the process's exit status.
    fn exec<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        container: &'a ContainerId,
        spec: ExecSpec,
    ) -> BoxFuture<'a, Result<Session, Error>>;

    /// Joins the streams of a running container's first process.
    fn attach<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        container: &'a ContainerId,
    ) -> BoxFuture<'a, Result<Session, Error>>;

    /// What the container uses now.
    fn stats<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        container: &'a ContainerId,
    ) -> BoxFuture<'a, Result<Stats, Error>>;

    /// Exits and losses as they happen.
    fn events(&self) -> broadcast::Receiver<Event>;

    /// The path by which the sandbox's network namespace can be entered while the sandbox lives, if it has its own.
    fn network_namespace(&self, status: &SandboxStatus) -> Option<PathBuf> {
        status.network_namespace.clone()
    }
}
