//! The runtime object: what the agent calls. (Bodies follow.)

use std::path::PathBuf;

use dunlin_runtime::{
    ContainerId, ContainerSpec, ContainerStatus, Error, Event, ExecSpec, Runtime, SandboxId, SandboxSpec,
    SandboxStatus, Session, Stats,
};
use futures_util::future::BoxFuture;
use tokio::sync::broadcast;

/// Where the runtime keeps its things, and what it executes.
#[derive(Debug, Clone)]
pub struct Config {
    /// Survives a reboot: writable layers of containers, the installed shim.
    pub data_dir: PathBuf,
    /// Gone after a reboot: sandboxes, sockets, bundles, exit records.
    pub run_dir: PathBuf,
    /// Name of the cgroup under which everything of this runtime lives: `dunlin-<id>`.
    pub cgroup_root: String,
    /// The program that calls [`crate::creator::main`] when asked to.
    pub executable: PathBuf,
}

/// The `oci` runtime. Cheap to drop: nothing that runs depends on it.
#[derive(Debug)]
pub struct OciRuntime {
    events: broadcast::Sender<Event>,
}

impl OciRuntime {
    /// Installs the shim, finds the sandboxes that exist and connects to them.
    pub async fn open(_config: Config) -> Result<Self, Error> {
        Ok(Self { events: broadcast::Sender::new(256) })
    }
}

impl Runtime for OciRuntime {
    fn name(&self) -> &'static str {
        "oci"
    }
    fn create_sandbox(&self, spec: SandboxSpec) -> BoxFuture<'_, Result<SandboxStatus, Error>> {
        Box::pin(async { Err(Error::NoSandbox(spec.id)) })
    }
    fn sandboxes(&self) -> BoxFuture<'_, Result<Vec<SandboxStatus>, Error>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn sandbox<'a>(&'a self, id: &'a SandboxId) -> BoxFuture<'a, Result<SandboxStatus, Error>> {
        Box::pin(async { Err(Error::NoSandbox(id.clone())) })
    }
    fn remove_sandbox<'a>(&'a self, _id: &'a SandboxId) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }
    fn start_container<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        _spec: ContainerSpec,
    ) -> BoxFuture<'a, Result<ContainerStatus, Error>> {
        Box::pin(async { Err(Error::NoSandbox(sandbox.clone())) })
    }
    fn signal<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        _container: &'a ContainerId,
        _signal: i32,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { Err(Error::NoSandbox(sandbox.clone())) })
    }
    fn remove_container<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        _container: &'a ContainerId,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { Err(Error::NoSandbox(sandbox.clone())) })
    }
    fn exec<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        _container: &'a ContainerId,
        _spec: ExecSpec,
    ) -> BoxFuture<'a, Result<Session, Error>> {
        Box::pin(async { Err(Error::NoSandbox(sandbox.clone())) })
    }
    fn attach<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        _container: &'a ContainerId,
    ) -> BoxFuture<'a, Result<Session, Error>> {
        Box::pin(async { Err(Error::NoSandbox(sandbox.clone())) })
    }
    fn stats<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        _container: &'a ContainerId,
    ) -> BoxFuture<'a, Result<Stats, Error>> {
        Box::pin(async { Err(Error::NoSandbox(sandbox.clone())) })
    }
    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}
