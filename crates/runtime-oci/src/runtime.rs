//! The runtime object: which sandboxes there are, and the trait's methods over them.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dunlin_base::task::Task;
use dunlin_runtime::{
    ContainerId, ContainerSpec, ContainerState, ContainerStatus, Error, Event, ExecSpec, Images, Runtime,
    SandboxId, SandboxSpec, SandboxStatus, Session, Stats,
};
use dunlin_shim::message::{Reply, Request};
use futures_util::future::BoxFuture;
use tokio::sync::broadcast;

use crate::cgroup::Cgroups;
use crate::connection::Raw;
use crate::paths::{Layout, is_name};
use crate::plan::microvm::{self, Host};
use crate::plan::{capabilities, validate};
use crate::sandbox::{self, Sandbox, blocking, cgroup_error, io_error, remove_directory};
use crate::{attach, container, exec, install};

/// Exits that nobody has looked at yet; a listener that falls further behind looks at everything once.
const EVENTS: usize = 256;

/// What the containers of a runtime are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Containers: an image's root file system and namespaces of their own.
    Oci,
    /// Native processes: programs of the host on its own file system, with limits, a user and a network of their own.
    Process,
    /// WebAssembly modules and components of an image, in a container's place.
    Wasm,
    /// Virtual machines: an image's root file system and a kernel of their own.
    Microvm,
    /// Virtual machines whose kernel is the image's only program.
    Unikernel,
}

/// Where the runtime keeps its things, and what it executes.
#[derive(Debug, Clone)]
pub struct Config {
    /// What its containers are. Two runtimes of one node share no directory.
    pub kind: Kind,
    /// Survives a reboot: writable layers of containers.
    pub data_dir: PathBuf,
    /// Survives a reboot: the installed shim, which all runtimes of a node share. Not mounted `noexec`.
    pub programs_dir: PathBuf,
    /// Gone after a reboot: sandboxes, sockets, bundles, exit records.
    pub run_dir: PathBuf,
    /// Name of the cgroup under which everything of this runtime lives: `dunlin-<id>`.
    pub cgroup_root: String,
    /// The program that calls [`crate::creator::main_if_asked`] first thing.
    pub executable: PathBuf,
    /// What virtual machines are run with, where containers are these.
    pub machines: Option<Host>,
}

/// What all operations need.
#[derive(Debug)]
pub struct Shared {
    /// What the containers are.
    pub kind: Kind,
    /// Directories.
    pub layout: Layout,
    /// Cgroups.
    pub cgroups: Cgroups,
    /// The creator's executable.
    pub executable: PathBuf,
    /// What virtual machines are run with.
    pub machines: Option<Host>,
    /// The installed shim.
    pub shim_program: PathBuf,
    /// Capabilities that can be given on, as a bit set.
    pub own_capabilities: u64,
    /// To all who listen.
    pub events: broadcast::Sender<Event>,
}

/// One sandbox's place: operations that change it take turns, and so does its making with its removal.
#[derive(Debug, Default)]
struct Slot {
    turn: tokio::sync::Mutex<()>,
    sandbox: Mutex<Option<Arc<Sandbox>>>,
}

/// The runtimes `oci`, `process`, `microvm` and `unikernel`. Cheap to drop: nothing that runs depends on it, only sessions end.
#[derive(Debug)]
pub struct OciRuntime {
    shared: Arc<Shared>,
    slots: Mutex<HashMap<SandboxId, Arc<Slot>>>,
    sessions: Arc<Mutex<Vec<Task>>>,
}

impl OciRuntime {
    /// Installs the shim, finds the sandboxes that exist and connects to them.
    ///
    /// # Errors
    /// When directories or cgroups cannot be made.
    pub async fn open(config: Config) -> Result<Self, Error> {
        if !is_name(&config.cgroup_root) {
            let reason = format!("{:?} is not a plain name", config.cgroup_root);
            return Err(Error::Spec { field: "cgroup_root".into(), reason });
        }
        let layout = Layout { data: config.data_dir, run: config.run_dir };
        for directory in [layout.sandboxes(), layout.layers()] {
            fs::create_dir_all(&directory).map_err(io_error("creating", &directory))?;
        }
        let programs = config.programs_dir;
        let directory = programs.clone();
        let installed = blocking(move || install::install(&directory)).await;
        let shim_program = installed.map_err(io_error("installing the shim in", &programs))?;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let shared = Arc::new(Shared {
            kind: config.kind,
            layout,
            cgroups: Cgroups::open(&config.cgroup_root).map_err(cgroup_error)?,
            executable: config.executable,
            machines: config.machines,
            shim_program,
            own_capabilities: capabilities::bounding(&status),
            events: broadcast::Sender::new(EVENTS),
        });
        let runtime = Self { shared, slots: Mutex::default(), sessions: Arc::default() };
        runtime.recover().await?;
        Ok(runtime)
    }

    /// Removes what all sandboxes of this node shared; called when none is left and the node leaves the machine.
    ///
    /// # Errors
    /// When a cgroup is still in use.
    pub async fn remove_root(&self) -> Result<(), Error> {
        // Nobody is left for whom it could serve.
        self.shared.cgroups.kill(container::HOSTS).await.map_err(cgroup_error)?;
        self.shared.cgroups.remove_root().await.map_err(cgroup_error)
    }

    /// Finds what a former runtime has left: sandboxes, and the layers of sandboxes that a reboot has ended.
    async fn recover(&self) -> Result<(), Error> {
        let ids = names(&self.shared.layout.sandboxes());
        let found = ids.iter().map(|id| Sandbox::recover(&self.shared, id));
        // All at once: one that hangs must not hold up the others.
        let found = futures_util::future::join_all(found).await;
        for (id, found) in ids.into_iter().zip(found) {
            match found {
                Some(sandbox) => {
                    let slot = Slot { sandbox: Mutex::new(Some(Arc::new(sandbox))), ..Slot::default() };
                    lock(&self.slots).insert(id, Arc::new(slot));
                }
                None => {
                    tracing::warn!(sandbox = %id, "removing a sandbox that was never completed");
                    sandbox::remove_traces(&self.shared, &id, None).await?;
                }
            }
        }
        for id in names(&self.shared.layout.layers()) {
            if self.find(&id).is_err() {
                tracing::info!(sandbox = %id, "removing the layers of a sandbox that is gone");
                let directory = self.shared.layout.layers().join(&id.0);
                blocking(move || remove_directory(&directory)).await?;
            }
        }
        Ok(())
    }

    fn find(&self, id: &SandboxId) -> Result<Arc<Sandbox>, Error> {
        let slot = lock(&self.slots).get(id).cloned();
        let sandbox = slot.and_then(|slot| lock(&slot.sandbox).clone());
        sandbox.ok_or_else(|| Error::NoSandbox(id.clone()))
    }

    /// The place of a sandbox, made if it is wanted.
    fn slot(&self, id: &SandboxId) -> Arc<Slot> {
        lock(&self.slots).entry(id.clone()).or_default().clone()
    }

    /// Whether the place is still the one that others find.
    fn current(&self, id: &SandboxId, slot: &Arc<Slot>) -> bool {
        lock(&self.slots).get(id).is_some_and(|s| Arc::ptr_eq(s, slot))
    }

    async fn create(&self, spec: SandboxSpec) -> Result<SandboxStatus, Error> {
        validate::sandbox(&spec)?;
        if self.shared.machines.is_some() {
            microvm::refused_sandbox(&spec)?;
        }
        loop {
            let slot = self.slot(&spec.id);
            let _turn = slot.turn.lock().await;
            if !self.current(&spec.id, &slot) {
                continue;
            }
            let there = lock(&slot.sandbox).clone();
            if let Some(sandbox) = there {
                return sandbox.status().await;
            }
            let made = self.create_new(spec.clone()).await;
            let sandbox = match made {
                Ok(sandbox) => Arc::new(sandbox),
                Err(error) => {
                    lock(&self.slots).remove(&spec.id);
                    return Err(error);
                }
            };
            *lock(&slot.sandbox) = Some(sandbox.clone());
            return sandbox.status().await;
        }
    }

    async fn create_new(&self, spec: SandboxSpec) -> Result<Sandbox, Error> {
        // A caller that gave up in the middle has left a sandbox that is whole, or something to remove.
        if self.shared.layout.sandbox(&spec.id).dir.exists() {
            match Sandbox::recover(&self.shared, &spec.id).await {
                Some(sandbox) if sandbox.shim().is_some() => return Ok(sandbox),
                _ => sandbox::remove_traces(&self.shared, &spec.id, Some(&spec.cgroup)).await?,
            }
        }
        let (id, cgroup) = (spec.id.clone(), spec.cgroup.clone());
        let made = Sandbox::create(&self.shared, spec).await;
        if made.is_err()
            && let Err(left) = sandbox::remove_traces(&self.shared, &id, Some(&cgroup)).await
        {
            let error = dunlin_base::error::chain(&left);
            tracing::warn!(sandbox = %id, error, "a sandbox that could not be made left traces");
        }
        made
    }

    async fn remove(&self, id: &SandboxId) -> Result<(), Error> {
        if !is_name(&id.0) {
            return Ok(());
        }
        loop {
            let slot = self.slot(id);
            let _turn = slot.turn.lock().await;
            if !self.current(id, &slot) {
                continue;
            }
            let there = lock(&slot.sandbox).clone();
            if let Some(sandbox) = there {
                sandbox.kill(&self.shared.cgroups).await?;
                sandbox::remove_traces(&self.shared, id, Some(&sandbox.spec.cgroup)).await?;
            } else {
                let cgroup = sandbox::recorded_cgroup(&self.shared, id);
                sandbox::remove_traces(&self.shared, id, cgroup.as_deref()).await?;
            }
            lock(&self.slots).remove(id);
            return Ok(());
        }
    }

    async fn start(&self, id: &SandboxId, spec: ContainerSpec) -> Result<ContainerStatus, Error> {
        let slot = self.slot_of(id)?;
        let _turn = slot.turn.lock().await;
        let sandbox = self.find(id)?;
        match container::state(&sandbox, &spec.id).await? {
            Some(status) => Ok(status),
            None => container::start(&self.shared, &sandbox, spec).await,
        }
    }

    fn slot_of(&self, id: &SandboxId) -> Result<Arc<Slot>, Error> {
        lock(&self.slots).get(id).cloned().ok_or_else(|| Error::NoSandbox(id.clone()))
    }

    async fn send_signal(&self, id: &SandboxId, container: &ContainerId, signal: i32) -> Result<(), Error> {
        let sandbox = self.find(id)?;
        let Some(shim) = sandbox.shim() else {
            // Nobody reaps them any more; what is left ends.
            return self
                .shared
                .cgroups
                .kill(&container::cgroup(&sandbox, container))
                .await
                .map_err(cgroup_error);
        };
        let request = Request::Signal { container: container.0.clone(), signal };
        match shim.ask(&request).await? {
            Reply::Done => Ok(()),
            reply => Err(container::refusal(id, container, "", reply)),
        }
    }

    async fn remove_one(&self, id: &SandboxId, container: &ContainerId) -> Result<(), Error> {
        if !is_name(&container.0) {
            return Ok(());
        }
        let Ok(slot) = self.slot_of(id) else { return Ok(()) };
        let _turn = slot.turn.lock().await;
        let Ok(sandbox) = self.find(id) else { return Ok(()) };
        if let Some(shim) = sandbox.shim() {
            match shim.ask(&Request::Remove { container: container.0.clone() }).await? {
                Reply::Done => {}
                reply => return Err(container::refusal(id, container, "", reply)),
            }
        }
        container::clean(&self.shared, &sandbox, container).await
    }

    /// The sandbox of a container that runs.
    async fn running(&self, id: &SandboxId, container: &ContainerId) -> Result<Arc<Sandbox>, Error> {
        let sandbox = self.find(id)?;
        match container::state(&sandbox, container).await? {
            Some(ContainerStatus { state: ContainerState::Running { .. }, .. }) => Ok(sandbox),
            Some(_) => Err(Error::NotRunning(container.clone())),
            None => Err(Error::NoContainer(id.clone(), container.clone())),
        }
    }

    async fn run_exec(
        &self,
        id: &SandboxId,
        container: &ContainerId,
        spec: ExecSpec,
    ) -> Result<Session, Error> {
        let Some(command) = spec.args.first().cloned() else {
            return Err(Error::Spec { field: "args".into(), reason: "the command is empty".into() });
        };
        let sandbox = self.running(id, container).await?;
        let bundle = sandbox.paths.bundle(container);
        let (session, pump) = exec::exec(&self.shared.executable, &bundle, &spec)
            .await
            .map_err(|failed| failed.into_error(&command, container))?;
        self.own(Task::spawn("exec session", pump));
        Ok(session)
    }

    async fn run_attach(&self, id: &SandboxId, container: &ContainerId) -> Result<Session, Error> {
        let sandbox = self.running(id, container).await?;
        let broken = |reason: String| Error::Shim { sandbox: id.clone(), reason };
        let raw = Raw::open(&sandbox.paths.dir, false).await.map_err(|e| broken(e.to_string()))?;
        let refused = |reply| container::refusal(id, container, "", reply);
        let (session, pump) = attach::attach(raw, &container.0, refused, broken).await?;
        self.own(Task::spawn("attach session", pump));
        Ok(session)
    }

    /// Keeps a session's task until it has ended, so that none outlives the runtime.
    fn own(&self, task: Task) {
        let mut sessions = lock(&self.sessions);
        sessions.retain(|task| !task.is_finished());
        sessions.push(task);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic interrupted here are single assignments.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sandboxes that a directory's entries name.
fn names(directory: &std::path::Path) -> Vec<SandboxId> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let names = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    names.filter(|name| is_name(name)).map(SandboxId).collect()
}

impl Runtime for OciRuntime {
    fn name(&self) -> &'static str {
        match self.shared.kind {
            Kind::Oci => "oci",
            Kind::Process => "process",
            Kind::Wasm => "wasm",
            Kind::Microvm => "microvm",
            Kind::Unikernel => "unikernel",
        }
    }

    fn images(&self) -> Images<'_> {
        match self.shared.kind {
            Kind::Oci | Kind::Wasm | Kind::Microvm | Kind::Unikernel => Images::Store,
            Kind::Process => Images::Programs,
        }
    }

    fn accelerator(&self) -> Option<&'static str> {
        self.shared.machines.as_ref().map(|host| host.accelerator.name())
    }

    fn remark(&self, sandbox: &SandboxId, container: &ContainerId) -> Option<String> {
        container::remark(&self.shared, &*self.find(sandbox).ok()?, container)
    }

    fn create_sandbox(&self, spec: SandboxSpec) -> BoxFuture<'_, Result<SandboxStatus, Error>> {
        Box::pin(self.create(spec))
    }

    fn sandboxes(&self) -> BoxFuture<'_, Result<Vec<SandboxStatus>, Error>> {
        Box::pin(async {
            let slots: Vec<Arc<Slot>> = lock(&self.slots).values().cloned().collect();
            let mut all = Vec::new();
            for sandbox in slots.iter().filter_map(|slot| lock(&slot.sandbox).clone()) {
                all.push(sandbox.status().await?);
            }
            Ok(all)
        })
    }

    fn sandbox<'a>(&'a self, id: &'a SandboxId) -> BoxFuture<'a, Result<SandboxStatus, Error>> {
        Box::pin(async { self.find(id)?.status().await })
    }

    fn remove_sandbox<'a>(&'a self, id: &'a SandboxId) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.remove(id))
    }

    fn start_container<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        spec: ContainerSpec,
    ) -> BoxFuture<'a, Result<ContainerStatus, Error>> {
        Box::pin(self.start(sandbox, spec))
    }

    fn signal<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        container: &'a ContainerId,
        signal: i32,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.send_signal(sandbox, container, signal))
    }

    fn remove_container<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        container: &'a ContainerId,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.remove_one(sandbox, container))
    }

    fn exec<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        container: &'a ContainerId,
        spec: ExecSpec,
    ) -> BoxFuture<'a, Result<Session, Error>> {
        Box::pin(self.run_exec(sandbox, container, spec))
    }

    fn attach<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        container: &'a ContainerId,
    ) -> BoxFuture<'a, Result<Session, Error>> {
        Box::pin(self.run_attach(sandbox, container))
    }

    fn stats<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        container: &'a ContainerId,
    ) -> BoxFuture<'a, Result<Stats, Error>> {
        Box::pin(async {
            let found = self.find(sandbox)?;
            let stats = container::stats(&self.shared, &found, container);
            stats.ok_or_else(|| Error::NoContainer(sandbox.clone(), container.clone()))
        })
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }
}
