//! One pod's driver: plan, act, note what came of it, and again, at once on every event.
//!
//! All of a pod's work (starts, ends, probes, volumes) are futures of this one task; it ends with the pod.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dunlin_base::task::Task;
use dunlin_node::PodRef;
use dunlin_node::events::container_field;
use dunlin_runtime::{
    ContainerId, ContainerState, ContainerStatus, ExitStatus, Runtime, SandboxId, SandboxStatus,
};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{Notify, watch};

use crate::agent::Shared;
use crate::launch::{CONFIG_ERROR, Failure, Launched, launch, termination_file};
use crate::model::{
    ContainerRecord, Record, Sandbox, State, Terminated, Trouble, deleting, find, inits, sidecar, spec,
};
use crate::plan::{Action, finished, grace, inits_done, plan};
use crate::podstatus::{container_id, status};
use crate::probe::{self, Kind, Streak};
use crate::{hooks, security, volumes};

/// What a worker is told; the latest replaces what it has not read.
#[derive(Default)]
pub struct Mail {
    pub pod: Option<Arc<Pod>>,
    /// The API has forgotten the pod.
    pub gone: bool,
    /// Something happened in the sandbox.
    pub look: bool,
    /// The sandbox's shim died.
    pub lost: bool,
    /// The server has not heard this node for as long as the pod allows.
    pub fenced: bool,
}

/// What others may read of a pod.
#[derive(Clone)]
pub struct View {
    pub pod: Arc<Pod>,
    pub record: Record,
}

/// A running worker.
pub struct Handle {
    pub pod_ref: PodRef,
    pub view: watch::Receiver<View>,
    mail: Arc<(Mutex<Mail>, Notify)>,
    _task: Task,
}

impl Handle {
    /// Tells the worker.
    pub fn tell(&self, change: impl FnOnce(&mut Mail)) {
        change(&mut self.mail.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        self.mail.1.notify_one();
    }
}

enum Done {
    Sandbox(Result<(Arc<dyn Runtime>, Option<String>), String>),
    Removed(Result<(), String>),
    Volumes(Result<Option<Timestamp>, String>),
    Started(String, Result<Box<Launched>, Failure>),
    PostStart(String, u32, Result<(), String>),
    Stopped(String, Result<SandboxStatus, dunlin_runtime::Error>),
    /// The sandbox, and which containers ran (with their launches) when it was asked.
    Seen(Result<SandboxStatus, dunlin_runtime::Error>, Vec<(String, u32)>),
    Probed(String, u32, Kind, Result<(), String>),
    Quiet,
}

struct Worker {
    shared: Arc<Shared>,
    runtime: Arc<dyn Runtime>,
    pod: Arc<Pod>,
    pod_ref: PodRef,
    record: Record,
    saved: Record,
    jobs: FuturesUnordered<BoxFuture<'static, Done>>,
    streaks: BTreeMap<(String, Kind), Streak>,
    preparing: bool,
    renew: Option<Timestamp>,
    volume_failures: u32,
    view: watch::Sender<View>,
    forgotten: bool,
    gone: bool,
}

/// A sandbox that runs already, and the runtime that it is in.
pub type Found = (Arc<dyn Runtime>, SandboxStatus);

/// Starts the worker of a pod. `found` is its sandbox, if it runs already.
pub fn start(
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    mut record: Record,
    found: Option<Found>,
    forgotten: bool,
) -> Handle {
    let pod_ref = PodRef::of(&pod);
    let (runtime, found) = match found {
        Some((runtime, sandbox)) => {
            record.runtime = runtime.name().to_owned();
            (runtime, Some(sandbox))
        }
        None => (shared.runtime(&record.runtime), None),
    };
    let saved = record.clone();
    let (view, receiver) = watch::channel(View { pod: pod.clone(), record: record.clone() });
    let mail: Arc<(Mutex<Mail>, Notify)> = Arc::default();
    let mut worker = Worker {
        shared,
        runtime,
        pod,
        pod_ref: pod_ref.clone(),
        record,
        saved,
        jobs: FuturesUnordered::new(),
        streaks: BTreeMap::new(),
        preparing: false,
        renew: None,
        volume_failures: 0,
        view,
        forgotten,
        gone: false,
    };
    let inbox = mail.clone();
    let task = Task::spawn("pod", async move {
        worker.adopt(found);
        worker.run(&inbox).await;
    });
    Handle { pod_ref, view: receiver, mail, _task: task }
}

impl Worker {
    fn id(&self) -> SandboxId {
        SandboxId(self.pod_ref.uid.clone())
    }

    /// Takes over what an earlier agent left.
    fn adopt(&mut self, found: Option<SandboxStatus>) {
        match found {
            Some(sandbox) if sandbox.alive => {
                if self.record.ip.is_some()
                    || !self.shared.config.network
                    || spec(&self.pod).host_network == Some(true)
                {
                    self.record.sandbox = Sandbox::Ready;
                } else {
                    self.record.sandbox = Sandbox::None;
                }
                let ran = self.running();
                self.see(sandbox, &ran);
                let running: Vec<String> = self
                    .record
                    .containers
                    .iter()
                    .filter(|(_, c)| c.running())
                    .map(|(n, _)| n.clone())
                    .collect();
                for name in running {
                    self.start_probes(&name);
                }
            }
            Some(_) => self.lose(),
            None if matches!(self.record.sandbox, Sandbox::None) => {}
            None => {
                self.lose();
                self.record.sandbox = Sandbox::None;
            }
        }
    }

    async fn run(&mut self, inbox: &(Mutex<Mail>, Notify)) {
        if self.record.start_time.is_none() {
            self.record.start_time = Some(Timestamp::now());
            self.shared.disk.save_pod(&self.pod);
        }
        if let Some(home) = &self.shared.config.home {
            let endpoint = self.shared.endpoint.clone();
            self.record.home_port = self
                .shared
                .homes
                .open(&self.pod, self.record.home_port, home, endpoint)
                .or(self.record.home_port);
        }
        self.note_deletion();
        let mut sources = self.shared.sources.changes();
        loop {
            let wake = self.step();
            if self.gone {
                return;
            }
            let until = wake.map(|at| {
                Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()
                    + Duration::from_millis(2)
            });
            let timer = async {
                match until {
                    Some(d) => tokio::time::sleep(d).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = inbox.1.notified() => {
                    let mail = std::mem::take(&mut *inbox.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
                    self.read(mail);
                }
                Some(done) = self.jobs.next(), if !self.jobs.is_empty() => self.done(done),
                Ok(()) = sources.changed() => {
                    self.retry_configs();
                    if self.uses_sources() { self.refresh() }
                }
                () = timer => if self.renew.is_some_and(|r| r <= Timestamp::now()) { self.refresh() },
            }
        }
    }

    fn read(&mut self, mail: Mail) {
        if let Some(pod) = mail.pod {
            let changed = pod.spec != self.pod.spec
                || pod.metadata.labels != self.pod.metadata.labels
                || pod.metadata.annotations != self.pod.metadata.annotations
                || pod.metadata.deletion_timestamp != self.pod.metadata.deletion_timestamp;
            self.pod = pod;
            if changed {
                self.shared.disk.save_pod(&self.pod);
                self.refresh();
            }
            self.note_deletion();
        }
        if mail.gone {
            self.forgotten = true;
            if !self.record.ending {
                self.record.ending = true;
                self.record.grace = grace(&self.pod);
            }
        }
        if mail.fenced
            && !self.record.ending
            && !self.waits_for_contact()
            && !finished(&self.pod, &self.record)
        {
            tracing::warn!(
                pod = self.pod_ref.name,
                namespace = self.pod_ref.namespace,
                "pod stopped, its server does not hear this node"
            );
            let text = "The node was out of its server's reach for longer than dunlin.io/fence-after.";
            self.record.failed = Some(("Fenced".to_owned(), text.to_owned()));
        }
        if mail.lost {
            self.lose();
        }
        if mail.look {
            self.look();
        }
    }

    fn note_deletion(&mut self) {
        if !deleting(&self.pod) {
            return;
        }
        let seconds = grace(&self.pod);
        let shorter = self.record.ending && seconds < self.record.grace;
        self.record.ending = true;
        self.record.grace = seconds;
        if shorter {
            // The ends under way were given longer; begin them anew.
            let names: Vec<String> =
                self.record.containers.iter().filter(|(_, c)| c.stopping).map(|(n, _)| n.clone()).collect();
            for name in names {
                self.stop(&name, seconds, "Stopping container");
            }
        }
    }

    /// A fenced pod that does not run may run elsewhere by now, until the server hears this node.
    fn waits_for_contact(&self) -> bool {
        matches!(self.record.sandbox, Sandbox::None | Sandbox::Lost)
            && !self.record.ending
            && !self.shared.fence.is_open()
            && dunlin_node::fence::after(&self.pod).is_some()
    }

    fn uses_sources(&self) -> bool {
        (self.record.volumes_ready || self.volume_failures > 0) && !self.record.ending
    }

    /// What a container waited for may have come.
    fn retry_configs(&mut self) {
        for known in self.record.containers.values_mut() {
            if known.trouble.as_ref().is_some_and(|t| t.reason == CONFIG_ERROR) {
                known.retry_at = None;
            }
        }
    }

    /// The containers that run, with their launches.
    fn running(&self) -> Vec<(String, u32)> {
        self.record
            .containers
            .iter()
            .filter(|(_, c)| c.running())
            .map(|(n, c)| (n.clone(), c.launches))
            .collect()
    }

    fn look(&mut self) {
        let (runtime, id, ran) = (self.runtime.clone(), self.id(), self.running());
        self.jobs.push(Box::pin(async move { Done::Seen(runtime.sandbox(&id).await, ran) }));
    }

    fn refresh(&mut self) {
        if self.preparing || self.record.ending {
            return;
        }
        self.preparing = true;
        self.renew = None;
        let (shared, pod) = (self.shared.clone(), self.pod.clone());
        let ip = self.record.ip.clone().unwrap_or_default();
        self.jobs.push(Box::pin(async move { Done::Volumes(volumes::prepare(&shared, &pod, &ip).await) }));
    }

    /// Plans and begins until nothing more can begin; saves and reports what changed. Returns when to look again.
    fn step(&mut self) -> Option<Timestamp> {
        let mut wake;
        loop {
            let now = Timestamp::now();
            if !self.record.initialized
                && self.record.sandbox == Sandbox::Ready
                && inits_done(&self.pod, &self.record)
            {
                self.record.initialized = true;
            }
            if self.record.sandbox == Sandbox::Ready
                && !self.record.volumes_ready
                && !self.preparing
                && self.volume_failures == 0
            {
                self.refresh();
            }
            if self.waits_for_contact() {
                wake = None;
                break;
            }
            let plan = plan(&self.pod, &self.record, &self.shared.delays(), now);
            wake = plan.wake;
            if plan.actions.is_empty() {
                break;
            }
            for action in plan.actions {
                self.act(action);
                if self.gone {
                    return None;
                }
            }
        }
        if let Some(at) = self.renew {
            wake = Some(wake.map_or(at, |w| w.min(at)));
        }
        self.report();
        let now = Timestamp::now();
        // Errors turn into back-offs in the status after a moment.
        let turns = self
            .record
            .containers
            .values()
            .filter_map(|c| c.trouble.as_ref()?.at.checked_add(crate::podstatus::ERROR_SHOWN).ok())
            .filter(|at| *at > now)
            .min();
        match (wake, turns) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn report(&mut self) {
        let now = Timestamp::now();
        let value = status(&self.pod, &mut self.record, &self.shared.node_ip(), &self.shared.delays(), now);
        if !self.forgotten {
            self.shared.status.set(&self.pod_ref, &value);
        }
        if self.record != self.saved {
            self.shared.disk.save_record(&self.pod_ref.uid, &self.record);
            self.saved = self.record.clone();
            self.view.send_replace(View { pod: self.pod.clone(), record: self.record.clone() });
        }
    }

    fn container(&mut self, name: &str) -> &mut ContainerRecord {
        self.record.containers.entry(name.to_owned()).or_default()
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::CreateSandbox => self.create_sandbox(),
            Action::RemoveSandbox => self.remove_sandbox(),
            Action::Start(name) => self.start(&name),
            Action::Stop(name, seconds, why) => self.stop(&name, seconds, &why),
            Action::Fail(reason, message) => {
                self.shared.recorder.warning(&self.pod_ref, None, "DeadlineExceeded", message.clone());
                self.record.failed = Some((reason, message));
            }
            Action::Gone => {
                self.gone = true;
                self.report();
                if !self.forgotten {
                    self.shared.status.delete(&self.pod_ref);
                } else {
                    self.shared.status.forget(&self.pod_ref);
                }
                self.shared.sources.release(&self.pod_ref.uid);
                self.shared.disk.forget(&self.pod);
                self.shared.ended(&self.pod_ref.uid);
            }
        }
    }

    fn create_sandbox(&mut self) {
        self.record.sandbox = Sandbox::Creating;
        let (shared, pod, had) = (self.shared.clone(), self.pod.clone(), self.record.runtime.clone());
        self.jobs.push(Box::pin(async move { Done::Sandbox(make_sandbox(&shared, &pod, &had).await) }));
        if !self.record.volumes_ready && self.volume_failures == 0 && !needs_ip(&self.pod) {
            self.refresh();
        }
    }

    fn remove_sandbox(&mut self) {
        self.record.sandbox = Sandbox::Removing;
        let (shared, runtime, id) = (self.shared.clone(), self.runtime.clone(), self.id());
        let keep_address = !self.record.ending;
        self.jobs.push(Box::pin(async move {
            let removed = runtime.remove_sandbox(&id).await.map_err(|e| dunlin_base::error::chain(&e));
            let network = shared.network.borrow().clone();
            if let (false, Some(network)) = (keep_address, network)
                && let Err(error) = network.detach(&id.0).await
            {
                tracing::warn!(
                    error = dunlin_base::error::chain(&error),
                    "a pod's network could not be taken back"
                );
            }
            Done::Removed(removed)
        }));
    }

    fn start(&mut self, name: &str) {
        let Some(container) = find(&self.pod, name).cloned() else { return };
        let now = Timestamp::now();
        let known = self.container(name);
        known.starting = true;
        known.retry_at = None;
        let launches = known.launches;
        let _ = now;
        let (shared, runtime, pod) = (self.shared.clone(), self.runtime.clone(), self.pod.clone());
        let ip = self.record.ip.clone().unwrap_or_default();
        let name = name.to_owned();
        self.jobs.push(Box::pin(async move {
            let launched = launch(&shared, &runtime, &pod, &container, launches, &ip).await;
            Done::Started(name, launched.map(Box::new))
        }));
    }

    fn stop(&mut self, name: &str, seconds: i64, why: &str) {
        let Some(container) = find(&self.pod, name).cloned() else { return };
        let unhealthy = self.container(name).unhealthy.clone();
        let known = self.container(name);
        let again = known.stopping;
        known.stopping = true;
        let attempt = known.launches.saturating_sub(1);
        let signal = security::signal(known.stop_signal.as_deref());
        if !again {
            let field = container_field(&self.pod, name);
            let text = match &unhealthy {
                Some(why) => format!("Container {name} {why}, will be restarted"),
                None => format!("{why} {name}"),
            };
            self.shared.recorder.normal(&self.pod_ref, Some(&field), "Killing", text);
        }
        let (runtime, sandbox, id) =
            (self.runtime.clone(), self.id(), ContainerId(format!("{name}-{attempt}")));
        let ip = self.record.ip.clone().unwrap_or_default();
        let (recorder, pod_ref, name) = (self.shared.recorder.clone(), self.pod_ref.clone(), name.to_owned());
        self.jobs.push(Box::pin(async move {
            let grace = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            let begun = tokio::time::Instant::now();
            let mut exited = false;
            if !grace.is_zero() {
                if let Some(hook) =
                    container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()).filter(|_| !again)
                {
                    let hooked = tokio::time::timeout(
                        grace,
                        hooks::run(&runtime, &sandbox, &id, &container, hook, &ip),
                    )
                    .await;
                    if let Ok(Err(why)) = hooked {
                        recorder.warning(
                            &pod_ref,
                            None,
                            "FailedPreStopHook",
                            format!("PreStopHook failed: {why}"),
                        );
                    }
                }
                let _ = runtime.signal(&sandbox, &id, signal).await;
                // A hook that used up the time leaves two seconds, as a kubelet does.
                let left = grace.saturating_sub(begun.elapsed()).max(Duration::from_secs(2)).min(grace);
                exited = wait_exit(&runtime, &sandbox, &id, left).await;
            }
            if !exited {
                let _ = runtime.signal(&sandbox, &id, libc::SIGKILL).await;
                wait_exit(&runtime, &sandbox, &id, Duration::from_secs(10)).await;
            }
            let left = runtime.sandbox(&sandbox).await;
            Done::Stopped(name, left)
        }));
    }

    fn done(&mut self, done: Done) {
        let now = Timestamp::now();
        match done {
            Done::Sandbox(Ok((runtime, ip))) => {
                self.record.runtime = runtime.name().to_owned();
                self.runtime = runtime;
                self.record.sandbox = Sandbox::Ready;
                self.record.sandbox_failures = 0;
                self.record.sandbox_retry = None;
                self.record.ip = ip;
                self.look();
            }
            Done::Sandbox(Err(why)) => {
                self.record.sandbox = Sandbox::None;
                let failures = self.record.sandbox_failures;
                self.record.sandbox_failures += 1;
                let delay =
                    dunlin_base::backoff::step(Duration::from_millis(500), Duration::from_secs(60), failures);
                self.record.sandbox_retry = now.checked_add(delay).ok();
                self.shared.recorder.warning(
                    &self.pod_ref,
                    None,
                    "FailedCreatePodSandBox",
                    format!("Failed to create pod sandbox: {why}"),
                );
            }
            Done::Removed(result) => match result {
                Ok(()) => {
                    self.record.sandbox = Sandbox::None;
                    if !self.record.ending && !crate::plan::finished(&self.pod, &self.record) {
                        self.shared.recorder.normal(
                            &self.pod_ref,
                            None,
                            "SandboxChanged",
                            "Pod sandbox changed, it will be killed and re-created.",
                        );
                    }
                }
                Err(why) => {
                    tracing::warn!(why, pod = self.pod_ref.name, "a sandbox could not be removed");
                    let (runtime, id) = (self.runtime.clone(), self.id());
                    self.jobs.push(Box::pin(async move {
                        tokio::time::sleep(Duration::from_secs(2)).await;
                        Done::Removed(
                            runtime.remove_sandbox(&id).await.map_err(|e| dunlin_base::error::chain(&e)),
                        )
                    }));
                }
            },
            Done::Volumes(result) => {
                self.preparing = false;
                match result {
                    Ok(renew) => {
                        self.record.volumes_ready = true;
                        self.volume_failures = 0;
                        self.renew = renew;
                    }
                    Err(why) => {
                        let delay = dunlin_base::backoff::step(
                            Duration::from_millis(500),
                            Duration::from_secs(30),
                            self.volume_failures,
                        );
                        self.volume_failures += 1;
                        self.renew = now.checked_add(delay).ok();
                        if !self.record.volumes_ready {
                            self.shared.recorder.warning(&self.pod_ref, None, "FailedMount", why);
                        }
                    }
                }
            }
            Done::Started(name, Ok(launched)) => self.started(&name, *launched),
            Done::Started(name, Err(failure)) => self.not_started(&name, failure),
            Done::PostStart(name, launches, result) => {
                if let Err(why) = result
                    && self.container(&name).launches == launches
                {
                    let field = container_field(&self.pod, &name);
                    self.shared.recorder.warning(
                        &self.pod_ref,
                        Some(&field),
                        "FailedPostStartHook",
                        format!("PostStartHook failed: {why}"),
                    );
                    self.container(&name).unhealthy = Some("FailedPostStartHook".into());
                }
            }
            Done::Stopped(name, left) => {
                let ran = self.running();
                self.done(Done::Seen(left, ran));
                // Still set only if it outlived SIGKILL: then it is tried again.
                self.container(&name).stopping = false;
            }
            Done::Seen(Ok(sandbox), ran) if sandbox.alive => self.see(sandbox, &ran),
            Done::Seen(Ok(_) | Err(dunlin_runtime::Error::NoSandbox(_)), _) => {
                if self.record.sandbox == Sandbox::Ready {
                    self.lose();
                }
            }
            Done::Seen(Err(error), ran) => {
                tracing::debug!(
                    error = dunlin_base::error::chain(&error),
                    "a sandbox could not be looked at"
                );
                let (runtime, id) = (self.runtime.clone(), self.id());
                self.jobs.push(Box::pin(async move {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Done::Seen(runtime.sandbox(&id).await, ran)
                }));
            }
            Done::Probed(name, launches, kind, result) => self.probed(&name, launches, kind, result),
            Done::Quiet => {}
        }
    }

    fn started(&mut self, name: &str, launched: Launched) {
        let Some(container) = find(&self.pod, name).cloned() else { return };
        let now = Timestamp::now();
        let reset = self.shared.config.crash_backoff_reset;
        let known = self.container(name);
        if let State::Exited(ended) = &known.state {
            let ran = ended
                .started
                .map(|s| Duration::try_from(ended.finished.duration_since(s)).unwrap_or_default());
            if ran.is_some_and(|r| r >= reset) {
                known.crashes = 0;
            }
            known.last = Some(ended.clone());
        }
        known.launches += 1;
        known.starting = false;
        known.trouble = None;
        known.pull_failures = 0;
        known.image_id = launched.image_id;
        known.stop_signal = launched.stop_signal;
        known.remark = launched.remark;
        known.started = container.startup_probe.is_none();
        known.ready = container.startup_probe.is_none() && container.readiness_probe.is_none();
        known.state = State::Running { since: now };
        let launches = known.launches;
        let old = launches.checked_sub(2);
        self.take(&launched.status);
        if self.container(name).running() {
            self.start_probes(name);
            if let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.post_start.clone()) {
                let (runtime, sandbox, id) = (self.runtime.clone(), self.id(), launched.status.id.clone());
                let ip = self.record.ip.clone().unwrap_or_default();
                let name = name.to_owned();
                self.jobs.push(Box::pin(async move {
                    let result = hooks::run(&runtime, &sandbox, &id, &container, &hook, &ip).await;
                    Done::PostStart(name, launches, result)
                }));
            }
        }
        if let Some(old) = old {
            let (runtime, sandbox, id) =
                (self.runtime.clone(), self.id(), ContainerId(format!("{name}-{old}")));
            self.jobs.push(Box::pin(async move {
                if let Err(error) = runtime.remove_container(&sandbox, &id).await {
                    tracing::debug!(
                        error = dunlin_base::error::chain(&error),
                        "a dead container was not removed"
                    );
                }
                Done::Quiet
            }));
        }
    }

    fn not_started(&mut self, name: &str, failure: Failure) {
        let now = Timestamp::now();
        let config = self.shared.config.clone();
        let launches = self.container(name).launches + 1;
        let id = container_id(&self.pod, name, launches);
        let known = self.container(name);
        known.starting = false;
        if let State::Exited(ended) = &known.state {
            known.last = Some(ended.clone());
        }
        if let Some(exit_code) = failure.exit_code {
            known.launches += 1;
            known.crashes += 1;
            known.state = State::Exited(Terminated {
                exit_code,
                signal: None,
                reason: failure.reason,
                message: Some(failure.message),
                started: Some(Timestamp::UNIX_EPOCH),
                finished: now,
                container_id: id,
            });
            return;
        }
        let delay = if failure.image {
            dunlin_base::backoff::step(
                config.pull_backoff_first,
                config.pull_backoff_most,
                known.pull_failures,
            )
        } else {
            dunlin_base::backoff::step(Duration::from_secs(2), Duration::from_secs(20), known.pull_failures)
        };
        known.pull_failures += 1;
        known.state = State::Waiting;
        known.retry_at = now.checked_add(delay).ok();
        known.trouble = Some(Trouble { reason: failure.reason, message: failure.message, at: now });
    }

    /// Takes in the state of the whole sandbox.
    fn see(&mut self, sandbox: SandboxStatus, ran: &[(String, u32)]) {
        for container in &sandbox.containers {
            self.take(container);
        }
        let missing: Vec<String> = self
            .record
            .containers
            .iter()
            // One that was started after the question is not missing from the answer.
            .filter(|(name, c)| {
                c.running()
                    && ran.iter().any(|(n, l)| n == *name && *l == c.launches)
                    && !sandbox
                        .containers
                        .iter()
                        .any(|s| s.id.0 == format!("{name}-{}", c.launches.saturating_sub(1)))
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in missing {
            self.vanished(&name);
        }
    }

    /// Takes in the state of one container of the runtime.
    fn take(&mut self, seen: &ContainerStatus) {
        let Some((name, attempt)) =
            seen.id.0.rsplit_once('-').and_then(|(n, a)| Some((n.to_owned(), a.parse::<u32>().ok()?)))
        else {
            return;
        };
        if find(&self.pod, &name).is_none() {
            return;
        }
        let known = self.container(&name);
        if known.starting && attempt == known.launches {
            return;
        }
        if attempt >= known.launches {
            // Started by an agent that ended before it could note it.
            known.launches = attempt + 1;
            known.state = State::Running { since: Timestamp::now() };
            known.started = true;
            known.ready = true;
        }
        if attempt + 1 != known.launches || known.exited().is_some() {
            return;
        }
        match &seen.state {
            ContainerState::Running { started, .. } => {
                let since = Timestamp::try_from(*started).unwrap_or_else(|_| Timestamp::now());
                known.state = State::Running { since };
            }
            ContainerState::Exited(exit) => self.exited(&name, exit),
        }
    }

    fn exited(&mut self, name: &str, exit: &ExitStatus) {
        let launches = self.container(name).launches;
        let reason = if exit.oom_killed {
            "OOMKilled"
        } else if exit.code == 0 {
            "Completed"
        } else {
            "Error"
        };
        let mut message = self.termination_message(name, launches, exit.code);
        if exit.oom_killed {
            let text = self.out_of_memory(name);
            let field = container_field(&self.pod, name);
            self.shared.recorder.warning(&self.pod_ref, Some(&field), "OOMKilled", text.clone());
            message.get_or_insert(text);
        }
        let time = |t| Timestamp::try_from(t).unwrap_or_else(|_| Timestamp::now());
        let ended = Terminated {
            exit_code: exit.code,
            signal: exit.signal,
            reason: reason.into(),
            message,
            started: Some(time(exit.started)),
            finished: time(exit.finished),
            container_id: container_id(&self.pod, name, launches),
        };
        self.finish(name, ended);
    }

    /// Kubernetes leaves it at the word; the remedy is always the same, so it is said.
    fn out_of_memory(&self, name: &str) -> String {
        let limit = find(&self.pod, name)
            .and_then(|c| c.resources.as_ref()?.limits.as_ref()?.get("memory"))
            .map(|limit| format!("its memory limit of {}", limit.0));
        match limit {
            Some(limit) => format!(
                "Container {name} needed more than {limit} and was killed; raise resources.limits.memory, or make it use less"
            ),
            None => format!(
                "Container {name} was killed because memory ran out; give it a limit, or the pod more room"
            ),
        }
    }

    fn vanished(&mut self, name: &str) {
        let launches = self.container(name).launches;
        let since = match self.container(name).state {
            State::Running { since } => Some(since),
            _ => None,
        };
        let message = "The container could not be located when the pod was terminated";
        let ended = Terminated {
            exit_code: 137,
            signal: None,
            reason: "ContainerStatusUnknown".into(),
            message: Some(message.into()),
            started: since,
            finished: Timestamp::now(),
            container_id: container_id(&self.pod, name, launches),
        };
        self.finish(name, ended);
    }

    fn finish(&mut self, name: &str, ended: Terminated) {
        let reset = self.shared.config.crash_backoff_reset;
        let restarts = find(&self.pod, name)
            .is_some_and(|c| crate::plan::restarts(&self.pod, c, ended.exit_code))
            && !self.record.ending;
        let known = self.container(name);
        let ran =
            ended.started.map(|s| Duration::try_from(ended.finished.duration_since(s)).unwrap_or_default());
        known.crashes = if ran.is_some_and(|r| r >= reset) { 1 } else { known.crashes + 1 };
        known.ready = false;
        known.started = false;
        known.unhealthy = None;
        known.stopping = false;
        known.state = State::Exited(ended);
        let backing_off = known.crashes > 1 && restarts;
        self.streaks.retain(|(n, _), _| n != name);
        if backing_off {
            let field = container_field(&self.pod, name);
            let text = format!(
                "Back-off restarting failed container {name} in pod {}",
                crate::model::full_name(&self.pod)
            );
            self.shared.recorder.warning(&self.pod_ref, Some(&field), "BackOff", text);
        }
    }

    fn termination_message(&self, name: &str, launches: u32, code: i32) -> Option<String> {
        let container = find(&self.pod, name)?;
        let file = termination_file(&self.shared, &self.pod, name, launches.saturating_sub(1));
        let mut text = std::fs::read(&file)
            .map(|mut b| {
                b.truncate(4096);
                String::from_utf8_lossy(&b).into_owned()
            })
            .unwrap_or_default();
        // Read once; the container is gone.
        let _ = std::fs::remove_file(&file);
        if text.is_empty()
            && code != 0
            && container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError")
        {
            text = dunlin_node::logs::last_lines(&self.shared.disk.log(&self.pod, name, launches), 80, 2048);
        }
        Some(text).filter(|t| !t.is_empty())
    }

    /// The sandbox is gone, and all that ran in it.
    fn lose(&mut self) {
        let running: Vec<String> =
            self.record.containers.iter().filter(|(_, c)| c.running()).map(|(n, _)| n.clone()).collect();
        for name in running {
            self.vanished(&name);
            // It did not crash by itself.
            let known = self.container(&name);
            known.crashes = known.crashes.saturating_sub(1);
        }
        if !matches!(self.record.sandbox, Sandbox::Removing) {
            self.record.sandbox = Sandbox::Lost;
        }
        if self.record.ending || crate::plan::finished(&self.pod, &self.record) {
            return;
        }
        self.record.initialized = false;
        // The new sandbox begins from the beginning.
        for container in inits(&self.pod).to_vec() {
            if sidecar(&self.pod, &container) {
                continue;
            }
            let known = self.container(&container.name);
            if let State::Exited(ended) = &known.state {
                known.last = Some(ended.clone());
                known.state = State::Waiting;
            }
        }
    }

    fn start_probes(&mut self, name: &str) {
        let kinds = if self.container(name).started {
            vec![Kind::Liveness, Kind::Readiness]
        } else {
            vec![Kind::Startup]
        };
        for kind in kinds {
            self.schedule(name, kind, true);
        }
    }

    fn schedule(&mut self, name: &str, kind: Kind, first: bool) {
        let Some(container) = find(&self.pod, name).cloned() else { return };
        let Some(probe) = kind.of(&container).cloned() else { return };
        let launches = self.container(name).launches;
        let since = match self.container(name).state {
            State::Running { since } => since,
            _ => return,
        };
        let wait = if first {
            let initial =
                Duration::from_secs(u64::try_from(probe.initial_delay_seconds.unwrap_or(0)).unwrap_or(0));
            let age = Duration::try_from(Timestamp::now().duration_since(since)).unwrap_or_default();
            initial.saturating_sub(age)
        } else {
            probe::seconds(probe.period_seconds, 10)
        };
        let (runtime, sandbox) = (self.runtime.clone(), self.id());
        let ip = self.record.ip.clone().unwrap_or_default();
        let name = name.to_owned();
        self.jobs.push(Box::pin(async move {
            tokio::time::sleep(wait).await;
            let id = ContainerId(format!("{name}-{}", launches.saturating_sub(1)));
            let check = async {
                if let Some(command) = probe.exec.as_ref().and_then(|e| e.command.as_ref()) {
                    hooks::exec(&runtime, &sandbox, &id, command).await
                } else if let Some(action) = &probe.http_get {
                    probe::http(&container, action, &ip).await
                } else if let Some(action) = &probe.tcp_socket {
                    probe::tcp(&container, &action.port, action.host.as_deref(), &ip).await
                } else {
                    Err("this kind of probe is not supported by this node yet; use exec, httpGet or tcpSocket".to_owned())
                }
            };
            let timeout = probe::seconds(probe.timeout_seconds, 1);
            let result = tokio::time::timeout(timeout, check).await.unwrap_or_else(|_| Err(format!("command timed out: no answer within {}s", timeout.as_secs())));
            Done::Probed(name, launches, kind, result)
        }));
    }

    fn probed(&mut self, name: &str, launches: u32, kind: Kind, result: Result<(), String>) {
        let known = self.container(name);
        if known.launches != launches || !known.running() {
            return;
        }
        let Some(probe) = find(&self.pod, name).and_then(|c| kind.of(c)).cloned() else { return };
        if let Err(why) = &result {
            let field = container_field(&self.pod, name);
            self.shared.recorder.warning(
                &self.pod_ref,
                Some(&field),
                "Unhealthy",
                format!("{} probe failed: {why}", kind.word()),
            );
        }
        let told = self.streaks.entry((name.to_owned(), kind)).or_default().note(result.is_ok(), &probe);
        let mut again = true;
        match (kind, told) {
            (_, None) => {}
            (Kind::Readiness, Some(ok)) => self.container(name).ready = ok,
            (Kind::Startup, Some(true)) => {
                again = false;
                let no_readiness = find(&self.pod, name).is_some_and(|c| c.readiness_probe.is_none());
                let known = self.container(name);
                known.started = true;
                known.ready = no_readiness;
                self.start_probes(name);
            }
            (Kind::Liveness, Some(true)) => {}
            (Kind::Liveness | Kind::Startup, Some(false)) => {
                self.container(name).unhealthy = Some(format!("failed {} probe", kind.word().to_lowercase()));
                self.streaks.remove(&(name.to_owned(), kind));
                if let Some(seconds) = probe.termination_grace_period_seconds
                    && !self.container(name).stopping
                {
                    self.stop(name, seconds, "");
                }
            }
        }
        if again {
            self.schedule(name, kind, false);
        }
    }
}

/// Whether a volume shows the pod's address, which must then be known first.
fn needs_ip(pod: &Pod) -> bool {
    spec(pod).volumes.iter().flatten().any(|v| {
        v.downward_api.is_some()
            || v.projected
                .iter()
                .filter_map(|p| p.sources.as_ref())
                .flatten()
                .any(|s| s.downward_api.is_some())
    })
}

/// Makes the pod's sandbox in the runtime that it `had`, or else asks for; the pod's address, if it has one.
async fn make_sandbox(
    shared: &Shared,
    pod: &Pod,
    had: &str,
) -> Result<(Arc<dyn Runtime>, Option<String>), String> {
    // A handler never changes, and after a restart of the machine the API may be out of reach.
    let runtime = match shared.named(had) {
        Some(runtime) => runtime.clone(),
        None => shared.runtime_for(pod).await?,
    };
    let address = connect(shared, &runtime, pod).await?;
    Ok((runtime, address))
}

async fn connect(shared: &Shared, runtime: &Arc<dyn Runtime>, pod: &Pod) -> Result<Option<String>, String> {
    let text = |e: dunlin_runtime::Error| dunlin_base::error::chain(&e);
    let status = runtime.create_sandbox(crate::launch::sandbox(pod)).await.map_err(text)?;
    if spec(pod).host_network == Some(true) || !shared.config.network {
        return Ok(Some(shared.node_ip()));
    }
    let Some(netns) = runtime.network_namespace(&status) else { return Ok(Some(shared.node_ip())) };
    let mut receiver = shared.network.clone();
    let network = tokio::time::timeout(Duration::from_secs(20), async {
        receiver.wait_for(Option::is_some).await.ok().and_then(|n| n.clone())
    })
    .await
    .unwrap_or(None);
    let network = network.ok_or("the pod network is not ready: this node has no pod range yet")?;
    let ports = crate::agent::host_ports(pod);
    let ip = network.attach(&status.id.0, &netns, &ports).await.map_err(|e| dunlin_base::error::chain(&e))?;
    Ok(Some(ip.to_string()))
}

/// Waits until a container has ended; false when it has not.
async fn wait_exit(
    runtime: &Arc<dyn Runtime>,
    sandbox: &SandboxId,
    id: &ContainerId,
    most: Duration,
) -> bool {
    let mut events = runtime.events();
    let ended = |status: Result<SandboxStatus, dunlin_runtime::Error>| match status {
        Ok(s) => {
            !s.alive
                || s.containers
                    .iter()
                    .find(|c| c.id == *id)
                    .is_none_or(|c| matches!(c.state, ContainerState::Exited(_)))
        }
        Err(_) => true,
    };
    let wait = async {
        loop {
            if ended(runtime.sandbox(sandbox).await) {
                return;
            }
            // A lost event costs half a second at most.
            let _ = tokio::time::timeout(Duration::from_millis(500), async {
                loop {
                    match events.recv().await {
                        Ok(dunlin_runtime::Event::Exited { sandbox: s, container })
                            if s == *sandbox && container == *id =>
                        {
                            return;
                        }
                        Ok(dunlin_runtime::Event::SandboxLost { sandbox: s }) if s == *sandbox => return,
                        Err(tokio::sync::broadcast::error::RecvError::Closed) => std::future::pending().await,
                        _ => {}
                    }
                }
            })
            .await;
        }
    };
    tokio::time::timeout(most, wait).await.is_ok()
}
