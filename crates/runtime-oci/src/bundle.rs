//! What the creator must know beside the OCI configuration: written by the runtime into the bundle, read by the creator.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file's name in a bundle.
pub const FILE: &str = "bundle.json";
/// The OCI configuration's name in a bundle.
pub const CONFIG: &str = "config.json";

/// The name of what is in a bundle whose guest runs in a process that it shares.
pub const SHARED: &str = "shared";

/// The name of the memory in which a shared process tells what a guest has used.
pub const USED: &str = "dunlin-used";

/// The creator's part of a bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    /// The container's id.
    pub container: String,
    /// libcontainer's state directory.
    pub state: PathBuf,
    /// Layers, lowest first.
    pub layers: Vec<PathBuf>,
    /// The writable layer.
    pub upper: PathBuf,
    /// The overlay's work directory.
    pub work: PathBuf,
    /// The container has a terminal.
    pub tty: bool,
    /// `oom_score_adj` of its processes.
    pub oom_score_adj: i32,
    /// User id, who shall own the streams.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Working directory, made if the image lacks it.
    pub cwd: PathBuf,
    /// Apply the default seccomp filter.
    pub seccomp: bool,
    /// `CAP_SYS_ADMIN` is in the configuration only so that the filter can be installed; give it up after that.
    pub drop_sys_admin: bool,
    /// The capabilities that the container keeps, by which the filter is relaxed.
    pub capabilities: Vec<String>,
    /// A process of the host instead of a container.
    pub native: Option<Native>,
    /// A WebAssembly guest instead of a program of the image.
    pub wasm: Option<Wasm>,
    /// A virtual machine instead of a container.
    pub microvm: Option<Microvm>,
}

/// What a WebAssembly guest may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wasm {
    /// Where compiled code is kept.
    pub cache: PathBuf,
    /// The most memory that a module's instance may have, bytes.
    pub memory: Option<u64>,
    /// Where it serves HTTP.
    pub ports: Vec<u16>,
    /// It is in the host's network.
    pub host_network: bool,
    /// It may run in one process with others of its tenant, if it serves `wasi:http`.
    pub share: Option<Share>,
}

/// How a guest comes into a process that it shares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// The directory of all such processes; each has one below.
    pub hosts: PathBuf,
    /// The name of those who may share.
    pub tenant: String,
    /// The `cgroup.procs` files by which a process enters the cgroup of all of them.
    pub cgroups: Vec<PathBuf>,
    /// The program that stands for the guest in its container.
    pub holder: PathBuf,
    /// The most memory that all instances may have together, bytes.
    pub memory: Option<u64>,
    /// The most of the processor, thousandths.
    pub cpu: Option<u64>,
    /// Groups beside that of the bundle.
    pub groups: Vec<u32>,
}

/// How a virtual machine is started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Microvm {
    /// The program of its monitor and of execs.
    pub program: PathBuf,
    /// How the monitor belongs to its pod, and what is mounted over the image's files.
    pub native: Native,
    /// The image's file that is the guest's kernel, and where it is put; such a guest has no files.
    pub kernel: Option<(PathBuf, PathBuf)>,
}

/// How a native process belongs to its pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Native {
    /// The `cgroup.procs` files by which it enters its cgroup.
    pub cgroups: Vec<PathBuf>,
    /// The namespaces that it joins.
    pub namespaces: Vec<PathBuf>,
    /// What it sees in other places than the host does, in order.
    pub mounts: Vec<Bind>,
    /// The host's root file system cannot be written.
    pub read_only: bool,
}

/// A bind mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bind {
    /// The host's path.
    pub source: PathBuf,
    /// Where it appears.
    pub target: PathBuf,
    /// Read-only.
    pub read_only: bool,
    /// Mounts that the host makes below it later appear, too.
    pub follows: bool,
}

impl Bundle {
    /// Reads it from a bundle.
    pub fn read(directory: &Path) -> std::io::Result<Self> {
        let bytes = std::fs::read(directory.join(FILE))?;
        serde_json::from_slice(&bytes).map_err(std::io::Error::from)
    }
}
