//! What the agent knows of a pod beyond its spec; the part that must outlive the agent is serialised.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use serde::{Deserialize, Serialize};

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Terminated {
    pub exit_code: i32,
    pub signal: Option<i32>,
    pub reason: String,
    pub message: Option<String>,
    pub started: Option<Timestamp>,
    pub finished: Timestamp,
    pub container_id: String,
}

/// Why a container is not running yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trouble {
    pub reason: String,
    pub message: String,
    /// When it happened; the first moments show the error, later ones the back-off.
    pub at: Timestamp,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub enum State {
    #[default]
    Waiting,
    Running {
        since: Timestamp,
    },
    Exited(Terminated),
}

/// One container.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerRecord {
    pub state: State,
    /// How often a container of this name was made; the current one's id ends in this less one.
    pub launches: u32,
    pub last: Option<Terminated>,
    /// Crashes that count for the back-off.
    pub crashes: u32,
    /// The startup probe has passed, or there is none.
    pub started: bool,
    pub ready: bool,
    pub image_id: String,
    pub stop_signal: Option<String>,
    /// What people should know of how it runs.
    pub remark: Option<String>,
    pub trouble: Option<Trouble>,
    pub pull_failures: u32,
    pub retry_at: Option<Timestamp>,
    /// A start is under way.
    #[serde(skip)]
    pub starting: bool,
    /// An end is under way.
    #[serde(skip)]
    pub stopping: bool,
    /// Why it must be ended and restarted: a failed probe or hook.
    #[serde(skip)]
    pub unhealthy: Option<String>,
}

impl ContainerRecord {
    /// Whether its process runs.
    pub fn running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }
    /// How it ended, if it did.
    pub fn exited(&self) -> Option<&Terminated> {
        match &self.state {
            State::Exited(t) => Some(t),
            _ => None,
        }
    }
}

/// The pod's sandbox.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub enum Sandbox {
    #[default]
    None,
    /// Being made; after a restart of the agent this means: look.
    Creating,
    Ready,
    Lost,
    Removing,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    pub runtime: String,
    pub start_time: Option<Timestamp>,
    pub sandbox: Sandbox,
    /// The sandbox could not be made; try again then.
    pub sandbox_retry: Option<Timestamp>,
    pub sandbox_failures: u32,
    pub ip: Option<String>,
    /// Where on the loopback a pod in the host's network finds the API of its home above.
    pub home_port: Option<u16>,
    /// All init containers have done their work in this sandbox.
    pub initialized: bool,
    pub containers: BTreeMap<String, ContainerRecord>,
    /// The whole pod has failed: reason and message.
    pub failed: Option<(String, String)>,
    /// No longer in the API, or being deleted.
    pub ending: bool,
    /// Seconds that containers have to end, from the deletion.
    pub grace: i64,
    /// Conditions' last states, so that transitions keep their time: type, status, since.
    pub transitions: BTreeMap<String, (String, Timestamp)>,
    #[serde(skip)]
    pub volumes_ready: bool,
}

impl Record {
    /// The record of a container, an empty one if there is none.
    pub fn container(&self, name: &str) -> ContainerRecord {
        self.containers.get(name).cloned().unwrap_or_default()
    }
}

/// The spec; a pod without one (impossible in the API) has an empty one.
pub fn spec(pod: &Pod) -> &PodSpec {
    static EMPTY: std::sync::OnceLock<PodSpec> = std::sync::OnceLock::new();
    pod.spec.as_ref().unwrap_or_else(|| EMPTY.get_or_init(PodSpec::default))
}

/// Init containers, sidecars among them, in order.
pub fn inits(pod: &Pod) -> &[Container] {
    spec(pod).init_containers.as_deref().unwrap_or_default()
}

/// All containers by name.
pub fn find<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    inits(pod).iter().chain(&spec(pod).containers).find(|c| c.name == name)
}

/// A sidecar: an init container that stays.
pub fn sidecar(pod: &Pod, container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
        && inits(pod).iter().any(|c| c.name == container.name)
}

/// `default/name(uid)` as kubelet's messages have it: `name_namespace(uid)`.
pub fn full_name(pod: &Pod) -> String {
    let m = &pod.metadata;
    format!(
        "{}_{}({})",
        m.name.as_deref().unwrap_or(""),
        m.namespace.as_deref().unwrap_or(""),
        m.uid.as_deref().unwrap_or("")
    )
}

/// Whether the pod is to end.
pub fn deleting(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}
