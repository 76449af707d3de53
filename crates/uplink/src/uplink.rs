//! The uplink put together: what it knows, the tasks that follow both sides, and the one that keeps them the same.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dunlin_api::names::label;
use dunlin_base::error::chain;
use dunlin_base::task::Task;
use dunlin_driver::SchedulerHandle;
use dunlin_node::fence::Gate;
use dunlin_node::{
    Connection, ContainerRef, ExecOptions, LogOptions, PodBackend, PodEvent, PodRef, ServeError, Session,
    StatusWriter,
};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::claims::Claims;
use crate::copies::Copies;
use crate::namespaces::Namespaces;
use crate::plan::daemon;
use crate::plan::mirror::{Expose, Level};
use crate::queue::{Id, Queue};
use crate::register;
use crate::service::{Dial, UplinkService};
use crate::tokens::Tokens;
use crate::{below, fence, machines, work};

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
    /// How contact with the parent is watched, for fenced pods; `None`: not at all.
    pub contact: Option<Contact>,
}

/// How contact with the parent is watched.
#[derive(Debug, Clone)]
pub struct Contact {
    /// Keeps the time of the last contact until the machine is started anew (tmpfs).
    pub file: std::path::PathBuf,
    /// How often to look, while there are fenced pods.
    pub interval: Duration,
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
            contact: None,
        }
    }
}

/// What is known of both sides.
#[derive(Default)]
pub(crate) struct State {
    /// The nodes that we are above, by name, with their machines; a cluster that is one node has no machine for it.
    pub nodes: BTreeMap<String, Option<Machine>>,
    /// All machines are known.
    pub nodes_known: bool,
    /// The nodes of which the parent has listed all pods.
    pub listed: BTreeSet<String>,
    pub uppers: HashMap<String, Arc<Pod>>,
    pub mirrors: HashMap<String, Arc<Pod>>,
    pub mirrors_known: bool,
    pub daemons: HashMap<String, Arc<DaemonSet>>,
    pub daemons_known: bool,
    /// Pods above that were told to have no place.
    pub refused: HashSet<String>,
    /// Pods above that were ended here because the parent did not hear us.
    pub fenced: HashSet<String>,
    /// DaemonSets whose pod above went, and when.
    pub orphaned: HashMap<String, Instant>,
}

/// A machine of this cluster that is a node above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Its name here.
    pub name: String,
    /// It stands for a cluster in turn.
    pub is_cluster: bool,
}

impl State {
    /// Whether the parent has listed all pods that are bound to us: only then its silence about one means something.
    pub fn all_listed(&self) -> bool {
        self.nodes_known && self.nodes.keys().all(|node| self.listed.contains(node))
    }

    /// The machine that the parent has bound the pod to, where it sees machines.
    pub fn machine_of(&self, upper: &Pod) -> Option<&Machine> {
        self.nodes.get(node_of(upper))?.as_ref()
    }

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
    pub fence: Arc<Gate>,
    /// What an earlier process has made is known.
    pub mirrors_listed: watch::Sender<bool>,
}

fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

impl Shared {
    /// We are this node above, too.
    pub fn know_node(&self, above: &str, machine: Machine) {
        self.lock().nodes.insert(above.to_owned(), Some(machine));
    }

    /// The machine is gone, and its pods with it.
    pub fn forget_node(&self, above: &str) {
        let mut state = self.lock();
        state.nodes.remove(above);
        state.listed.remove(above);
        let on: Vec<String> = state
            .uppers
            .iter()
            .filter(|(_, pod)| node_of(pod) == above)
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in &on {
            state.uppers.remove(uid);
        }
        drop(state);
        on.into_iter().for_each(|uid| self.queue.push(Id::Pod(uid)));
    }

    /// The DaemonSet that the pod becomes here, if it becomes one: where the parent sees machines, it makes a pod for each.
    pub fn daemon_owner<'p>(&self, upper: &'p Pod) -> Option<&'p OwnerReference> {
        daemon::owner(upper).filter(|_| self.config.level.expose == Expose::Cluster)
    }

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

/// What a pod here is one level above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upper {
    /// It was made here.
    None,
    /// This pod.
    Pod(PodRef),
    /// It was made above, where we have not been told of it yet.
    Unknown,
}

impl UplinkHandle {
    /// The pod one level above to which a pod here belongs, if it does.
    pub fn upper_of(&self, pod: &Pod) -> Upper {
        let meta = &pod.metadata;
        let known =
            |upper: Option<&Arc<Pod>>| upper.map_or(Upper::Unknown, |pod| Upper::Pod(PodRef::of(pod)));
        let state = self.shared.lock();
        if let Some(owner) = meta.labels.as_ref().and_then(|all| all.get(label::DAEMON_OF)) {
            let set = state.daemons.get(owner).and_then(|set| set.metadata.uid.as_ref());
            let controlled = daemon::owner(pod).is_some_and(|of| Some(&of.uid) == set);
            return if controlled { known(state.daemon_pod(owner)) } else { Upper::None };
        }
        let ours = meta.labels.as_ref().and_then(|all| all.get(label::MIRROR));
        match below::mirror_of(meta) {
            Some(uid) if ours == Some(&self.shared.config.level.parent) => known(state.uppers.get(uid)),
            _ => Upper::None,
        }
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
            fence: Arc::default(),
            mirrors_listed: watch::Sender::new(false),
            parent: parent.clone(),
            child,
            config,
        });
        let node = shared.config.level.node.clone();
        let mut tasks = vec![
            status_task,
            register::start(&shared),
            Task::spawn("mirrors", below::pods(shared.clone())),
            Task::spawn("daemons", below::daemons(shared.clone())),
            Task::spawn("uplink", run(shared.clone())),
        ];
        tasks.extend(fence::start(&shared));
        match shared.config.level.expose {
            Expose::Nodes => tasks.push(machines::start(&shared)),
            Expose::Cluster => {
                let mut state = shared.lock();
                state.nodes.insert(node.clone(), None);
                state.nodes_known = true;
                drop(state);
                let backend = Arc::new(Backend { shared: shared.clone(), node: node.clone() });
                tasks.push(dunlin_node::volumes::start(parent.clone(), &node, shared.claims.clone()));
                tasks.push(dunlin_node::pods::start(parent, &node, backend));
            }
        }
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

/// What the parent says of the pods that are bound to one node that we are there.
pub(crate) struct Backend {
    pub shared: Arc<Shared>,
    pub node: String,
}

impl Backend {
    fn touch(&self, pod: &Pod) {
        if let Some(owner) = self.shared.daemon_owner(pod) {
            self.shared.queue.push(Id::Daemon(owner.uid.clone()));
        }
        self.shared.queue.push(Id::Pod(PodRef::of(pod).uid));
    }
}

impl PodBackend for Backend {
    fn pod_event(&self, event: PodEvent) {
        match event {
            PodEvent::Applied(pod) => {
                self.shared.lock().uppers.insert(PodRef::of(&pod).uid, pod.clone());
                self.touch(&pod);
            }
            PodEvent::Gone(gone) => {
                let old = {
                    let mut state = self.shared.lock();
                    state.refused.remove(&gone.uid);
                    state.fenced.remove(&gone.uid);
                    state.uppers.remove(&gone.uid)
                };
                self.shared.status.forget(&gone);
                if let Some(pod) = old {
                    self.touch(&pod);
                }
                self.shared.queue.push(Id::Pod(gone.uid));
            }
            PodEvent::Listed(uids) => {
                let (touched, owners): (BTreeSet<String>, BTreeSet<String>) = {
                    let mut state = self.shared.lock();
                    state.listed.insert(self.node.clone());
                    state.uppers.retain(|uid, pod| node_of(pod) != self.node || uids.contains(uid));
                    let lone = state.mirrors.keys().filter(|uid| !state.uppers.contains_key(*uid));
                    (lone.cloned().collect(), state.daemons.keys().cloned().collect())
                };
                touched.into_iter().for_each(|uid| self.shared.queue.push(Id::Pod(uid)));
                owners.into_iter().for_each(|owner| self.shared.queue.push(Id::Daemon(owner)));
                self.shared.queue.push(Id::Copies);
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
