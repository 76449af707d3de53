//! The uplink put together: what it knows, the tasks that follow both sides, and the one that keeps them the same.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dunlin_api::names::label;
use dunlin_base::error::chain;
use dunlin_base::task::Task;
use dunlin_driver::SchedulerHandle;
use dunlin_node::{
    Connection, ContainerRef, ExecOptions, LogOptions, PodBackend, PodEvent, PodRef, ServeError, Session,
    StatusWriter,
};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::claims::Claims;
use crate::copies::Copies;
use crate::namespaces::Namespaces;
use crate::plan::daemon;
use crate::plan::mirror::Level;
use crate::queue::{Id, Queue};
use crate::register;
use crate::service::{Dial, UplinkService};
use crate::tokens::Tokens;
use crate::{below, work};

/// Things that are being looked at, at once; more would only queue in the servers.
const AT_ONCE: usize = 16;

/// What an uplink is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who mirrors for whom.
    pub level: Level,
    /// Version of this program.
    pub version: String,
    /// Changes are collected for this long before the summary is told again.
    pub settle: Duration,
    /// A mirror that has found no machine for this long has no place here.
    pub unplaced: Duration,
    /// A DaemonSet below stays for this long without a pod above that wants it, unless its own is gone above.
    pub successor: Duration,
}

impl Config {
    /// The usual times.
    pub fn new(level: Level) -> Self {
        Self {
            level,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settle: Duration::from_secs(2),
            unplaced: Duration::from_secs(30),
            successor: Duration::from_secs(60),
        }
    }
}

/// What is known of both sides.
#[derive(Default)]
pub(crate) struct State {
    /// The parent has listed all pods that are bound to us.
    pub listed: bool,
    pub uppers: HashMap<String, Arc<Pod>>,
    pub mirrors: HashMap<String, Arc<Pod>>,
    pub mirrors_known: bool,
    pub daemons: HashMap<String, Arc<DaemonSet>>,
    pub daemons_known: bool,
    /// Pods above that were told to have no place.
    pub refused: HashSet<String>,
    /// DaemonSets whose pod above went, and when.
    pub orphaned: HashMap<String, Instant>,
}

impl State {
    /// The pod above that stands for the daemons of `owner`, the newest if one follows another.
    pub fn daemon_pod(&self, owner: &str) -> Option<&Arc<Pod>> {
        let pods = self.uppers.values().filter(|pod| daemon::owner(pod).is_some_and(|of| of.uid == owner));
        pods.max_by_key(|pod| {
            (pod.metadata.deletion_timestamp.is_none(), pod.metadata.creation_timestamp.clone())
        })
    }
}

pub(crate) struct Shared {
    pub config: Config,
    pub parent: Client,
    pub child: Client,
    pub state: Mutex<State>,
    pub queue: Queue,
    pub namespaces: Namespaces,
    pub copies: Copies,
    pub claims: Arc<Claims>,
    pub tokens: Tokens,
    pub status: StatusWriter,
    pub scheduler: SchedulerHandle,
    pub dial: Dial,
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts uplinks.
pub struct Uplink;

/// A running uplink; dropping it ends it and leaves everything below running.
pub struct UplinkHandle {
    shared: Arc<Shared>,
    _tasks: Vec<Task>,
}

impl UplinkHandle {
    /// The pod one level above to which a pod here belongs, if it does: its uid.
    pub fn upper_of(&self, pod: &Pod) -> Option<String> {
        let meta = &pod.metadata;
        if let Some(owner) = meta.labels.as_ref().and_then(|all| all.get(label::DAEMON_OF)) {
            let state = self.shared.lock();
            let set = state.daemons.get(owner).and_then(|set| set.metadata.uid.as_ref())?;
            let controlled = daemon::owner(pod).is_some_and(|of| of.uid == *set);
            return controlled.then(|| state.daemon_pod(owner)?.metadata.uid.clone()).flatten();
        }
        let ours = meta.labels.as_ref().and_then(|all| all.get(label::MIRROR));
        (ours == Some(&self.shared.config.level.parent)).then(|| below::mirror_of(meta).cloned()).flatten()
    }

    /// Whether all tasks run: what the tunnel's answers to pings stand for.
    pub fn alive(&self) -> bool {
        self._tasks.iter().all(|task| !task.is_finished())
    }
}

impl Uplink {
    /// Starts being the node `config.level.node` of the API behind `parent`, with `child` as the own API. `dial` calls
    /// the child's nodes.
    pub fn start(
        config: Config,
        parent: Client,
        child: Client,
        scheduler: SchedulerHandle,
        dial: Dial,
    ) -> (UplinkHandle, UplinkService) {
        let (status, status_task) = StatusWriter::start(parent.clone());
        let level = config.level.clone();
        let shared = Arc::new(Shared {
            namespaces: Namespaces::new(child.clone(), level.clone()),
            copies: Copies::new(parent.clone(), child.clone(), level.clone()),
            claims: Arc::new(Claims::new(parent.clone(), child.clone(), level.clone())),
            tokens: Tokens::new(parent.clone(), child.clone(), level),
            state: Mutex::default(),
            queue: Queue::default(),
            status,
            scheduler,
            dial,
            parent: parent.clone(),
            child,
            config,
        });
        let backend: Arc<dyn PodBackend> = Arc::new(Backend(shared.clone()));
        let tasks = vec![
            status_task,
            register::start(&shared),
            Task::spawn("mirrors", below::pods(shared.clone())),
            Task::spawn("daemons", below::daemons(shared.clone())),
            Task::spawn("uplink", run(shared.clone())),
            dunlin_node::volumes::start(parent.clone(), &shared.config.level.node, shared.claims.clone()),
            dunlin_node::pods::start(parent, &shared.config.level.node, backend),
        ];
        let service = UplinkService::new(shared.clone());
        (UplinkHandle { shared, _tasks: tasks }, service)
    }
}

/// Looks at one thing after another, several at once.
async fn run(shared: Arc<Shared>) {
    let mut looking: FuturesUnordered<BoxFuture<'static, (Id, bool)>> = FuturesUnordered::new();
    loop {
        tokio::select! {
            id = shared.queue.next(), if looking.len() < AT_ONCE => {
                let shared = shared.clone();
                looking.push(Box::pin(async move {
                    let result = work::look(&shared, &id).await;
                    if let Err(error) = &result {
                        tracing::debug!(what = ?id, error = chain(error), "keeping a mirror failed, trying again");
                    }
                    (id, result.is_err())
                }));
            }
            Some((id, failed)) = looking.next() => shared.queue.done(id, failed),
        }
    }
}

/// What the parent says of the pods that are bound to us.
struct Backend(Arc<Shared>);

impl Backend {
    fn touch(&self, pod: &Pod) {
        if let Some(owner) = daemon::owner(pod) {
            self.0.queue.push(Id::Daemon(owner.uid.clone()));
        }
        self.0.queue.push(Id::Pod(PodRef::of(pod).uid));
    }
}

impl PodBackend for Backend {
    fn pod_event(&self, event: PodEvent) {
        match event {
            PodEvent::Applied(pod) => {
                self.0.lock().uppers.insert(PodRef::of(&pod).uid, pod.clone());
                self.touch(&pod);
            }
            PodEvent::Gone(gone) => {
                let old = {
                    let mut state = self.0.lock();
                    state.refused.remove(&gone.uid);
                    state.uppers.remove(&gone.uid)
                };
                self.0.status.forget(&gone);
                if let Some(pod) = old {
                    self.touch(&pod);
                }
                self.0.queue.push(Id::Pod(gone.uid));
            }
            PodEvent::Listed(uids) => {
                let (touched, owners): (BTreeSet<String>, BTreeSet<String>) = {
                    let mut state = self.0.lock();
                    state.listed = true;
                    state.uppers.retain(|uid, _| uids.contains(uid));
                    let mirrors = state.mirrors.keys().filter(|uid| !uids.contains(*uid)).cloned().collect();
                    (mirrors, state.daemons.keys().cloned().collect())
                };
                touched.into_iter().for_each(|uid| self.0.queue.push(Id::Pod(uid)));
                owners.into_iter().for_each(|owner| self.0.queue.push(Id::Daemon(owner)));
                self.0.queue.push(Id::Copies);
            }
        }
    }

    // The uplink's own service passes these on as they come; nothing of them is answered here.
    fn logs(
        &self,
        _: ContainerRef,
        _: LogOptions,
    ) -> BoxFuture<'_, Result<mpsc::Receiver<Bytes>, ServeError>> {
        Box::pin(async { Err(passed_on()) })
    }

    fn exec(&self, _: ContainerRef, _: ExecOptions) -> BoxFuture<'_, Result<Session, ServeError>> {
        Box::pin(async { Err(passed_on()) })
    }

    fn attach(&self, _: ContainerRef, _: ExecOptions) -> BoxFuture<'_, Result<Session, ServeError>> {
        Box::pin(async { Err(passed_on()) })
    }

    fn port_forward(&self, _: PodRef, _: u16) -> BoxFuture<'_, Result<Connection, ServeError>> {
        Box::pin(async { Err(passed_on()) })
    }
}

fn passed_on() -> ServeError {
    ServeError::internal("a cluster passes this on to its machines")
}
