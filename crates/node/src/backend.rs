//! What a node needs of whatever runs its pods.
//!
//! The calls towards the backend return at once: a backend queues them per pod and works on its own tasks. A backend
//! must tolerate the same pod twice, and must not delete anything because the API is silent.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// Which pod, and which of those that had its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl PodRef {
    /// The reference of `pod`; missing parts are empty.
    pub fn of(pod: &Pod) -> Self {
        Self {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
        }
    }
}

/// One container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerRef {
    /// The pod.
    pub pod: PodRef,
    /// The container's name.
    pub container: String,
}

/// What the API says about this node's pods.
#[derive(Debug, Clone)]
pub enum PodEvent {
    /// A pod is bound here: new or changed. With a deletion timestamp it must be ended.
    Applied(Arc<Pod>),
    /// A pod is no longer in the API; what runs of it must be ended.
    Gone(PodRef),
    /// A complete list was read: every pod of this node was told, and these uids are all.
    Listed(BTreeSet<String>),
}

/// Where a container has written a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrittenTo {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Which part of a log is wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogOptions {
    /// Go on until the container ends.
    pub follow: bool,
    /// Only the last lines.
    pub tail_lines: Option<u64>,
    /// Only what was written since.
    pub since: Option<Timestamp>,
    /// Begin each line with its time.
    pub timestamps: bool,
    /// Of the container's run before the current one.
    pub previous: bool,
    /// Only what was written to this one.
    pub written_to: Option<WrittenTo>,
    /// End after so many bytes.
    pub limit_bytes: Option<u64>,
}

/// A process to run in a container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExecOptions {
    /// The command with its arguments (none for an attach).
    pub command: Vec<String>,
    /// Connect standard input.
    pub stdin: bool,
    /// Connect standard output.
    pub stdout: bool,
    /// Connect standard error.
    pub stderr: bool,
    /// With a terminal.
    pub tty: bool,
}

/// What a client sends into a session.
#[derive(Debug, Clone)]
pub enum Input {
    /// Bytes for standard input.
    Stdin(Bytes),
    /// Standard input is at its end.
    CloseStdin,
    /// The terminal's size: columns, rows.
    Resize(u16, u16),
}

/// What comes out of a session; `Exited` and `Failed` are the last.
#[derive(Debug, Clone)]
pub enum Output {
    /// Bytes of standard output.
    Stdout(Bytes),
    /// Bytes of standard error.
    Stderr(Bytes),
    /// The process ended with this code.
    Exited(i32),
    /// The session broke.
    Failed(String),
}

/// Both ends of a session; dropping it ends it.
#[derive(Debug)]
pub struct Session {
    /// Towards the process.
    pub input: mpsc::Sender<Input>,
    /// From the process.
    pub output: mpsc::Receiver<Output>,
}

/// A byte stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// An open connection into a pod.
pub type Connection = Box<dyn Duplex>;

/// Why a request about a pod was refused, as an HTTP status with a Kubernetes reason.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ServeError {
    /// The HTTP status code.
    pub code: u16,
    /// `NotFound`, `BadRequest`, `InternalError`, ...
    pub reason: &'static str,
    /// What was wrong.
    pub message: String,
}

impl ServeError {
    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self { code: 404, reason: "NotFound", message: message.into() }
    }
    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self { code: 400, reason: "BadRequest", message: message.into() }
    }
    /// 500.
    pub fn internal(message: impl Into<String>) -> Self {
        Self { code: 500, reason: "InternalError", message: message.into() }
    }
}

/// What something has used and uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time since the start, nanoseconds.
    pub cpu_nanoseconds: u64,
    /// Memory that cannot be reclaimed easily, bytes.
    pub memory_working_set: u64,
}

/// What the machine and its containers use, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Readings {
    /// The whole machine.
    pub node: Usage,
    /// Running containers.
    pub containers: Vec<(ContainerRef, Usage)>,
}

/// What runs this node's pods.
pub trait PodBackend: Send + Sync + 'static {
    /// The pods that are here, with their statuses as they are here.
    fn pods(&self) -> Vec<Pod> {
        Vec::new()
    }
    /// Takes note of what the API says; must return at once.
    fn pod_event(&self, event: PodEvent);
    /// Opens a container's log; the receiver ends with the log.
    fn logs(
        &self,
        container: ContainerRef,
        options: LogOptions,
    ) -> BoxFuture<'_, Result<mpsc::Receiver<Bytes>, ServeError>>;
    /// Runs a process in a container.
    fn exec(
        &self,
        container: ContainerRef,
        options: ExecOptions,
    ) -> BoxFuture<'_, Result<Session, ServeError>>;
    /// Joins the streams of a container's first process.
    fn attach(
        &self,
        container: ContainerRef,
        options: ExecOptions,
    ) -> BoxFuture<'_, Result<Session, ServeError>>;
    /// Connects to a port inside the pod's network.
    fn port_forward(&self, pod: PodRef, port: u16) -> BoxFuture<'_, Result<Connection, ServeError>>;
    /// Measures what is used now.
    fn usage(&self) -> BoxFuture<'_, Result<Readings, ServeError>> {
        Box::pin(async { Err(ServeError::not_found("this node does not measure what is used")) })
    }
}
