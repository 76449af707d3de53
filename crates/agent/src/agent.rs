//! The agent put together: what it shares, the workers of its pods, and what it answers to the node's HTTP paths.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use dunlin_base::task::Task;
use dunlin_net::{HostPort, NetConfig, Network, Protocol, Relay};
use dunlin_node::admit::{admit, milli};
use dunlin_node::fence;
use dunlin_node::volumes::Policy;
use dunlin_node::{
    Connection, ContainerRef, ExecOptions, Input, LogOptions, NodeInfo, NodeService, Output, PodBackend,
    PodEvent, PodRef, Readings, Recorder, Registration, ServeError, Session, StatusWriter, Usage,
};
use dunlin_runtime::image::ImageStore;
use dunlin_runtime::{ContainerId, ExecSpec, Runtime, SandboxId, SessionInput, SessionOutput, TerminalSize};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, Pod};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use tokio::sync::{mpsc, watch};

use crate::config::AgentConfig;
use crate::disk::Disk;
use crate::held::{self, Held};
use crate::model::{Record, deleting, spec};
use crate::plan::Delays;
use crate::sources::Sources;
use crate::worker::{self, Found, Handle, View};

/// Why an agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder cannot be made.
    #[error("creating {path}")]
    Folder {
        /// Which.
        path: std::path::PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// No runtime was given.
    #[error("an agent needs at least one runtime")]
    NoRuntime,
    /// The runtime cannot tell what runs.
    #[error("asking runtime {0} what runs")]
    Runtime(String, #[source] dunlin_runtime::Error),
}

/// What all workers share.
pub(crate) struct Shared {
    pub config: AgentConfig,
    pub client: kube::Client,
    pub runtimes: Vec<Arc<dyn Runtime>>,
    pub images: Arc<ImageStore>,
    pub sources: Sources,
    pub disk: Disk,
    pub status: StatusWriter,
    pub recorder: Recorder,
    pub network: watch::Receiver<Option<Arc<Network>>>,
    pub endpoint: watch::Receiver<String>,
    pub address: String,
    pub allocatable: BTreeMap<String, i128>,
    /// What the API has of this node, once it has told.
    pub assigned: watch::Receiver<Option<dunlin_node::Assigned>>,
    /// Closed while nobody knows whether fenced pods run elsewhere by now.
    pub fence: Arc<fence::Gate>,
    /// The way home of pods in the host's network.
    pub homes: crate::home::Relays,
    ended: mpsc::Sender<String>,
}

impl Shared {
    pub fn delays(&self) -> Delays {
        Delays { first: self.config.crash_backoff_first, most: self.config.crash_backoff_most }
    }
    pub fn node_ip(&self) -> String {
        self.address.clone()
    }
    pub fn allocatable(&self) -> BTreeMap<String, i128> {
        self.allocatable.clone()
    }
    /// Where a pod finds the API.
    pub fn api_address(&self, pod: &Pod) -> (String, u16) {
        if let Some(port) = self.homes.port(pod.metadata.uid.as_deref().unwrap_or_default()) {
            return (std::net::Ipv4Addr::LOCALHOST.to_string(), port);
        }
        if spec(pod).host_network != Some(true) && self.config.network {
            let api = self.config.api();
            return (api.ip().to_string(), api.port());
        }
        let endpoint = self.endpoint.borrow().clone();
        let (host, port) = endpoint.rsplit_once(':').unwrap_or((&endpoint, "443"));
        (host.trim_matches(['[', ']']).to_owned(), port.parse().unwrap_or(443))
    }
    /// One of the runtimes by its name.
    pub fn named(&self, runtime: &str) -> Option<&Arc<dyn Runtime>> {
        self.runtimes.iter().find(|r| r.name() == runtime)
    }
    /// The runtime that a pod had; the first one for a pod that had none yet.
    pub fn runtime(&self, had: &str) -> Arc<dyn Runtime> {
        self.named(had).unwrap_or(&self.runtimes[0]).clone()
    }
    /// The runtime that a new pod asks for by its RuntimeClass.
    pub async fn runtime_for(&self, pod: &Pod) -> Result<Arc<dyn Runtime>, String> {
        let class = spec(pod).runtime_class_name.as_deref().unwrap_or("");
        if class.is_empty() {
            return Ok(self.runtimes[0].clone());
        }
        let api: kube::Api<RuntimeClass> = kube::Api::all(self.client.clone());
        let handler = match tokio::time::timeout(Duration::from_secs(5), api.get(class)).await {
            Ok(Ok(found)) => found.handler,
            Ok(Err(error)) => return Err(format!("reading RuntimeClass {class:?}: {error}")),
            Err(_) => return Err(format!("reading RuntimeClass {class:?}: no answer within 5 s")),
        };
        let like = crate::machine::LIKE_OCI.contains(&handler.as_str());
        let wanted = if like { "oci" } else { &handler };
        self.named(wanted).cloned().ok_or_else(|| {
            let all: Vec<&str> = self.runtimes.iter().map(|r| r.name()).collect();
            format!(
                "RuntimeClass {class:?} wants the handler {handler:?}, and this node has only {}",
                all.join(", ")
            )
        })
    }
    /// A pod's worker has nothing more to do.
    pub fn ended(&self, uid: &str) {
        self.homes.close(uid);
        // The channel holds one end per pod; a full one is emptied by the next listing.
        let _ = self.ended.try_send(uid.to_owned());
    }
}

/// The host ports of a pod.
pub(crate) fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let all = crate::model::inits(pod).iter().chain(&spec(pod).containers);
    all.flat_map(|c| c.ports.iter().flatten())
        .filter_map(|p| {
            let host_port = u16::try_from(p.host_port?).ok().filter(|p| *p > 0)?;
            Some(HostPort {
                protocol: match p.protocol.as_deref() {
                    Some("UDP") => Protocol::Udp,
                    Some("SCTP") => Protocol::Sctp,
                    _ => Protocol::Tcp,
                },
                host_ip: p.host_ip.as_deref().and_then(|ip| ip.parse::<Ipv4Addr>().ok()),
                host_port,
                container_port: u16::try_from(p.container_port).ok()?,
            })
        })
        .collect()
}

/// Starts agents.
pub struct Agent;

/// A running agent; dropping it ends the agent and leaves the pods running.
pub struct AgentHandle {
    /// What the API assigned to the node.
    pub assigned: watch::Receiver<Option<dunlin_node::Assigned>>,
    network: watch::Receiver<Option<Arc<Network>>>,
    endpoint: watch::Sender<String>,
    info: watch::Sender<NodeInfo>,
    pods: Arc<Pods>,
    _registration: Registration,
    _tasks: Vec<Task>,
}

impl AgentHandle {
    /// The API is now reached at this `host:port`.
    pub fn set_api_endpoint(&self, endpoint: String) {
        self.endpoint.send_replace(endpoint);
    }
    /// Changes what the Node says.
    pub fn update_info(&self, change: impl FnOnce(&mut NodeInfo)) {
        self.info.send_if_modified(|info| {
            let before = info.clone();
            change(info);
            *info != before
        });
    }
    /// The pod network, once the node has a range.
    pub fn network(&self) -> Option<Arc<Network>> {
        self.network.borrow().clone()
    }
    /// How many pods are here.
    pub fn pods(&self) -> usize {
        lock(&self.pods.workers).len()
    }
    /// Whether the pod loop makes progress: for the tunnel's answer to pings.
    pub fn alive(&self) -> bool {
        self._tasks.iter().all(|t| !t.is_finished())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Agent {
    /// Starts the agent: first what is kept on disk, then what the API says. `endpoint` is the API's `host:port` for pods.
    ///
    /// # Errors
    /// When folders cannot be made or a runtime does not answer.
    pub async fn start(
        config: AgentConfig,
        client: kube::Client,
        runtimes: Vec<Arc<dyn Runtime>>,
        images: Arc<ImageStore>,
        endpoint: String,
    ) -> Result<(AgentHandle, NodeService), Error> {
        if runtimes.is_empty() {
            return Err(Error::NoRuntime);
        }
        for path in [&config.data_dir, &config.run_dir] {
            std::fs::create_dir_all(path).map_err(|source| Error::Folder { path: path.clone(), source })?;
        }
        let address = config
            .node_ip
            .or_else(|| crate::machine::own_address(&endpoint))
            .map(|a| a.to_string())
            .unwrap_or_default();
        // One that comes and goes is told of as it does (`held::follow`).
        let there = |runtime: &&Arc<dyn Runtime>| runtime.ready().is_none_or(|ready| *ready.borrow());
        let names: Vec<&str> = runtimes.iter().filter(there).map(|r| r.name()).collect();
        let mut info = crate::machine::info(&config, &address, &names);
        info.labels.extend(crate::machine::accelerated(&runtimes));
        if let Some(foreign) = &config.foreign {
            info.kubelet_port = foreign.kubelet_port;
            info.not_ready = Some("container runtime network not ready: it is being made".to_owned());
        }
        let allocatable =
            info.allocatable.iter().map(|(k, v)| (k.clone(), milli(&Quantity(v.clone())))).collect();
        let (info_tx, info_rx) = watch::channel(info);
        let (endpoint_tx, endpoint_rx) = watch::channel(endpoint);
        let (network_tx, network_rx) = watch::channel(None);
        let (status, status_task) = StatusWriter::start(client.clone());
        let (recorder, recorder_task) = Recorder::start(client.clone(), &config.node_name);
        let (ended_tx, ended_rx) = mpsc::channel(1024);
        let registration = Registration::start(client.clone(), info_rx, config.registration.clone());
        let shared = Arc::new(Shared {
            sources: Sources::new(client.clone(), &config.data_dir),
            disk: Disk { data: config.data_dir.clone(), run: config.run_dir.clone() },
            client: client.clone(),
            runtimes,
            images,
            status,
            recorder,
            network: network_rx.clone(),
            endpoint: endpoint_rx.clone(),
            address,
            allocatable,
            assigned: registration.assigned.clone(),
            fence: Arc::default(),
            homes: crate::home::Relays::default(),
            ended: ended_tx,
            config,
        });
        let mut orphans: HashMap<String, Found> = HashMap::new();
        let mut silent: Vec<Arc<dyn Runtime>> = Vec::new();
        for runtime in &shared.runtimes {
            match runtime.sandboxes().await {
                Ok(found) => {
                    orphans.extend(found.into_iter().map(|s| (s.id.0.clone(), (runtime.clone(), s))));
                }
                // It comes and goes by itself, which is no reason to stay away.
                Err(_) if runtime.ready().is_some() => silent.push(runtime.clone()),
                Err(error) => return Err(Error::Runtime(runtime.name().to_owned(), error)),
            }
        }
        let pods = Arc::new(Pods {
            shared: shared.clone(),
            workers: Mutex::default(),
            orphans: Mutex::default(),
            held: Held::default(),
            listed: AtomicBool::new(false),
        });
        for (pod, record) in shared.disk.load() {
            if silent.iter().any(|runtime| runtime.name() == record.runtime) {
                pods.held.add(pod, record);
                continue;
            }
            let uid = PodRef::of(&pod).uid;
            let found = orphans.remove(&uid);
            let handle = worker::start(shared.clone(), pod, record, found, false);
            lock(&pods.workers).insert(uid, handle);
        }
        *lock(&pods.orphans) = orphans;
        let mut tasks = vec![status_task, recorder_task];
        tasks.extend(
            shared.runtimes.iter().map(|r| Task::spawn("runtime-events", listen(r.clone(), pods.clone()))),
        );
        tasks.extend(silent.into_iter().map(|r| Task::spawn("silent-runtime", revive(r, pods.clone()))));
        for runtime in &shared.runtimes {
            if let Some(ready) = runtime.ready() {
                let following = held::follow(runtime.clone(), ready, info_tx.clone());
                tasks.push(Task::spawn("runtime-ready", following));
            }
        }
        tasks.push(Task::spawn("pod-ends", reap(pods.clone(), ended_rx)));
        let fencing = fence::Options {
            client: client.clone(),
            node: shared.config.node_name.clone(),
            file: shared.config.run_dir.join("contact"),
            interval: shared.config.contact,
            gate: shared.fence.clone(),
            // What is fenced waits here after a start of the machine, so nothing runs that would have to be stopped.
            unknown: None,
        };
        tasks.push(Task::spawn("fence", fence::run(fencing, pods.clone())));
        if shared.config.foreign.is_none() {
            // A real Kubernetes has no volumes of the class local-path, and lets no node list any.
            tasks.push(dunlin_node::volumes::start(client.clone(), &shared.config.node_name, pods.clone()));
        }
        tasks.push(Task::spawn("pressure", watch_disk(shared.clone(), info_tx.clone())));
        if shared.config.network {
            tasks.push(Task::spawn(
                "network",
                bring_up(
                    pods.clone(),
                    registration.assigned.clone(),
                    network_tx,
                    endpoint_rx,
                    info_tx.clone(),
                ),
            ));
        }
        tasks.push(dunlin_node::pods::start(client, &shared.config.node_name, pods.clone()));
        let service = NodeService::new(pods.clone());
        let handle = AgentHandle {
            assigned: registration.assigned.clone(),
            network: network_rx,
            endpoint: endpoint_tx,
            info: info_tx,
            pods,
            _registration: registration,
            _tasks: tasks,
        };
        Ok((handle, service))
    }
}

/// What a node says that waits for its pod range.
const NO_RANGE: &str = "container runtime network not ready: the cluster has given this node no range of addresses for \
                        pods (kube-controller-manager --allocate-node-cidrs does), and --pod-cidr names none";

/// Makes the pod network as soon as the range is known: from disk, from the API, or from the configuration.
async fn bring_up(
    pods: Arc<Pods>,
    mut assigned: watch::Receiver<Option<dunlin_node::Assigned>>,
    network: watch::Sender<Option<Arc<Network>>>,
    endpoint: watch::Receiver<String>,
    info: watch::Sender<NodeInfo>,
) {
    let shared = pods.shared.clone();
    let file = shared.config.data_dir.join("network").join("node.json");
    let mut known: Option<(String, String)> = crate::disk::read(&file);
    let mut backoff = dunlin_base::backoff::Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    let _relay = loop {
        if known.is_none() && shared.config.pod_cidr.is_some() {
            known = shared.config.pod_cidr.clone().map(|c| (shared.config.node_name.clone(), c));
        } else if known.is_none() {
            let got = tokio::time::timeout(
                Duration::from_secs(5),
                assigned.wait_for(|a| a.as_ref().is_some_and(|a| !a.pod_cidrs.is_empty())),
            )
            .await;
            known = match got {
                Ok(Ok(a)) => a.as_ref().and_then(|a| {
                    Some((a.uid.clone(), a.pod_cidrs.iter().find(|c| c.contains('.'))?.clone()))
                }),
                Ok(Err(_)) => return,
                Err(_) => None,
            };
            let Some(found) = &known else {
                if shared.config.foreign.is_some() {
                    info.send_if_modified(|i| {
                        i.not_ready.replace(NO_RANGE.to_owned()).is_none_or(|before| before != NO_RANGE)
                    });
                }
                continue;
            };
            let bytes = serde_json::to_vec(found).unwrap_or_default();
            if let Err(error) = crate::disk::write(&file, &bytes, 0o600, true) {
                tracing::warn!(%error, "the node's range cannot be kept on disk");
            }
        }
        let Some((uid, cidr)) = &known else { continue };
        let made = async {
            let config = NetConfig {
                id: if shared.config.node_id.is_empty() {
                    short_id(uid)
                } else {
                    shared.config.node_id.clone()
                },
                range: cidr.parse()?,
                state_dir: shared.config.data_dir.join("network"),
                api: shared.config.api(),
            };
            let made = Network::start(config).await?;
            let relay =
                Relay::on_bridge(&made.bridge(), shared.config.api(), endpoint.clone(), detour(&pods))?;
            Ok::<_, dunlin_net::Error>((made, relay))
        }
        .await;
        match made {
            Ok((made, relay)) => {
                network.send_replace(Some(Arc::new(made)));
                info.send_if_modified(|i| i.not_ready.take().is_some());
                break relay;
            }
            Err(error) => {
                let why = dunlin_base::error::chain(&error);
                tracing::error!(why, "the pod network cannot be made");
                info.send_if_modified(|i| {
                    i.not_ready.replace(format!("network is not ready: {why}")).is_none()
                });
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    };
    std::future::pending::<()>().await;
}

/// Sends API connections of pods whose home is above this node's server there.
fn detour(pods: &Arc<Pods>) -> Option<dunlin_net::relay::Detour> {
    let home = pods.shared.config.home.clone()?;
    let pods = pods.clone();
    Some(Arc::new(move |address| pods.homed_above(&address.to_string()).map(|pod| home(pod))))
}

/// Eight hexadecimal digits of a node's uid.
fn short_id(uid: &str) -> String {
    let hex: String = uid.chars().filter(char::is_ascii_hexdigit).take(8).collect::<String>().to_lowercase();
    if hex.len() == 8 && uid.len() == 36 {
        return hex;
    }
    let hash = uid.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

/// Passes on what a runtime tells; after a lag every worker looks for itself.
async fn listen(runtime: Arc<dyn Runtime>, pods: Arc<Pods>) {
    use tokio::sync::broadcast::error::RecvError;
    let mut events = runtime.events();
    loop {
        match events.recv().await {
            Ok(dunlin_runtime::Event::Exited { sandbox, .. }) => pods.tell(&sandbox.0, |m| m.look = true),
            Ok(dunlin_runtime::Event::SandboxLost { sandbox }) => pods.tell(&sandbox.0, |m| m.lost = true),
            Err(RecvError::Lagged(_)) => lock(&pods.workers).values().for_each(|w| w.tell(|m| m.look = true)),
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Starts the workers of a runtime's pods when it answers at last.
async fn revive(runtime: Arc<dyn Runtime>, pods: Arc<Pods>) {
    let found = held::answer(&runtime).await;
    let found = found.into_iter().map(|s| (s.id.0.clone(), (runtime.clone(), s))).collect();
    let left = begin_held(&pods, runtime.name(), found);
    if pods.listed.load(Ordering::Relaxed) {
        remove_orphans(left).await;
    } else {
        lock(&pods.orphans).extend(left);
    }
}

/// Starts the workers of a runtime's pods with what was found there; gives back what no pod stands behind.
fn begin_held(pods: &Arc<Pods>, runtime: &str, mut found: HashMap<String, Found>) -> HashMap<String, Found> {
    let mut workers = lock(&pods.workers);
    pods.held.release(runtime, |waiting| {
        let uid = PodRef::of(&waiting.pod).uid;
        let handle =
            worker::start(pods.shared.clone(), waiting.pod, waiting.record, found.remove(&uid), false);
        if waiting.gone {
            handle.tell(|m| m.gone = true);
        }
        workers.insert(uid, handle);
    });
    // A pod that came meanwhile finds its sandbox when it makes it.
    found.retain(|uid, _| !workers.contains_key(uid));
    found
}

/// Removes sandboxes that no pod stands behind.
async fn remove_orphans(orphans: HashMap<String, Found>) {
    for (uid, (runtime, _)) in orphans {
        if let Err(error) = runtime.remove_sandbox(&SandboxId(uid.clone())).await {
            tracing::warn!(
                error = dunlin_base::error::chain(&error),
                uid,
                "a sandbox without a pod could not be removed"
            );
        }
    }
}

async fn reap(pods: Arc<Pods>, mut ended: mpsc::Receiver<String>) {
    while let Some(uid) = ended.recv().await {
        lock(&pods.workers).remove(&uid);
    }
}

/// Notices a full disk.
async fn watch_disk(shared: Arc<Shared>, info: watch::Sender<NodeInfo>) {
    loop {
        if let Some((total, free)) = crate::machine::disk(&shared.config.data_dir) {
            let short = free.saturating_mul(100) < total.saturating_mul(shared.config.disk_pressure_percent);
            info.send_if_modified(|i| std::mem::replace(&mut i.disk_pressure, short) != short);
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
}

/// The workers by pod uid.
pub(crate) struct Pods {
    shared: Arc<Shared>,
    workers: Mutex<HashMap<String, Handle>>,
    /// Sandboxes that run without a pod on disk; the first listing decides about them.
    orphans: Mutex<HashMap<String, Found>>,
    /// Pods whose runtime has not answered yet.
    held: Held,
    /// Whether the API has said which pods there are.
    listed: AtomicBool,
}

impl Pods {
    fn tell(&self, uid: &str, change: impl FnOnce(&mut worker::Mail)) {
        if let Some(worker) = lock(&self.workers).get(uid) {
            worker.tell(change);
        }
    }

    /// Whether a pod here, or what is left of one, uses the PersistentVolume.
    fn use_volume(&self, name: &str) -> bool {
        let runs = |worker: &Handle| {
            let view = worker.view.borrow();
            let over = crate::plan::finished(&view.pod, &view.record) || view.record.ending;
            !over || view.record.sandbox != crate::model::Sandbox::None
        };
        let workers = lock(&self.workers);
        let mut running = workers.iter().filter(|(_, worker)| runs(worker)).map(|(uid, _)| uid);
        running.any(|uid| crate::claims::uses(&self.shared.disk, uid, name))
    }

    /// The pod with this address, if its home is above this node's server.
    fn homed_above(&self, address: &str) -> Option<PodRef> {
        let workers = lock(&self.workers);
        workers.values().find_map(|worker| {
            let view = worker.view.borrow();
            (crate::home::is_above(&view.pod) && view.record.ip.as_deref() == Some(address))
                .then(|| PodRef::of(&view.pod))
        })
    }

    fn applied(&self, pod: Arc<Pod>) {
        self.admit(pod);
        self.shared.fence.look();
    }

    fn admit(&self, pod: Arc<Pod>) {
        let pod_ref = PodRef::of(&pod);
        let mut workers = lock(&self.workers);
        if let Some(worker) = workers.get(&pod_ref.uid) {
            worker.tell(|m| m.pod = Some(pod));
            return;
        }
        if self.held.take_news(&pod_ref.uid, &pod) {
            return;
        }
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("");
        let terminal = matches!(phase, "Succeeded" | "Failed");
        let found = lock(&self.orphans).remove(&pod_ref.uid);
        if terminal && found.is_none() {
            if deleting(&pod) {
                self.shared.status.delete(&pod_ref);
            }
            return;
        }
        let mut record = Record::default();
        if found.is_none() && !deleting(&pod) {
            let others: Vec<Arc<Pod>> = workers
                .values()
                .map(|w| w.view.borrow().clone())
                .filter(|v| !crate::plan::finished(&v.pod, &v.record))
                .map(|v| v.pod)
                .collect();
            // Anybody may label a node at any time, so only the API's word counts; before there is one, the scheduler's.
            let assigned = self.shared.assigned.borrow().clone();
            let labels = assigned.as_ref().map(|assigned| &assigned.labels);
            let others = others.iter().map(|pod| &**pod);
            if let Err(refusal) = admit(&pod, others, &self.shared.allocatable, labels) {
                self.shared.recorder.warning(&pod_ref, None, "FailedAdmission", refusal.message.clone());
                record.failed = Some((refusal.reason, refusal.message));
            }
        }
        let handle = worker::start(self.shared.clone(), pod, record, found, false);
        workers.insert(pod_ref.uid, handle);
    }

    fn view(&self, pod: &PodRef) -> Result<(View, watch::Receiver<View>), ServeError> {
        let workers = lock(&self.workers);
        let missing = || ServeError::not_found(format!("pod \"{}\" is not on this node", pod.name));
        let worker = workers.get(&pod.uid).ok_or_else(missing)?;
        if worker.pod_ref != *pod {
            return Err(missing());
        }
        let view = worker.view.borrow().clone();
        Ok((view, worker.view.clone()))
    }

    fn running(
        &self,
        container: &ContainerRef,
    ) -> Result<(Arc<dyn Runtime>, SandboxId, ContainerId), ServeError> {
        let (view, _) = self.view(&container.pod)?;
        let known = view.record.container(&container.container);
        if !known.running() {
            return Err(ServeError::bad_request(format!("container {} is not running", container.container)));
        }
        let runtime = self.shared.runtime(&view.record.runtime);
        let id = ContainerId(format!("{}-{}", container.container, known.launches.saturating_sub(1)));
        Ok((runtime, SandboxId(container.pod.uid.clone()), id))
    }
}

impl fence::Fenced for Pods {
    fn shortest(&self) -> Option<Duration> {
        let workers = lock(&self.workers);
        let fenced = workers.values().filter_map(|worker| {
            let view = worker.view.borrow();
            let over = view.record.ending || crate::plan::finished(&view.pod, &view.record);
            if over { None } else { fence::after(&view.pod) }
        });
        fenced.min()
    }

    fn stop(&self, lapsed: &dyn Fn(Duration) -> bool) {
        for worker in lock(&self.workers).values() {
            let must = fence::after(&worker.view.borrow().pod).is_some_and(lapsed);
            if must {
                worker.tell(|m| m.fenced = true);
            }
        }
    }

    fn opened(&self) {
        lock(&self.workers).values().for_each(|worker| worker.tell(|_| {}));
    }
}

impl dunlin_node::volumes::Backing for Pods {
    fn remove<'a>(
        &'a self,
        volume: &'a PersistentVolume,
        policy: Policy,
    ) -> BoxFuture<'a, Result<bool, String>> {
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        let path = self.shared.disk.volume(name);
        Box::pin(async move {
            if self.use_volume(name) {
                return Ok(false);
            }
            if policy == Policy::Retain {
                return Ok(true);
            }
            tracing::info!(volume = name, "removing the directory of a deleted volume");
            let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(path)).await;
            match removed.map_err(|e| e.to_string())? {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
                _ => Ok(true),
            }
        })
    }
}

impl PodBackend for Pods {
    fn pods(&self) -> Vec<Pod> {
        let views: Vec<View> = lock(&self.workers).values().map(|w| w.view.borrow().clone()).collect();
        let (host, delays, now) = (self.shared.node_ip(), self.shared.delays(), Timestamp::now());
        views
            .into_iter()
            .map(|View { pod, mut record }| {
                let status = crate::podstatus::status(&pod, &mut record, &host, &delays, now);
                Pod { status: Some(status), ..(*pod).clone() }
            })
            .collect()
    }

    fn pod_event(&self, event: PodEvent) {
        match event {
            PodEvent::Applied(pod) => self.applied(pod),
            PodEvent::Gone(pod) => {
                self.held.gone(&pod.uid);
                self.tell(&pod.uid, |m| m.gone = true);
            }
            PodEvent::Listed(uids) => {
                let workers = lock(&self.workers);
                for (uid, worker) in workers.iter().filter(|(uid, _)| !uids.contains(*uid)) {
                    tracing::info!(uid, "a pod on disk is no longer in the API; ending it");
                    worker.tell(|m| m.gone = true);
                }
                let mut kept: BTreeSet<String> = workers.keys().cloned().collect();
                kept.extend(self.held.listed(&uids));
                drop(workers);
                self.listed.store(true, Ordering::Relaxed);
                let orphans = std::mem::take(&mut *lock(&self.orphans));
                let shared = self.shared.clone();
                if orphans.is_empty() && shared.network.borrow().is_none() {
                    return;
                }
                // Short and ends by itself; a pod that comes meanwhile has another uid.
                tokio::spawn(async move {
                    remove_orphans(orphans).await;
                    let network = shared.network.borrow().clone();
                    if let Some(network) = network {
                        let mut keep = kept;
                        keep.extend(uids);
                        if let Err(error) = network.retain(&keep).await {
                            tracing::warn!(
                                error = dunlin_base::error::chain(&error),
                                "addresses of ended pods could not be taken back"
                            );
                        }
                    }
                });
            }
        }
    }

    fn logs(
        &self,
        container: ContainerRef,
        options: LogOptions,
    ) -> BoxFuture<'_, Result<mpsc::Receiver<Bytes>, ServeError>> {
        Box::pin(async move {
            let (view, mut views) = self.view(&container.pod)?;
            let name = container.container;
            if crate::model::find(&view.pod, &name).is_none() {
                return Err(ServeError::bad_request(format!(
                    "container {name} is not valid for pod {}",
                    container.pod.name
                )));
            }
            let known = view.record.container(&name);
            let launches = if options.previous { known.launches.saturating_sub(1) } else { known.launches };
            if launches == 0 {
                let pod = &container.pod.name;
                let text = if options.previous {
                    format!("previous terminated container \"{name}\" in pod \"{pod}\" not found")
                } else {
                    let why = known.trouble.map_or("ContainerCreating".to_owned(), |t| t.reason);
                    format!("container \"{name}\" in pod \"{pod}\" is waiting to start: {why}")
                };
                return Err(ServeError::bad_request(text));
            }
            let path = self.shared.disk.log(&view.pod, &name, launches);
            let (sender, receiver) = mpsc::channel(4);
            let over = move |v: &View| {
                let now = v.record.container(&name);
                now.launches != launches || !now.running()
            };
            let (end, ended) = watch::channel(over(&view));
            // Ends with the log or its reader.
            tokio::spawn(async move {
                let until = async {
                    // An error means that the pod is gone, which is an end too.
                    let _ = views.wait_for(|v| over(v)).await;
                    end.send_replace(true);
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    () = dunlin_node::logs::stream(path, options, ended, sender) => {}
                    () = until => {}
                }
            });
            Ok(receiver)
        })
    }

    fn exec(
        &self,
        container: ContainerRef,
        options: ExecOptions,
    ) -> BoxFuture<'_, Result<Session, ServeError>> {
        Box::pin(async move {
            let (runtime, sandbox, id) = self.running(&container)?;
            let spec = ExecSpec { args: options.command, tty: options.tty, stdin: options.stdin };
            let session = runtime
                .exec(&sandbox, &id, spec)
                .await
                .map_err(|e| ServeError::internal(dunlin_base::error::chain(&e)))?;
            Ok(bridge(session))
        })
    }

    fn attach(
        &self,
        container: ContainerRef,
        _options: ExecOptions,
    ) -> BoxFuture<'_, Result<Session, ServeError>> {
        Box::pin(async move {
            let (runtime, sandbox, id) = self.running(&container)?;
            let session = runtime
                .attach(&sandbox, &id)
                .await
                .map_err(|e| ServeError::internal(dunlin_base::error::chain(&e)))?;
            Ok(bridge(session))
        })
    }

    fn usage(&self) -> BoxFuture<'_, Result<Readings, ServeError>> {
        Box::pin(async move {
            let pods: Vec<(PodRef, View)> = lock(&self.workers)
                .values()
                .map(|worker| (worker.pod_ref.clone(), worker.view.borrow().clone()))
                .collect();
            let mut containers = Vec::new();
            for (pod, view) in pods {
                let spec = spec(&view.pod);
                let names = spec.containers.iter().chain(spec.init_containers.iter().flatten());
                for name in names.map(|container| container.name.clone()) {
                    let of = ContainerRef { pod: pod.clone(), container: name };
                    // What is not running, or ends meanwhile, uses nothing.
                    let Ok((runtime, sandbox, id)) = self.running(&of) else { continue };
                    if let Ok(stats) = runtime.stats(&sandbox, &id).await {
                        let (cpu_nanoseconds, memory_working_set) =
                            (stats.cpu_nanoseconds, stats.memory_working_set);
                        containers.push((of, Usage { cpu_nanoseconds, memory_working_set }));
                    }
                }
            }
            Ok(Readings { node: crate::machine::usage(), containers })
        })
    }

    fn port_forward(&self, pod: PodRef, port: u16) -> BoxFuture<'_, Result<Connection, ServeError>> {
        Box::pin(async move {
            let (view, _) = self.view(&pod)?;
            let failed = |e: dunlin_net::Error| {
                ServeError::internal(format!(
                    "failed to connect to port {port} of pod {}: {}",
                    pod.name,
                    dunlin_base::error::chain(&e)
                ))
            };
            let runtime = self.shared.runtime(&view.record.runtime);
            let status = runtime
                .sandbox(&SandboxId(pod.uid.clone()))
                .await
                .map_err(|e| ServeError::internal(dunlin_base::error::chain(&e)))?;
            let loopback = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            // From inside, so that what listens on 127.0.0.1 only is reached as well; a virtual machine has only its address.
            let (address, from_inside) = match runtime.accelerator() {
                None => (loopback, runtime.network_namespace(&status)),
                Some(_) => {
                    let own = view.record.ip.as_deref().and_then(|ip| ip.parse::<Ipv4Addr>().ok());
                    (own.map_or(loopback, |ip| (ip, port).into()), None)
                }
            };
            let stream = match from_inside {
                Some(path) => {
                    let namespace = dunlin_net::netlink::open_namespace(&path).map_err(failed)?;
                    dunlin_net::netlink::connect(namespace, address).await.map_err(failed)?
                }
                None => tokio::net::TcpStream::connect(address)
                    .await
                    .map_err(|e| ServeError::internal(format!("failed to connect to port {port}: {e}")))?,
            };
            Ok(Box::new(stream) as Connection)
        })
    }
}

/// A runtime's session in the node's words. The directions do not wait for each other: a process that is not read from does
/// not read either. The copying task ends with the session or its client.
fn bridge(session: dunlin_runtime::Session) -> Session {
    let (input, mut from_client) = mpsc::channel::<Input>(4);
    let (to_client, output) = mpsc::channel(4);
    let dunlin_runtime::Session { input: to_process, output: mut from_process } = session;
    tokio::spawn(async move {
        let inward = async {
            while let Some(message) = from_client.recv().await {
                let message = match message {
                    Input::Stdin(bytes) => SessionInput::Stdin(bytes),
                    Input::CloseStdin => SessionInput::CloseStdin,
                    Input::Resize(width, height) => SessionInput::Resize(TerminalSize { width, height }),
                };
                if to_process.send(message).await.is_err() {
                    break;
                }
            }
            // A client that has nothing more to say may still listen.
            std::future::pending::<()>().await;
        };
        let outward = async {
            while let Some(message) = from_process.recv().await {
                let (message, last) = match message {
                    SessionOutput::Stdout(bytes) => (Output::Stdout(bytes), false),
                    SessionOutput::Stderr(bytes) => (Output::Stderr(bytes), false),
                    SessionOutput::Exited(status) => (Output::Exited(status.code), true),
                    SessionOutput::Failed(why) => (Output::Failed(why), true),
                };
                if to_client.send(message).await.is_err() || last {
                    return;
                }
            }
        };
        tokio::select! {
            () = inward => {}
            () = outward => {}
            () = to_client.closed() => {}
        }
    });
    Session { input, output }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_that_answers_everything_is_not_waited_for_before_it_is_heard() {
        let (to_process, mut stdin) = mpsc::channel(1);
        let (stdout, from_process) = mpsc::channel(1);
        // As `cat`: it does not read on before its answer is taken.
        tokio::spawn(async move {
            while let Some(SessionInput::Stdin(bytes)) = stdin.recv().await {
                let _ = stdout.send(SessionOutput::Stdout(bytes)).await;
            }
        });
        let Session { input, mut output } =
            bridge(dunlin_runtime::Session { input: to_process, output: from_process });
        let sending = tokio::spawn(async move {
            for _ in 0..1000 {
                input.send(Input::Stdin(Bytes::from_static(b"x"))).await.expect("it listens");
            }
            let _ = input.send(Input::CloseStdin).await;
        });
        let all = async {
            let mut heard = 0;
            while let Some(Output::Stdout(_)) = output.recv().await {
                heard += 1;
            }
            heard
        };
        let heard = tokio::time::timeout(Duration::from_secs(20), all).await;
        assert_eq!(heard, Ok(1000), "both sides wait for each other");
        sending.await.expect("all was sent");
    }
}
