//! The runtime object: the trait's methods over the daemon, each sandbox's taking turns.

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dunlin_base::error::chain;
use dunlin_base::task::Task;
use dunlin_runtime::image::{Credentials, Image, PullError, PullPolicy};
use dunlin_runtime::{
    ContainerId, ContainerSpec, ContainerStatus, Error, Event, ExecSpec, Images, OwnImages, Runtime,
    SandboxId, SandboxSpec, SandboxStatus, Session, Stats,
};
use dunlin_runtime_oci::Cgroups;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, broadcast, oneshot, watch};

use crate::link::Link;
use crate::plan::Owner;
use crate::volumes::Volumes;
use crate::{container, events, exec, images, sandbox};

/// Exits that nobody has looked at yet; a listener that falls further behind looks at everything once.
const EVENTS: usize = 256;

/// One of the daemon's handlers, and the name by which a `RuntimeClass` asks for it here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handler {
    /// `cri`, or `cri-<handler>`.
    pub name: String,
    /// The daemon's name for it; empty for its default.
    pub runtime: String,
}

impl Handler {
    /// The daemon's default.
    pub fn default_one() -> Self {
        Self { name: "cri".to_owned(), runtime: String::new() }
    }

    /// The one that the daemon calls `runtime`; `None` if that cannot be part of a handler's name in Kubernetes.
    pub fn called(runtime: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let fits = !runtime.is_empty() && runtime.len() <= 59 && runtime.bytes().all(plain);
        let fits = fits && !runtime.ends_with('-');
        fits.then(|| Self { name: format!("cri-{runtime}"), runtime: runtime.to_owned() })
    }
}

/// Which daemon, and what is ours there and on this machine.
#[derive(Debug, Clone)]
pub struct Config {
    /// The daemon's socket.
    pub socket: PathBuf,
    /// Its handler.
    pub handler: Handler,
    /// The node's identity: nothing is touched that does not carry it.
    pub node: String,
    /// Gone after a reboot: memory volumes.
    pub run_dir: PathBuf,
    /// Name of the cgroup under which pods lie: `dunlin-<id>`.
    pub cgroup_root: String,
}

/// What all operations need.
pub struct Shared {
    pub config: Config,
    pub owner: Owner,
    pub link: Link,
    pub cgroups: Cgroups,
    pub volumes: Volumes,
    pub events: broadcast::Sender<Event>,
    /// Makes the watch look at once.
    pub wake: Notify,
    pub ready: watch::Sender<bool>,
    /// What was last told of a daemon that cannot run pods.
    pub trouble: Mutex<Option<String>>,
    /// Network namespaces by the daemon's ids of sandboxes, and first processes by its ids of containers.
    pub namespaces: Mutex<HashMap<String, PathBuf>>,
    pub processes: Mutex<HashMap<String, u32>>,
}

/// The runtimes `cri` and `cri-<handler>`. Cheap to drop: nothing that runs depends on it, only sessions end.
pub struct CriRuntime {
    shared: Arc<Shared>,
    turns: Mutex<HashMap<SandboxId, Arc<tokio::sync::Mutex<()>>>>,
    tasks: Arc<Mutex<Vec<Task>>>,
    _watch: Task,
}

impl CriRuntime {
    /// Opens the runtime. A daemon that does not answer is no error: it is asked again and again.
    ///
    /// # Errors
    /// When cgroups cannot be made.
    pub async fn open(config: Config) -> Result<Self, Error> {
        let cgroups = Cgroups::open(&config.cgroup_root).map_err(|error| {
            let (operation, path, source) = error.into_parts();
            Error::Io { operation, path, source }
        })?;
        let shared = Arc::new(Shared {
            owner: Owner { node: config.node.clone(), runtime: config.handler.name.clone() },
            link: Link::new(config.socket.clone()),
            cgroups,
            volumes: Volumes::new(config.run_dir.clone()),
            events: broadcast::Sender::new(EVENTS),
            wake: Notify::new(),
            ready: watch::Sender::new(false),
            trouble: Mutex::default(),
            namespaces: Mutex::default(),
            processes: Mutex::default(),
            config,
        });
        // What is there now is no news: whoever opens a runtime asks for it.
        let mut seen = events::Seen::default();
        let begun = async {
            events::health(&shared).await?;
            events::look(&shared, &mut seen, true).await?;
            sandbox::tidy(&shared).await
        };
        match begun.await {
            Ok(()) => drop(shared.ready.send_replace(true)),
            Err(error) => {
                let error = chain(&error);
                let runtime = &shared.config.handler.name;
                tracing::warn!(runtime, error, "a container runtime cannot run pods now");
                *lock(&shared.trouble) = Some(error);
            }
        }
        let watch = Task::spawn("cri watch", events::watch(shared.clone(), seen));
        Ok(Self { shared, turns: Mutex::default(), tasks: Arc::default(), _watch: watch })
    }

    /// The turn of a sandbox: who holds it is alone in changing it.
    fn turn(&self, id: &SandboxId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = lock(&self.turns);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(id.clone()).or_default().clone()
    }

    /// Keeps a task until it has ended, so that none outlives the runtime.
    fn own(&self, task: Task) {
        let mut tasks = lock(&self.tasks);
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    /// Does something to the end even if the caller gives up: a call that breaks off would leave the daemon halfway.
    async fn whole<T, F, W>(&self, id: &SandboxId, name: &'static str, work: W) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send,
        W: FnOnce(Arc<Shared>) -> F + Send + 'static,
        F: 'static,
    {
        let (tell, told) = oneshot::channel();
        let (turn, shared) = (self.turn(id), self.shared.clone());
        self.own(Task::spawn(name, async move {
            let _turn = turn.lock().await;
            // A caller that gave up will ask again.
            let _ = tell.send(work(shared).await);
        }));
        told.await.unwrap_or_else(|_| {
            Err(Error::Daemon {
                daemon: self.shared.link.name(),
                operation: name,
                reason: "it was broken off".to_owned(),
            })
        })
    }
}

/// What a panic interrupts in these is single assignments.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runtime for CriRuntime {
    fn name(&self) -> &str {
        &self.shared.config.handler.name
    }

    fn images(&self) -> Images<'_> {
        Images::Own(self)
    }

    fn ready(&self) -> Option<watch::Receiver<bool>> {
        Some(self.shared.ready.subscribe())
    }

    fn create_sandbox(&self, spec: SandboxSpec) -> BoxFuture<'_, Result<SandboxStatus, Error>> {
        Box::pin(async move {
            let id = spec.id.clone();
            let work = |shared: Arc<Shared>| async move { sandbox::create(&shared, &spec).await };
            self.whole(&id, "making a sandbox", work).await
        })
    }

    fn sandboxes(&self) -> BoxFuture<'_, Result<Vec<SandboxStatus>, Error>> {
        Box::pin(sandbox::all(&self.shared))
    }

    fn sandbox<'a>(&'a self, id: &'a SandboxId) -> BoxFuture<'a, Result<SandboxStatus, Error>> {
        Box::pin(async {
            let found = sandbox::find(&self.shared, id).await?;
            sandbox::status(&self.shared, &found).await
        })
    }

    fn remove_sandbox<'a>(&'a self, id: &'a SandboxId) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async {
            let removed = id.clone();
            let work = |shared: Arc<Shared>| async move { sandbox::remove(&shared, &removed).await };
            self.whole(id, "removing a sandbox", work).await
        })
    }

    fn start_container<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        spec: ContainerSpec,
    ) -> BoxFuture<'a, Result<ContainerStatus, Error>> {
        Box::pin(async move {
            let id = sandbox.clone();
            let work = |shared: Arc<Shared>| async move { container::start(&shared, &id, &spec).await };
            self.whole(sandbox, "starting a container", work).await
        })
    }

    fn signal<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        container: &'a ContainerId,
        signal: i32,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let waiting = container::signal(&self.shared, sandbox, container, signal).await?;
            waiting.into_iter().for_each(|task| self.own(task));
            Ok(())
        })
    }

    fn remove_container<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        container: &'a ContainerId,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async {
            let (id, name) = (sandbox.clone(), container.clone());
            let work = |shared: Arc<Shared>| async move { container::remove(&shared, &id, &name).await };
            self.whole(sandbox, "removing a container", work).await
        })
    }

    fn exec<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        container: &'a ContainerId,
        spec: ExecSpec,
    ) -> BoxFuture<'a, Result<Session, Error>> {
        Box::pin(async {
            let (session, pump) = exec::exec(&self.shared, sandbox, container, spec).await?;
            self.own(Task::spawn("cri exec", pump));
            Ok(session)
        })
    }

    fn attach<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        container: &'a ContainerId,
    ) -> BoxFuture<'a, Result<Session, Error>> {
        Box::pin(async {
            let (session, pump) = exec::attach(&self.shared, sandbox, container).await?;
            self.own(Task::spawn("cri attach", pump));
            Ok(session)
        })
    }

    fn stats<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        container: &'a ContainerId,
    ) -> BoxFuture<'a, Result<Stats, Error>> {
        Box::pin(container::stats(&self.shared, sandbox, container))
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }
}

impl OwnImages for CriRuntime {
    fn get<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<Option<Image>, PullError>> {
        Box::pin(images::get(&self.shared, reference))
    }

    fn ensure<'a>(
        &'a self,
        reference: &'a str,
        policy: PullPolicy,
        credentials: Option<Credentials>,
    ) -> BoxFuture<'a, Result<Image, PullError>> {
        Box::pin(async move { images::ensure(&self.shared, reference, policy, credentials.as_ref()).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_are_names_that_kubernetes_takes() {
        assert_eq!(Handler::called("runsc").unwrap().name, "cri-runsc");
        for bad in ["", "a/b", "Kata", "x-", "kata_qemu", &"x".repeat(60)] {
            assert_eq!(Handler::called(bad), None, "{bad:?}");
        }
    }
}
