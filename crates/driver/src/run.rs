//! The one task that owns all state, and its loop over one closed enum of events.

mod claiming;
mod offering;
mod placing;
mod refused;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dunlin_base::error::chain;
use dunlin_base::task::Task;
use dunlin_control::controllers::autoscaler;
use dunlin_control::model::{Held, HorizontalPodAutoscaler, Key, PodMetrics};
use dunlin_control::plan::{Action, Plan};
use dunlin_control::resource::{Resource, Resources};
use dunlin_control::scheduler::kept::{self, Kept};
use dunlin_control::scheduler::{self, Policy, group};
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::controllers::{GC, TABLE, autoscalers, concerned, needs_graph, owned, patience};
use crate::execute::{Absent, Executor, Outcome};
use crate::handle::{self, Request, SchedulerHandle};
use crate::informer::{self, Change, News};
use crate::kinds::{self, Watched};
use crate::offers::{self, Answered};
use crate::options::{Options, Scheduler};
use crate::work::{Id, Work};
use crate::{discovery, execute, usage};

/// Changes that wait for the loop; informers stop reading when it is full, and the server buffers for them.
const CHANGES: usize = 1024;
/// Changes that are taken in before keys are planned: a burst is planned once.
const BATCH: usize = 256;
/// Keys that are planned, and pods that are placed, between two looks at the events.
pub const TURN: usize = 32;
/// Plans, and bindings, that are being executed at the same time; each may have many writes.
pub const UNDER_WAY: usize = 64;
/// How long garbage collection waits for all resources to be listed; it asks the server before it collects anyway.
const GRAPH_PATIENCE: u64 = 30_000;
/// When the server is asked again for the resource of a definition that it does not show yet.
const ASK_AGAIN: u64 = 1_000;
const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// Controllers and scheduler at work; dropping it ends them.
#[derive(Debug)]
pub struct Driver {
    _task: Task,
    scheduler: SchedulerHandle,
}

impl Driver {
    /// The way to ask for places and for the sum of the cluster.
    pub fn scheduler(&self) -> SchedulerHandle {
        self.scheduler.clone()
    }
}

/// Starts everything on the current runtime.
pub fn run(client: Client, options: Options) -> Driver {
    let (requests, requested) = mpsc::channel(handle::WAITING);
    let (changed, changes) = watch::channel(0);
    let task = Task::spawn("driver", async move {
        Loop::new(client, options, requested, changed).run().await;
    });
    Driver { _task: task, scheduler: SchedulerHandle { requests, changes } }
}

/// All that the loop reacts to.
enum Event {
    Changes,
    Done(Purpose, Outcome),
    Discovered(Vec<Resource>),
    Answered(Answered),
    Requested(Request),
    Timer,
}

/// What a task that writes is for.
enum Purpose {
    Plan(Id),
    Bind {
        pod: Key,
        uid: Arc<str>,
    },
    /// Claims of a pod are told of its place.
    Claim {
        uid: Arc<str>,
    },
    Explain {
        pod: Key,
    },
    /// An event alone; nothing depends on it.
    Tell,
    Ask(Box<placing::Asked>),
    /// A binding that an external scheduler decided.
    BindAsked {
        pod: Key,
        uid: Arc<str>,
    },
}

struct Loop {
    client: Client,
    scheduler: Scheduler,
    asking: placing::Asking,
    began: Instant,
    cluster: Cluster,
    /// The same as in the view, shared with the tasks that write.
    resources: Arc<Resources>,
    work: Work,
    /// Keys that wait for the graph of all objects.
    held: BTreeSet<Id>,
    typed: Vec<(Arc<str>, bool)>,
    informers: HashMap<(Arc<str>, bool), Task>,
    /// When the youngest informer began.
    followed_at: u64,
    /// Resources that were discovered; they count as known once they are listed.
    discovered: HashMap<Arc<str>, Resource>,
    graph_known: bool,
    /// The graph was known once.
    collects: bool,
    /// Definitions whose resource the server does not show (yet), and since when (milliseconds).
    unserved: HashMap<Arc<str>, u64>,
    rediscover: watch::Sender<u64>,
    rediscovered_at: u64,
    writes: Executor,
    bindings: Executor,
    plans_under_way: usize,
    bindings_under_way: usize,
    writing: JoinSet<Outcome>,
    asking_children: JoinSet<Answered>,
    /// Pods about which child clusters will be asked at the end of this turn, by node.
    offers: BTreeMap<Arc<str>, Vec<offers::Asked>>,
    /// Pods that have a place and wait for their claims, by uid.
    claiming: HashMap<Arc<str>, claiming::Claiming>,
    /// Places kept for pods that a parent offered.
    kept: Kept,
    /// When refusals of child clusters are looked at again (milliseconds).
    forgive_at: Option<u64>,
    requested: mpsc::Receiver<Request>,
    changed: watch::Sender<u64>,
    purposes: HashMap<tokio::task::Id, Purpose>,
    changes_to: mpsc::Sender<Change>,
    changes: mpsc::Receiver<Change>,
    batch: Vec<Change>,
    discoveries: mpsc::Receiver<Vec<Resource>>,
    _discovery: Task,
    /// Asks what pods use, while there are autoscalers.
    measuring: Option<Task>,
    /// The paths of metrics that autoscalers need beside that.
    wanted: watch::Sender<Vec<Arc<str>>>,
}

impl Loop {
    fn new(
        client: Client,
        options: Options,
        requested: mpsc::Receiver<Request>,
        changed: watch::Sender<u64>,
    ) -> Self {
        let mut cluster = Cluster::default();
        cluster.view.settings = Arc::new(options.settings(seconds()));
        let resources = Arc::new(cluster.view.resources.clone());
        let (changes_to, changes) = mpsc::channel(CHANGES);
        let (discoveries_to, discoveries) = mpsc::channel(1);
        let (rediscover, again) = watch::channel(0);
        let discovery = Task::spawn("discovery", discovery::follow(client.clone(), again, discoveries_to));
        let mut this = Self {
            scheduler: options.scheduler,
            asking: placing::Asking::default(),
            began: Instant::now(),
            cluster,
            work: Work::default(),
            held: BTreeSet::new(),
            typed: Vec::new(),
            informers: HashMap::new(),
            followed_at: 0,
            discovered: HashMap::new(),
            graph_known: false,
            collects: false,
            unserved: HashMap::new(),
            rediscover,
            rediscovered_at: 0,
            writes: Executor::new(client.clone()),
            bindings: Executor::new(client.clone()),
            plans_under_way: 0,
            bindings_under_way: 0,
            writing: JoinSet::new(),
            asking_children: JoinSet::new(),
            offers: BTreeMap::new(),
            claiming: HashMap::new(),
            kept: Kept::default(),
            forgive_at: None,
            requested,
            changed,
            purposes: HashMap::new(),
            changes_to,
            changes,
            batch: Vec::new(),
            discoveries,
            _discovery: discovery,
            measuring: None,
            wanted: watch::Sender::default(),
            client,
            resources: resources.clone(),
        };
        for watched in kinds::typed(&resources) {
            this.typed.push(watched.id());
            this.follow(watched);
        }
        this
    }

    async fn run(mut self) {
        loop {
            let now = self.now();
            let versions = &self.cluster.versions;
            let view = &self.cluster.view;
            self.work.wake(now, |awaits| awaits.seen(versions, view));
            if self.typed.iter().all(|informer| self.cluster.listed.contains(informer)) {
                self.look_at_graph(now);
                self.expire(now);
                self.look_at_claims(now);
                // Pods first: a pod that can start is worth more than a status that is right.
                self.place();
                self.plan();
            }
            match self.next().await {
                Event::Changes => self.take_changes(),
                Event::Done(purpose, outcome) => self.take_done(purpose, outcome),
                Event::Discovered(found) => self.take_discovered(found),
                Event::Answered(answered) => self.take_offered(answered),
                Event::Requested(request) => self.take_request(request),
                Event::Timer => {}
            }
        }
    }

    async fn next(&mut self) -> Event {
        let synced = self.typed.iter().all(|informer| self.cluster.listed.contains(informer));
        let wake = self.wake_at();
        tokio::select! {
            biased;
            Some(ended) = self.writing.join_next_with_id() => {
                let (task, outcome) = match ended {
                    Ok((task, outcome)) => (task, outcome),
                    Err(error) => (error.id(), Outcome { errors: vec![execute::Error::Ended(error)], ..Outcome::default() }),
                };
                self.purposes.remove(&task).map_or(Event::Timer, |purpose| Event::Done(purpose, outcome))
            }
            Some(Ok(answered)) = self.asking_children.join_next() => Event::Answered(answered),
            // Before everything is listed, an answer would be that there is nothing.
            Some(request) = self.requested.recv(), if synced => Event::Requested(request),
            Some(found) = self.discoveries.recv() => Event::Discovered(found),
            _ = self.changes.recv_many(&mut self.batch, BATCH) => Event::Changes,
            () = tokio::time::sleep_until(wake.into()) => Event::Timer,
        }
    }

    /// When the loop has to turn even if nothing happens.
    fn wake_at(&self) -> Instant {
        let synced = self.typed.iter().all(|informer| self.cluster.listed.contains(informer));
        if !synced {
            return self.began + Duration::from_millis(self.now() + 1_000);
        }
        let now = self.now();
        let plan = (self.work.is_ready() && self.plans_under_way < UNDER_WAY).then_some(now);
        let place = self.cluster.pending.next_at().filter(|_| self.bindings_under_way < UNDER_WAY);
        let graph = (!self.graph_known).then_some(now + 1_000);
        let kept = self.kept.next_at();
        let times = [plan, place, graph, self.work.next_at(), kept, self.forgive_at, self.next_claim_at()];
        let at = times.into_iter().flatten().min();
        // An hour is as good as never, and no clock overflows.
        self.began + Duration::from_millis(at.unwrap_or(now + 3_600_000))
    }

    fn take_changes(&mut self) {
        let (now, at) = (self.now(), seconds());
        let mut ids = Vec::new();
        let mut measure = false;
        for change in std::mem::take(&mut self.batch) {
            let name = change.resource.clone();
            let first_list = change.metadata_only && matches!(change.news, News::All(_));
            if matches!(change.news, News::Measured(_)) {
                autoscalers(&self.cluster.view, &mut ids);
            }
            // Each round of measurements is also the time to see what the next one has to ask for.
            measure |= [HorizontalPodAutoscaler::RESOURCE, PodMetrics::RESOURCE].contains(&&*name);
            let defined = &*name == DEFINITIONS && !matches!(change.news, News::Progress);
            for step in self.cluster.take(change, at) {
                concerned(&self.cluster.view, &step, &mut ids);
            }
            if defined {
                self.rediscover(now);
                self.look_at_definitions(now);
            }
            if first_list && let Some(resource) = self.discovered.get(&name) {
                self.cluster.view.resources.insert(resource.clone());
                self.resources = Arc::new(self.cluster.view.resources.clone());
                // Until now its objects counted as there; before the first collection nothing was planned by that.
                if self.collects {
                    owned(&self.cluster.view, resource, &mut ids);
                }
            }
        }
        self.changed.send_modify(|count| *count += 1);
        if measure {
            self.measure();
        }
        for id in ids {
            if needs_graph(id.0) && !self.graph_known {
                self.held.insert(id);
            } else if patience(id.0) > 0 {
                self.work.at(id.clone(), now + patience(id.0));
            } else {
                self.work.push(id, now);
            }
        }
    }

    fn take_done(&mut self, purpose: Purpose, outcome: Outcome) {
        let now = self.now();
        match purpose {
            Purpose::Plan(id) => {
                self.plans_under_way -= 1;
                report(TABLE[id.0].0, &id.1, &outcome);
                self.tell_refusal(&id, &outcome);
                let failed = !outcome.errors.is_empty();
                self.work.done(id, outcome.awaits, failed, now);
            }
            Purpose::Bind { pod, uid } => {
                self.bindings_under_way -= 1;
                report("scheduler", &pod, &outcome);
                if !outcome.errors.is_empty() && self.cluster.snapshot.forget(&uid) {
                    self.cluster.pending.failed(&pod, now, true);
                    self.cluster.pending.wake();
                }
            }
            Purpose::Ask(asked) => {
                self.bindings_under_way -= 1;
                report("scheduler", &asked.pod, &outcome);
                self.take_answers(*asked, outcome);
            }
            Purpose::BindAsked { pod, uid } => {
                self.bindings_under_way -= 1;
                report("scheduler", &pod, &outcome);
                self.take_asked_binding(pod, &uid, &outcome);
            }
            Purpose::Claim { uid } => {
                self.bindings_under_way -= 1;
                if let Some(claiming) = self.claiming.get(&uid) {
                    report("scheduler", &claiming.pod, &outcome);
                }
                self.take_claimed(&uid, &outcome);
            }
            Purpose::Tell => self.bindings_under_way -= 1,
            Purpose::Explain { pod } => {
                self.bindings_under_way -= 1;
                report("scheduler", &pod, &outcome);
                if !outcome.errors.is_empty() {
                    self.cluster.pending.failed(&pod, now, true);
                }
            }
        }
    }

    /// Measures what pods use only while somebody scales by it.
    fn measure(&mut self) {
        if self.cluster.view.autoscalers.is_empty() {
            self.measuring = None;
        } else if self.measuring.is_none() {
            let follow = usage::follow(self.client.clone(), self.wanted.subscribe(), self.changes_to.clone());
            self.measuring = Some(Task::spawn("measuring", follow));
        }
        let view = &self.cluster.view;
        let scalers = view.autoscalers.all();
        let wanted: BTreeSet<_> = scalers.iter().flat_map(|scaler| autoscaler::paths(view, scaler)).collect();
        self.wanted.send_if_modified(|before| {
            let same = before.iter().eq(&wanted);
            if !same {
                *before = wanted.into_iter().collect();
            }
            !same
        });
    }

    /// Starts and ends metadata informers so that every resource has one.
    fn take_discovered(&mut self, found: Vec<Resource>) {
        let found: HashMap<Arc<str>, Resource> = found.into_iter().map(|r| (r.name.clone(), r)).collect();
        let gone: Vec<Arc<str>> =
            self.discovered.keys().filter(|name| !found.contains_key(*name)).cloned().collect();
        for name in gone {
            tracing::info!(resource = %name, "resource is gone");
            self.informers.remove(&(name.clone(), true));
            self.cluster.listed.remove(&(name.clone(), true));
            self.cluster.view.resources.remove(&name);
            for key in self.cluster.view.objects.of_resource(&name) {
                self.cluster.view.objects.remove(&key);
            }
        }
        for (name, resource) in &found {
            let known = self.cluster.view.resources.get(name).is_some();
            if !kinds::needs_metadata(name) {
                if !known {
                    self.cluster.view.resources.insert(resource.clone());
                }
            } else if !self.informers.contains_key(&(name.clone(), true)) {
                self.follow(kinds::metadata(Arc::new(resource.clone())));
            }
        }
        self.discovered = found;
        self.resources = Arc::new(self.cluster.view.resources.clone());
        self.look_at_definitions(self.now());
    }

    fn rediscover(&mut self, now: u64) {
        self.rediscovered_at = now;
        self.rediscover.send_modify(|count| *count += 1);
    }

    /// Holds garbage collection until the resource of a new definition is listed: its objects may own others, and may
    /// be all that is left in a namespace.
    fn look_at_definitions(&mut self, now: u64) {
        let objects = &self.cluster.view.objects;
        let defined = objects.of_resource(DEFINITIONS).into_iter().filter(|key| {
            let going = objects.get(key).is_none_or(|object| object.metadata.is_deleting());
            // A definition is called as its resource.
            !going && !self.discovered.contains_key(&key.name)
        });
        let mut before = std::mem::take(&mut self.unserved);
        for key in defined {
            let since = before.remove(&key.name).unwrap_or_else(|| {
                self.graph_known = false;
                now
            });
            self.unserved.insert(key.name, since);
        }
    }

    fn follow(&mut self, watched: Watched) {
        let id = watched.id();
        let task =
            Task::spawn("informer", informer::follow(self.client.clone(), watched, self.changes_to.clone()));
        self.informers.insert(id, task);
        self.followed_at = self.now();
    }

    /// Lets garbage collection begin once everything is listed.
    fn look_at_graph(&mut self, now: u64) {
        if self.graph_known || self.discovered.is_empty() {
            return;
        }
        let waits = |since: u64| now <= since + GRAPH_PATIENCE;
        if !self.unserved.is_empty() && now >= self.rediscovered_at + ASK_AGAIN {
            self.rediscover(now);
        }
        let listed = self.informers.keys().all(|informer| self.cluster.listed.contains(informer));
        let known = listed || !waits(self.followed_at);
        if known && !self.unserved.values().any(|since| waits(*since)) {
            self.graph_known = true;
            self.collects = true;
            for id in std::mem::take(&mut self.held) {
                self.work.push(id, now);
            }
        }
    }

    fn plan(&mut self) {
        for _ in 0..TURN {
            if self.plans_under_way >= UNDER_WAY {
                return;
            }
            let Some(id) = self.work.pop() else { return };
            let (now, at) = (self.now(), seconds());
            let (name, plan) = TABLE[id.0];
            let (Plan { actions, mut absent, again_at, history }, report) =
                plan(&self.cluster.view, &id.1, at, seed());
            if !report.waiting.is_empty() {
                tracing::debug!(controller = name, key = %id.1, waiting = ?report.waiting, "waiting");
            }
            if let Some(history) = history {
                self.cluster.view.histories.insert(id.1.clone(), history);
            }
            if let Some(again_at) = again_at {
                self.work.at(id.clone(), now + pause(again_at - at));
            }
            if actions.is_empty() {
                // What changed while planning cannot be: planning does not wait.
                self.work.idle(&id);
                continue;
            }
            if id.0 == GC {
                absent = self.absent_owners(&actions);
            }
            self.plans_under_way += 1;
            self.write(self.writes.clone(), Purpose::Plan(id), actions, absent, at);
        }
    }

    /// Owners that the view lacks of what is to be deleted; the executor asks the server for them.
    fn absent_owners(&self, actions: &[Action]) -> Absent {
        let view = &self.cluster.view;
        let targets = actions.iter().filter_map(|action| match action {
            Action::Delete { target, .. } => view.objects.get(target),
            _ => None,
        });
        let owners = targets
            .flat_map(|object| object.metadata.owner_references.iter().map(move |owner| (object, owner)));
        let lacking = owners.filter(|(_, owner)| view.objects.by_uid(&owner.uid).is_none());
        let named = lacking.filter_map(|(object, owner)| {
            let resource = view.resources.of_kind(&owner.api_version, &owner.kind)?;
            let namespace = if resource.namespaced { object.metadata.namespace.clone() } else { "".into() };
            Some((Key::new(resource.name.clone(), namespace, owner.name.clone()), Some(owner.uid.clone())))
        });
        named.collect()
    }

    fn place(&mut self) {
        for _ in 0..TURN {
            let now = self.now();
            if self.bindings_under_way >= UNDER_WAY {
                break;
            }
            let Some(key) = self.cluster.pending.pop(now) else { break };
            let Some(pod) = self.cluster.view.pods.by_key(&key).cloned() else {
                self.cluster.pending.remove(&key);
                continue;
            };
            // A place that was kept for the pod is free for it now.
            self.kept.give_up(&mut self.cluster.snapshot, &kept::home_uid(&pod));
            let at = seconds();
            match Policy::of(&pod, self.scheduler.policy) {
                Ok(Policy::Group) if group::name(&pod).is_some() => self.place_group(key, &pod, at),
                Ok(Policy::External) => self.ask(key, &pod, at),
                Ok(policy) => match scheduler::place(&self.cluster.snapshot, &pod, policy, seed()) {
                    Ok(node) => self.bind(key, &pod, &node, at),
                    Err(why) => self.make_room(key, &pod, &why, at),
                },
                Err(why) => self.wait(key, &pod, &why, at),
            }
        }
        self.put_offers();
    }

    fn write(&mut self, executor: Executor, purpose: Purpose, actions: Vec<Action>, absent: Absent, at: i64) {
        let resources = self.resources.clone();
        let task =
            self.writing.spawn(async move { executor.execute(&resources, actions, &absent, at).await });
        self.purposes.insert(task.id(), purpose);
    }

    /// Milliseconds since the driver began.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn report(who: &str, key: &Key, outcome: &Outcome) {
    for error in &outcome.errors {
        let text = chain(error);
        match execute::Error::is_race(error) {
            true => tracing::debug!(who, key = %key, error = %text, "somebody was faster"),
            false => tracing::warn!(who, key = %key, error = %text, "write failed"),
        }
    }
}

/// Seconds since the epoch.
fn seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

/// Milliseconds to wait for a moment so many seconds ahead; one second at least.
fn pause(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).max(1) * 1000
}

/// Different each time; nothing secret depends on it.
fn seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}
