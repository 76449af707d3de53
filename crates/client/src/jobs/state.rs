//! How a state follows from conditions: the table that `docs/verbs.md` explains. Pure.
//!
//! Of a pod, the first line that holds:
//!
//! | state | holds when |
//! |---|---|
//! | `TERMINATED` | it is being deleted, or its containers ended well |
//! | `FAILED` | its phase is Failed, its machine is out of reach (`dunlin.io/Dangling`), or a container cannot start or keeps crashing |
//! | `MIGRATING` | an unfinished Migration moves it, or it is about to take another's place |
//! | `RUNNING` | it is Ready |
//! | `SCHEDULED_NODE` | it has a machine: a node of this server, or a place below (`dunlin.io/Placed`) |
//! | `SCHEDULED_CLUSTER` | it is bound to the node of a child cluster |
//! | `REQUESTED` | otherwise |
//!
//! Of a job: `TERMINATED` when its controller goes, has ended well, or wants no pods and has none; `MIGRATING` when one
//! of its pods is; `RUNNING` when as many run as shall, of the newest template, and none comes or goes; `SCALING` when
//! some run and others come or go; `FAILED` when none runs and one failed; else the state of the pod that is farthest behind.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use dunlin_api::names::{condition, label};
use serde::Serialize;
use serde_json::Value;

use super::conditions::{asked_to_end, ended, find, is, stuck};
use super::{Job, World, text};

/// EdgeIO's states of a job, from the least advanced on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    Requested,
    ScheduledCluster,
    ScheduledNode,
    Running,
    Failed,
    Terminated,
    Migrating,
    Scaling,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requested => "REQUESTED",
            Self::ScheduledCluster => "SCHEDULED_CLUSTER",
            Self::ScheduledNode => "SCHEDULED_NODE",
            Self::Running => "RUNNING",
            Self::Failed => "FAILED",
            Self::Terminated => "TERMINATED",
            Self::Migrating => "MIGRATING",
            Self::Scaling => "SCALING",
        })
    }
}

/// One pod of a job.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    pub pod: String,
    #[serde(skip)]
    pub uid: String,
    pub state: State,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Where it is, from this server down: `root/garching/e580`.
    pub path: String,
    pub since: String,
}

/// What states depend on beside the pod itself.
pub(super) struct Context<'a> {
    server: &'a str,
    virtual_nodes: HashSet<&'a str>,
    /// Pods under way, by namespace and name, with the Migration's start.
    moving: HashMap<(&'a str, &'a str), &'a str>,
}

impl<'a> Context<'a> {
    pub(super) fn new(world: &'a World, server: &'a str) -> Self {
        let is_virtual = |node: &&Value| node["metadata"]["labels"].get(label::VIRTUAL_NODE).is_some();
        let unfinished =
            world.migrations.iter().filter(|m| !matches!(text(m, "/status/phase"), "Succeeded" | "Failed"));
        let moving = unfinished.flat_map(|migration| {
            let namespace = text(migration, "/metadata/namespace");
            let since = match text(migration, "/status/startTime") {
                "" => text(migration, "/metadata/creationTimestamp"),
                started => started,
            };
            ["/spec/pod", "/status/replacement"].map(|name| ((namespace, text(migration, name)), since))
        });
        Self {
            server,
            virtual_nodes: world.nodes.iter().filter(is_virtual).map(|n| text(n, "/metadata/name")).collect(),
            moving: moving.collect(),
        }
    }

    /// A controller with its pods, or pods that none is there for.
    pub(super) fn job(&self, controller: Option<&Value>, pods: &[&Value]) -> Job {
        let mut instances: Vec<(Instance, &Value)> =
            pods.iter().map(|pod| (self.instance(pod), *pod)).collect();
        instances.sort_by(|a, b| a.0.pod.cmp(&b.0.pod));
        let first = controller.or_else(|| pods.first().copied()).unwrap_or(&Value::Null);
        let name = first["metadata"]["labels"][label::JOB].as_str().unwrap_or(text(first, "/metadata/name"));
        let there = instances.iter().filter(|(i, _)| i.state != State::Terminated).count() as i64;
        let desired = controller.map_or(there, desired);
        let running = instances.iter().filter(|(i, pod)| serves(i, pod)).count() as i64;
        let (state, reason) = overall(controller, desired, &instances);
        let requested = text(first, "/metadata/creationTimestamp").to_owned();
        let times = instances.iter().filter(|(i, _)| i.state == state).map(|(i, _)| i.since.clone());
        let since = times.max().unwrap_or_else(|| requested.clone());
        Job {
            name: name.to_owned(),
            namespace: text(first, "/metadata/namespace").to_owned(),
            kind: controller.map_or("Pod", |object| text(object, "/kind")).to_owned(),
            controller: text(first, "/metadata/name").to_owned(),
            uid: text(first, "/metadata/uid").to_owned(),
            state,
            reason,
            desired,
            running,
            requested,
            since,
            instances: instances.into_iter().map(|(instance, _)| instance).collect(),
        }
    }

    fn instance(&self, pod: &Value) -> Instance {
        let (state, reason) = self.state(pod);
        Instance {
            pod: text(pod, "/metadata/name").to_owned(),
            uid: text(pod, "/metadata/uid").to_owned(),
            state,
            reason,
            path: self.path(pod),
            since: self.since(pod, state).into_owned(),
        }
    }

    fn state(&self, pod: &Value) -> (State, String) {
        let phase = text(pod, "/status/phase");
        let plain = |state| (state, String::new());
        if !pod["metadata"]["deletionTimestamp"].is_null() || phase == "Succeeded" {
            return plain(State::Terminated);
        }
        if phase == "Failed" {
            let said = [text(pod, "/status/reason"), text(pod, "/status/message"), &ended(pod)].join(" ");
            return (State::Failed, said.trim().to_owned());
        }
        if is(pod, condition::DANGLING) {
            return (State::Failed, "its machine is out of reach; it may still run there".to_owned());
        }
        if let Some(why) = stuck(pod) {
            return (State::Failed, why);
        }
        if self.moved_since(pod).is_some() {
            return plain(State::Migrating);
        }
        if is(pod, "Ready") {
            return plain(State::Running);
        }
        let node = text(pod, "/spec/nodeName");
        if node.is_empty() {
            let why = find(pod, "PodScheduled").map_or("", |c| text(c, "/message"));
            return (State::Requested, why.to_owned());
        }
        if self.virtual_nodes.contains(node) && !is(pod, condition::PLACED) {
            return plain(State::ScheduledCluster);
        }
        plain(State::ScheduledNode)
    }

    fn moved_since(&self, pod: &Value) -> Option<&str> {
        let key = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
        self.moving.get(&key).copied()
    }

    fn path(&self, pod: &Value) -> String {
        let below = find(pod, condition::PLACED)
            .filter(|c| c["status"] == "True")
            .map_or("", |c| text(c, "/message"));
        let parts = [self.server, text(pod, "/spec/nodeName"), below];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    }

    /// When the state began, as far as the pod says.
    fn since<'p>(&'p self, pod: &'p Value, state: State) -> Cow<'p, str> {
        let turned = |kind: &str| find(pod, kind).map_or("", |c| text(c, "/lastTransitionTime"));
        let at = match state {
            State::Terminated if pod["metadata"]["deletionTimestamp"].is_string() => {
                return asked_to_end(pod).into();
            }
            State::Failed if is(pod, condition::DANGLING) => turned(condition::DANGLING),
            State::Migrating => self.moved_since(pod).unwrap_or_default(),
            State::Running | State::Failed | State::Terminated => turned("Ready"),
            State::ScheduledNode if is(pod, condition::PLACED) => turned(condition::PLACED),
            State::ScheduledNode | State::ScheduledCluster => turned("PodScheduled"),
            State::Requested | State::Scaling => "",
        };
        if at.is_empty() { text(pod, "/metadata/creationTimestamp").into() } else { at.into() }
    }
}

fn overall(controller: Option<&Value>, desired: i64, instances: &[(Instance, &Value)]) -> (State, String) {
    // What its controller counts as copies: neither ended nor ending, and in reach.
    let counts = |(i, pod): &&(Instance, &Value)| {
        i.state != State::Terminated
            && text(pod, "/status/phase") != "Failed"
            && !is(pod, condition::DANGLING)
    };
    let lasting = instances.iter().filter(counts).count() as i64;
    let leaving = instances.iter().any(|(_, pod)| !pod["metadata"]["deletionTimestamp"].is_null());
    let any = |state: State| instances.iter().any(|(i, _)| i.state == state);
    let plain = |state| (state, String::new());
    let ended = |object: &Value| {
        !object["metadata"]["deletionTimestamp"].is_null()
            || (text(object, "/kind") == "Job" && is(object, "Complete"))
    };
    if controller.is_some_and(ended) || (desired == 0 && lasting == 0 && !any(State::Failed)) {
        return plain(State::Terminated);
    }
    if let Some(failed) = controller.filter(|o| text(o, "/kind") == "Job").and_then(|o| find(o, "Failed")) {
        return (State::Failed, text(failed, "/message").to_owned());
    }
    if any(State::Migrating) {
        return plain(State::Migrating);
    }
    let running = instances.iter().filter(|(i, _)| i.state == State::Running).count() as i64;
    let why = |state: State| {
        let found = instances.iter().find(|(i, _)| i.state == state && !i.reason.is_empty());
        found.map(|(i, _)| i.reason.clone()).unwrap_or_default()
    };
    let current = controller.is_none_or(|object| is_current(object, desired));
    if running == desired && lasting == desired && !leaving && current {
        return plain(State::Running);
    }
    if running > 0 {
        let reason = [State::Failed, State::Requested].map(why).into_iter().find(|why| !why.is_empty());
        return (State::Scaling, reason.unwrap_or_default());
    }
    if any(State::Failed) {
        return (State::Failed, why(State::Failed));
    }
    let behind = instances.iter().map(|(i, _)| i.state).filter(|state| *state < State::Running).min();
    let behind = behind.filter(|_| lasting >= desired).unwrap_or(State::Requested);
    (behind, why(behind))
}

/// Whether the pods that exist are those that the controller describes now, and it has seen its newest description.
fn is_current(controller: &Value, desired: i64) -> bool {
    let status = &controller["status"];
    let seen = status["observedGeneration"].as_i64().unwrap_or(0);
    let updated = match text(controller, "/kind") {
        "Deployment" | "StatefulSet" => &status["updatedReplicas"],
        "DaemonSet" => &status["updatedNumberScheduled"],
        _ => &Value::Null,
    };
    let behind = seen < controller["metadata"]["generation"].as_i64().unwrap_or(0);
    // Work that ends does not say which generation it has seen.
    (text(controller, "/kind") == "Job" || !behind)
        && updated.as_i64().is_none_or(|updated| updated == desired)
}

/// How many pods there shall be.
fn desired(controller: &Value) -> i64 {
    let spec = |name: &str| controller["spec"][name].as_i64();
    match text(controller, "/kind") {
        "DaemonSet" => controller["status"]["desiredNumberScheduled"].as_i64().unwrap_or(0),
        "Job" => {
            let succeeded = controller["status"]["succeeded"].as_i64().unwrap_or(0);
            let parallel = spec("parallelism").unwrap_or(1);
            spec("completions").map_or(parallel, |all| parallel.min(all - succeeded))
        }
        _ => spec("replicas").unwrap_or(1),
    }
}

/// Whether the pod does its work now, moving or not.
fn serves(instance: &Instance, pod: &Value) -> bool {
    matches!(instance.state, State::Running | State::Migrating) && is(pod, "Ready")
}
