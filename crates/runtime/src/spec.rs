//! What to run, in the runtime's own words: sandboxes, containers, their limits, and what became of them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(SandboxId, "A sandbox: the pod's uid, because a pod has exactly one.");
id!(ContainerId, "A container within its sandbox: `<name>-<attempt>`; letters, digits, `-` and `.` only.");

/// What the containers of one pod share.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SandboxSpec {
    /// The pod's uid.
    pub id: SandboxId,
    /// Host name inside; at most 63 bytes.
    pub hostname: String,
    /// Use the host's network instead of a namespace of its own.
    pub host_network: bool,
    /// Use the host's process ids.
    pub host_pid: bool,
    /// Use the host's IPC.
    pub host_ipc: bool,
    /// All containers see each other's processes; the runtime supplies process 1.
    pub share_process_namespace: bool,
    /// The pod's cgroup, relative to the runtime's cgroup root: `burstable/pod<uid>`.
    pub cgroup: String,
    /// Limits of the whole pod.
    pub resources: Resources,
    /// `name=value` kernel settings of the pod's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Memory file systems shared by the containers: name and size limit in bytes (0 = no limit).
    /// A [`Mount`] refers to one by `tmpfs:<name>` as its source.
    pub memory_volumes: BTreeMap<String, u64>,
    /// A container of it is to be privileged; some runtimes have to know that before.
    #[serde(default)]
    pub privileged: bool,
    /// Whose it is: runtimes may let pods of one tenant share what pods of two must not. Empty: it shares nothing.
    #[serde(default)]
    pub tenant: String,
}

/// Limits and shares. `None` means none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Resources {
    /// CPU weight in the unit of cgroup v1 `cpu.shares` (2 to 262144).
    pub cpu_shares: Option<u64>,
    /// CPU limit in thousandths of a core.
    pub cpu_limit_milli: Option<u64>,
    /// Memory limit in bytes.
    pub memory_limit: Option<u64>,
    /// Greatest number of processes.
    pub pids_limit: Option<u64>,
    /// `oom_score_adj` of the container's processes.
    pub oom_score_adj: Option<i32>,
    /// Huge page limits in bytes by page size (`2Mi`).
    pub hugepages: BTreeMap<String, u64>,
}

/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mount {
    /// A host path, or `tmpfs:<name>` for a memory volume of the sandbox.
    pub source: String,
    /// Where it appears inside; absolute.
    pub target: PathBuf,
    /// Mount it read-only.
    pub read_only: bool,
    /// How mounts made later travel: `private` (default), `rslave`, `rshared`.
    pub propagation: Option<String>,
}

impl Mount {
    /// The memory volume that it mounts, if it does not mount a path.
    pub fn memory_volume(&self) -> Option<&str> {
        self.source.strip_prefix("tmpfs:")
    }
}

/// One container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContainerSpec {
    /// Unique in the sandbox.
    pub id: ContainerId,
    /// The layers of the root file system, lowest first: unpacked directories of the image store, read-only and shared.
    pub layers: Vec<PathBuf>,
    /// The image, of a runtime that has its own ([`crate::Images::Own`]), as that calls it. Its layers are not told then.
    #[serde(default)]
    pub image: Option<String>,
    /// The image's user, where that is a name which only such a runtime can look up; `uid` says nothing then.
    #[serde(default)]
    pub image_user: Option<String>,
    /// The command with its arguments; never empty.
    pub args: Vec<String>,
    /// The environment, in order.
    pub env: Vec<(String, String)>,
    /// Working directory inside.
    pub cwd: PathBuf,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub additional_gids: Vec<u32>,
    /// The root file system cannot be written.
    pub read_only_rootfs: bool,
    /// Mounts, in order.
    pub mounts: Vec<Mount>,
    /// Host devices to make available: host path, path inside, `rwm` permissions.
    pub devices: Vec<(PathBuf, PathBuf, String)>,
    /// Capabilities kept, `CAP_...` names.
    pub capabilities: Vec<String>,
    /// All capabilities, all devices, nothing masked.
    pub privileged: bool,
    /// Forbid gaining privileges.
    pub no_new_privileges: bool,
    /// Apply the default seccomp filter (where this runtime has one).
    pub seccomp_default: bool,
    /// Paths hidden inside (`/proc/kcore`...).
    pub masked_paths: Vec<String>,
    /// Paths that are read-only inside (`/proc/sys`...).
    pub readonly_paths: Vec<String>,
    /// The TCP ports that the container declares, in order.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// Run with a terminal.
    pub tty: bool,
    /// Keep standard input open for [`crate::Runtime::attach`].
    pub stdin: bool,
    /// Close standard input after the first attached client left.
    pub stdin_once: bool,
    /// Limits.
    pub resources: Resources,
    /// The log file, written in the CRI format; rotated by the shim as `<path>.<n>`.
    pub log_path: PathBuf,
    /// A log file larger than this is rotated, bytes.
    pub log_max_size: u64,
    /// How many rotated files are kept beside the current one.
    pub log_max_files: u32,
}

/// A process to run in a running container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ExecSpec {
    /// The command with its arguments.
    pub args: Vec<String>,
    /// Give it a terminal.
    pub tty: bool,
    /// Connect standard input.
    pub stdin: bool,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Columns.
    #[serde(rename = "Width")]
    pub width: u16,
    /// Rows.
    #[serde(rename = "Height")]
    pub height: u16,
}

/// A sandbox as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct SandboxStatus {
    /// Its id.
    pub id: SandboxId,
    /// Whether what keeps it is alive. A dead sandbox can only be removed.
    pub alive: bool,
    /// When it was made.
    pub created: SystemTime,
    /// A path by which its network namespace can be entered, `/proc/<pid>/ns/net` or a file that stands for it; none with
    /// the host's network.
    pub network_namespace: Option<PathBuf>,
    /// Its containers, dead ones that were not removed included.
    pub containers: Vec<ContainerStatus>,
}

/// A container as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerStatus {
    /// Its id.
    pub id: ContainerId,
    /// What it does.
    pub state: ContainerState,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq)]
pub enum ContainerState {
    /// Its first process runs.
    Running {
        /// The process, as the host numbers it.
        pid: u32,
        /// Since when.
        started: SystemTime,
    },
    /// Its first process has ended.
    Exited(ExitStatus),
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq)]
pub struct ExitStatus {
    /// Exit code; 128 + signal for a process that a signal ended.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel killed something in it for want of memory.
    pub oom_killed: bool,
    /// When it had started.
    pub started: SystemTime,
    /// When it ended.
    pub finished: SystemTime,
}

/// What a container uses.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// CPU time since its start, nanoseconds.
    pub cpu_nanoseconds: u64,
    /// Memory that cannot be reclaimed easily (usage less inactive file pages), bytes.
    pub memory_working_set: u64,
    /// All memory charged, bytes.
    pub memory_usage: u64,
    /// Processes.
    pub pids: u64,
}
