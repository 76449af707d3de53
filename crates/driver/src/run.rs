//! The one task that owns all state, and its loop over one closed enum of events.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dunlin_api::names::annotation;
use dunlin_api::offer::Answer;
use dunlin_base::error::chain;
use dunlin_base::task::Task;
use dunlin_control::model::{Key, Pod};
use dunlin_control::plan::{Action, Plan};
use dunlin_control::resource::{Resource, Resources};
use dunlin_control::scheduler::{self, Policy};
use dunlin_control::summary::summarise;
use kube::Client;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::controllers::{GC, TABLE, concerned, needs_graph, patience};
use crate::execute::{Absent, Executor, Outcome};
use crate::handle::{self, Request, SchedulerHandle};
use crate::informer::{self, Change, News};
use crate::kinds::{self, Watched};
use crate::offers::{self, Answered, Asked, Question, Then};
use crate::options::Options;
use crate::work::{Id, Work};
use crate::{discovery, execute};

/// Changes that wait for the loop; informers stop reading when it is full, and the server buffers for them.
const CHANGES: usize = 1024;
/// Changes that are taken in before keys are planned: a burst is planned once.
const BATCH: usize = 256;
/// Keys that are planned, and pods that are placed, between two looks at the events.
const TURN: usize = 32;
/// Plans, and bindings, that are being executed at the same time; each may have many writes.
const UNDER_WAY: usize = 64;
/// How long garbage collection waits for all resources to be listed; it asks the server before it collects anyway.
const GRAPH_PATIENCE: u64 = 30_000;

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
    Bind { pod: Key, uid: Arc<str> },
    Explain { pod: Key },
}

struct Loop {
    client: Client,
    policy: Policy,
    began: Instant,
    cluster: Cluster,
    /// The same as in the view, shared with the tasks that write.
    resources: Arc<Resources>,
    work: Work,
    /// Keys that wait for the graph of all objects.
    held: BTreeSet<Id>,
    typed: Vec<(Arc<str>, bool)>,
    informers: HashMap<(Arc<str>, bool), Task>,
    /// Resources that were discovered; they count as known once they are listed.
    discovered: HashMap<Arc<str>, Resource>,
    graph_known: bool,
    rediscover: watch::Sender<u64>,
    writes: Executor,
    bindings: Executor,
    plans_under_way: usize,
    bindings_under_way: usize,
    writing: JoinSet<Outcome>,
    asking: JoinSet<Answered>,
    /// Places kept for pods that a parent offered: by home uid, until when (milliseconds).
    kept: HashMap<Arc<str>, u64>,
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
            policy: options.scheduler,
            began: Instant::now(),
            cluster,
            work: Work::default(),
            held: BTreeSet::new(),
            typed: Vec::new(),
            informers: HashMap::new(),
            discovered: HashMap::new(),
            graph_known: false,
            rediscover,
            writes: Executor::new(client.clone()),
            bindings: Executor::new(client.clone()),
            plans_under_way: 0,
            bindings_under_way: 0,
            writing: JoinSet::new(),
            asking: JoinSet::new(),
            kept: HashMap::new(),
            forgive_at: None,
            requested,
            changed,
            purposes: HashMap::new(),
            changes_to,
            changes,
            batch: Vec::new(),
            discoveries,
            _discovery: discovery,
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
                // Pods first: a pod that can start is worth more than a status that is right.
                self.place();
                self.plan();
            }
            match self.next().await {
                Event::Changes => self.take_changes(),
                Event::Done(purpose, outcome) => self.take_done(purpose, outcome),
                Event::Discovered(found) => self.take_discovered(found),
                Event::Answered(answered) => self.take_answers(answered),
                Event::Requested(request) => self.take_request(request),
                Event::Timer => {}
            }
        }
    }

    async fn next(&mut self) -> Event {
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
            Some(Ok(answered)) = self.asking.join_next() => Event::Answered(answered),
            Some(request) = self.requested.recv() => Event::Requested(request),
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
        let kept = self.kept.values().min().copied();
        let at = [plan, place, graph, self.work.next_at(), kept, self.forgive_at].into_iter().flatten().min();
        // An hour is as good as never, and no clock overflows.
        self.began + Duration::from_millis(at.unwrap_or(now + 3_600_000))
    }

    fn take_changes(&mut self) {
        let (now, at) = (self.now(), seconds());
        let mut ids = Vec::new();
        for change in std::mem::take(&mut self.batch) {
            let name = change.resource.clone();
            let first_list = change.metadata_only && matches!(change.news, News::All(_));
            let custom = &*name == "customresourcedefinitions.apiextensions.k8s.io";
            if custom && !matches!(change.news, News::Progress) {
                self.rediscover.send_modify(|count| *count += 1);
            }
            for step in self.cluster.take(change, at) {
                concerned(&self.cluster.view, &step, &mut ids);
            }
            if first_list && let Some(resource) = self.discovered.get(&name) {
                self.cluster.view.resources.insert(resource.clone());
                self.resources = Arc::new(self.cluster.view.resources.clone());
            }
        }
        self.changed.send_modify(|count| *count += 1);
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
            Purpose::Explain { pod } => {
                self.bindings_under_way -= 1;
                report("scheduler", &pod, &outcome);
                if !outcome.errors.is_empty() {
                    self.cluster.pending.failed(&pod, now, true);
                }
            }
        }
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
    }

    fn follow(&mut self, watched: Watched) {
        let id = watched.id();
        let task =
            Task::spawn("informer", informer::follow(self.client.clone(), watched, self.changes_to.clone()));
        self.informers.insert(id, task);
    }

    /// Lets garbage collection begin once everything is listed.
    fn look_at_graph(&mut self, now: u64) {
        if self.graph_known || self.discovered.is_empty() {
            return;
        }
        let all = self.informers.keys().all(|informer| self.cluster.listed.contains(informer));
        if all || now > GRAPH_PATIENCE {
            self.graph_known = true;
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
            let (Plan { actions, again_at }, report) = plan(&self.cluster.view, &id.1, at, seed());
            if !report.waiting.is_empty() {
                tracing::debug!(controller = name, key = %id.1, waiting = ?report.waiting, "waiting");
            }
            if let Some(again_at) = again_at {
                let pause = u64::try_from(again_at - at).unwrap_or(0).max(1) * 1000;
                self.work.at(id.clone(), now + pause);
            }
            if actions.is_empty() {
                // What changed while planning cannot be: planning does not wait.
                self.work.idle(&id);
                continue;
            }
            let absent = if id.0 == GC { self.absent_owners(&actions) } else { Absent::new() };
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
            Some((Key::new(resource.name.clone(), namespace, owner.name.clone()), owner.uid.clone()))
        });
        named.collect()
    }

    fn place(&mut self) {
        let mut offers: BTreeMap<Arc<str>, Vec<Asked>> = BTreeMap::new();
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
            self.give_up(&home_uid(&pod));
            let at = seconds();
            match scheduler::place(&self.cluster.snapshot, &pod, self.policy, seed()) {
                Ok(node) => {
                    self.cluster.snapshot.assume(&pod, &node);
                    self.bindings_under_way += 1;
                    if self.cluster.snapshot.is_child(&node) {
                        let asked = Asked { pod, raw: None, then: Then::Bind(key) };
                        offers.entry(node).or_default().push(asked);
                    } else {
                        self.bind(key, &pod, &node);
                    }
                }
                Err(why) => {
                    self.cluster.pending.failed(&key, now, false);
                    let actions = scheduler::unschedulable(&pod, &why, at);
                    if actions.is_empty() {
                        continue;
                    }
                    self.bindings_under_way += 1;
                    let purpose = Purpose::Explain { pod: key };
                    self.write(self.bindings.clone(), purpose, actions, Absent::new(), at);
                }
            }
        }
        self.offer(offers);
    }

    fn bind(&mut self, key: Key, pod: &Arc<Pod>, node: &Arc<str>) {
        let actions = scheduler::bind(pod, node);
        let purpose = Purpose::Bind { pod: key, uid: pod.metadata.uid.clone() };
        self.write(self.bindings.clone(), purpose, actions, Absent::new(), seconds());
    }

    fn offer(&mut self, offers: BTreeMap<Arc<str>, Vec<Asked>>) {
        for (node, asked) in offers {
            self.asking.spawn(offers::ask(self.client.clone(), node, asked));
        }
    }

    /// A child cluster has answered: accepted pods are bound, refused ones try elsewhere at once.
    fn take_answers(&mut self, Answered { node, pods }: Answered) {
        let now = self.now();
        let mut again = Vec::new();
        for (asked, answer) in pods {
            let uid = asked.pod.metadata.uid.clone();
            if let Answer::Refused { reason } = &answer {
                tracing::debug!(node = %node, pod = %asked.pod.metadata.name, reason, "a child cluster refused a pod");
                self.cluster.snapshot.forget(&uid);
                let until = self.cluster.snapshot.refuse(&asked.pod, &node, reason, seconds());
                let wake = now + u64::try_from(until - seconds()).unwrap_or(0).max(1) * 1000;
                self.forgive_at = Some(self.forgive_at.map_or(wake, |at| at.min(wake)));
            }
            match (asked.then, answer) {
                (Then::Bind(key), Answer::Reserved { .. }) => self.bind(key, &asked.pod, &node),
                (Then::Bind(key), Answer::Refused { .. }) => {
                    self.bindings_under_way -= 1;
                    let created = asked.pod.metadata.creation_timestamp.map_or(0, |at| at.0);
                    self.cluster.pending.remove(&key);
                    self.cluster.pending.add(key, asked.pod.spec.priority, created);
                }
                (Then::Answer(question, at), Answer::Reserved { machine }) => {
                    question.answer(at, Answer::Reserved { machine: format!("{node}/{machine}") });
                }
                (Then::Answer(question, at), Answer::Refused { .. }) => {
                    again.push((question, at, asked.pod, asked.raw));
                }
            }
        }
        let mut offers = BTreeMap::new();
        for (question, at, pod, raw) in again {
            self.keep(&question, at, pod, raw, &mut offers);
        }
        self.offer(offers);
    }

    fn take_request(&mut self, request: Request) {
        match request {
            Request::Summary { parent, reply } => {
                let _ = reply.send(summarise(&self.cluster.snapshot, &parent));
            }
            Request::Reserve { pods, seconds, reply } => {
                let question = Question::new(pods.len(), reply);
                let until = self.now() + u64::from(seconds) * 1000;
                let mut offers = BTreeMap::new();
                for (at, mut raw) in pods.into_iter().enumerate() {
                    let home = &raw["metadata"]["annotations"][annotation::HOME_UID];
                    // It has no uid of its own before it exists.
                    raw["metadata"]["uid"] = offered_uid(home.as_str().unwrap_or_default()).into();
                    match serde_json::from_value::<Pod>(raw.clone()) {
                        Ok(pod) => {
                            let pod = Arc::new(pod);
                            self.give_up(&home_uid(&pod));
                            self.kept.insert(home_uid(&pod), until);
                            self.keep(&question, at, pod, Some(raw), &mut offers);
                        }
                        Err(error) => {
                            question.answer(
                                at,
                                Answer::Refused { reason: format!("it cannot read the pod: {error}") },
                            );
                        }
                    }
                }
                self.offer(offers);
            }
        }
    }

    /// Finds a place for an offered pod and keeps it, or asks the child of ours that may have one.
    fn keep(
        &mut self,
        question: &Arc<Question>,
        at: usize,
        pod: Arc<Pod>,
        raw: Option<Value>,
        offers: &mut BTreeMap<Arc<str>, Vec<Asked>>,
    ) {
        match scheduler::place(&self.cluster.snapshot, &pod, self.policy, seed()) {
            Ok(node) => {
                self.cluster.snapshot.assume(&pod, &node);
                if self.cluster.snapshot.is_child(&node) {
                    let asked = Asked { pod, raw, then: Then::Answer(question.clone(), at) };
                    offers.entry(node).or_default().push(asked);
                } else {
                    question.answer(at, Answer::Reserved { machine: node.to_string() });
                }
            }
            Err(why) => {
                self.kept.remove(&home_uid(&pod));
                question.answer(at, Answer::Refused { reason: why.to_string() });
            }
        }
    }

    /// Frees the place that was kept for an offered pod.
    fn give_up(&mut self, home: &Arc<str>) {
        if self.kept.remove(home).is_some() {
            self.cluster.snapshot.forget(&offered_uid(home));
        }
    }

    /// Ends what holds for a time only: kept places and refusals.
    fn expire(&mut self, now: u64) {
        let over: Vec<Arc<str>> =
            self.kept.iter().filter(|(_, until)| **until <= now).map(|(home, _)| home.clone()).collect();
        for home in &over {
            self.give_up(home);
        }
        let forgive = self.forgive_at.is_some_and(|at| at <= now);
        if forgive {
            self.forgive_at = self
                .cluster
                .snapshot
                .forgive(seconds())
                .map(|until| now + u64::try_from(until - seconds()).unwrap_or(0).max(1) * 1000);
        }
        if forgive || !over.is_empty() {
            self.cluster.pending.wake();
        }
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

/// Different each time; nothing secret depends on it.
fn seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}

/// The uid of the pod in its home API, by which kept places are known.
fn home_uid(pod: &Pod) -> Arc<str> {
    let meta = &pod.metadata;
    meta.annotations.get(annotation::HOME_UID).unwrap_or(&meta.uid).clone()
}

/// The uid that an offered pod has before it exists here.
fn offered_uid(home: &str) -> String {
    format!("offered-{home}")
}
