//! The cgroups of pods and containers, in version 1 (one hierarchy per controller) and version 2 (one for all).
//!
//! Everything lies below one cgroup whose name derives from the node, and nothing outside it is touched, so that several
//! agents can live on one machine. Paths here are relative to that root: `burstable/pod<uid>/<container>`.

mod devices;
mod mounts;
mod stats;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dunlin_runtime::{Resources, Stats};

use crate::plan::config::Device;
use crate::plan::limits::{self, Setting};
use mounts::Hierarchies;

/// Where the shims are, beside the pods.
const SHIMS: &str = "shims";
/// How long killed processes and their cgroups may take to vanish.
const PATIENCE: Duration = Duration::from_secs(10);

/// A cgroup operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}", path.display())]
pub struct Error {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Error {
    /// The operation, the file, and what the system said.
    pub fn into_parts(self) -> (&'static str, PathBuf, io::Error) {
        (self.operation, self.path, self.source)
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error { operation, path: path.to_owned(), source }
}

/// The cgroups of one node.
#[derive(Debug, Clone)]
pub struct Cgroups {
    hierarchies: Hierarchies,
    root: String,
}

impl Cgroups {
    /// Finds out what this machine has, and makes the root and the shims' cgroup.
    pub fn open(root: &str) -> Result<Self, Error> {
        let source = fs::read_to_string("/proc/self/mountinfo");
        let info = source.map_err(failed("finding cgroups in", Path::new("/proc/self/mountinfo")))?;
        let hierarchies = mounts::find(&info).ok_or_else(|| {
            failed("finding cgroups in", Path::new("/sys/fs/cgroup"))(io::Error::other(
                "no cgroup hierarchy is mounted",
            ))
        })?;
        let cgroups = Self { hierarchies, root: root.to_owned() };
        cgroups.create("", &Resources::default())?;
        cgroups.create(SHIMS, &Resources::default())?;
        Ok(cgroups)
    }

    /// Whether this is version 2.
    pub fn unified(&self) -> bool {
        matches!(self.hierarchies, Hierarchies::Unified(_))
    }

    /// A cgroup's path from the hierarchy's root, as the OCI configuration wants it.
    pub fn absolute(&self, relative: &str) -> String {
        format!("/{}/{relative}", self.root)
    }

    /// The `cgroup.procs` files by which a shim leaves the agent's cgroup.
    pub fn shim_files(&self) -> Vec<PathBuf> {
        self.procs_files(SHIMS)
    }

    /// The `cgroup.procs` files by which a process enters a cgroup.
    pub fn procs_files(&self, relative: &str) -> Vec<PathBuf> {
        self.accounted(relative).into_iter().map(|dir| dir.join("cgroup.procs")).collect()
    }

    /// The shims that live.
    pub fn shims(&self) -> Vec<i32> {
        self.processes(SHIMS)
    }

    /// The file that lists a cgroup's processes.
    pub fn procs_file(&self, relative: &str) -> PathBuf {
        self.directory("pids", relative).join("cgroup.procs")
    }

    /// The file with a line `oom_kill <n>`.
    pub fn oom_file(&self, relative: &str) -> PathBuf {
        let file = if self.unified() { "memory.events" } else { "memory.oom_control" };
        self.directory("memory", relative).join(file)
    }

    fn directory(&self, controller: &str, relative: &str) -> PathBuf {
        let mount = match &self.hierarchies {
            Hierarchies::Unified(mount) => mount,
            Hierarchies::Legacy(mounts) => {
                // Without the controller its numbers are missing; any hierarchy serves to list processes.
                &mounts
                    .iter()
                    .find(|m| m.controllers.iter().any(|c| c == controller))
                    .unwrap_or(&mounts[0])
                    .path
            }
        };
        let root = mount.join(&self.root);
        if relative.is_empty() { root } else { root.join(relative) }
    }

    /// The directories of a cgroup in the hierarchies that we limit or account by.
    fn accounted(&self, relative: &str) -> Vec<PathBuf> {
        let mut all = Vec::new();
        for controller in ["cpu", "cpuacct", "memory", "pids", "hugetlb"] {
            let directory = self.directory(controller, relative);
            if !all.contains(&directory) {
                all.push(directory);
            }
        }
        all
    }

    /// The directories of a cgroup in every hierarchy: libcontainer puts containers into all of them.
    fn everywhere(&self, relative: &str) -> Vec<PathBuf> {
        match &self.hierarchies {
            Hierarchies::Unified(_) => vec![self.directory("", relative)],
            Hierarchies::Legacy(mounts) => {
                mounts.iter().map(|m| m.path.join(&self.root).join(relative)).collect()
            }
        }
    }

    /// Makes a cgroup and sets its limits; one that exists gets the limits.
    pub fn create(&self, relative: &str, resources: &Resources) -> Result<(), Error> {
        for directory in self.accounted(relative) {
            fs::create_dir_all(&directory).map_err(failed("creating cgroup", &directory))?;
        }
        if let Hierarchies::Unified(mount) = &self.hierarchies {
            self.delegate(mount, relative);
        }
        let settings = if self.unified() { limits::v2(resources) } else { limits::v1(resources) };
        settings.iter().try_for_each(|setting| self.set(relative, setting))
    }

    /// Keeps a container from all devices but the usual ones and those given. In version 1 libcontainer does this.
    pub fn allow_devices(&self, relative: &str, devices: &[Device]) -> Result<(), Error> {
        if !self.unified() {
            return Ok(());
        }
        let directory = self.directory("", relative);
        devices::allow_only(&directory, devices).map_err(failed("limiting the devices of cgroup", &directory))
    }

    /// When a container's memory runs out, all of its processes end, as in Kubernetes since 1.28: half of a container is
    /// no container. Version 1 can only end one.
    pub fn end_together(&self, relative: &str) -> Result<(), Error> {
        if !self.unified() {
            return Ok(());
        }
        self.set(
            relative,
            &Setting {
                controller: "memory",
                file: "memory.oom.group".into(),
                value: "1".into(),
                needed: false,
            },
        )
    }

    fn set(&self, relative: &str, setting: &Setting) -> Result<(), Error> {
        let path = self.directory(setting.controller, relative).join(&setting.file);
        match fs::write(&path, &setting.value) {
            Err(error) if setting.needed => Err(failed("setting cgroup limit", &path)(error)),
            Err(error) => {
                tracing::debug!(file = %path.display(), value = setting.value, %error, "cgroup setting left out");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Version 2: children of every cgroup above get the controllers. A controller that this machine lacks shows when a
    /// limit of it is set.
    fn delegate(&self, mount: &Path, relative: &str) {
        let mut path = mount.to_owned();
        for part in Path::new(&self.root).join(relative).components() {
            for controller in ["+cpu", "+memory", "+pids", "+cpuset", "+io", "+hugetlb"] {
                let _ = fs::write(path.join("cgroup.subtree_control"), controller);
            }
            path.push(part);
        }
    }

    /// What a cgroup uses now.
    pub fn stats(&self, relative: &str) -> Option<Stats> {
        let read = |controller: &str, file: &str| {
            fs::read_to_string(self.directory(controller, relative).join(file)).ok()
        };
        if self.unified() { stats::v2(read) } else { stats::v1(read) }
    }

    /// The processes in a cgroup and below.
    pub fn processes(&self, relative: &str) -> Vec<i32> {
        processes(&self.directory("pids", relative))
    }

    /// Ends every process below a cgroup, and waits until they are gone.
    pub async fn kill(&self, relative: &str) -> Result<(), Error> {
        let directory = self.directory("pids", relative);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pids = processes(&directory);
            if pids.is_empty() {
                return Ok(());
            }
            // Version 2 has one file that ends all at once; elsewhere whoever forks faster is met in the next round.
            if fs::write(directory.join("cgroup.kill"), "1").is_err() {
                for pid in pids {
                    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                    }
                }
            }
            if Instant::now() > deadline {
                return Err(failed("emptying cgroup", &directory)(io::Error::other("processes do not end")));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Removes this node's root and all that is below it, when the node leaves the machine.
    pub async fn remove_root(&self) -> Result<(), Error> {
        self.remove_everywhere("").await
    }

    /// Removes a cgroup and what is below, in every hierarchy. Absent is success.
    pub async fn remove(&self, relative: &str) -> Result<(), Error> {
        debug_assert!(!relative.is_empty(), "the root is other sandboxes' as well");
        self.remove_everywhere(relative).await
    }

    async fn remove_everywhere(&self, relative: &str) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        for directory in self.everywhere(relative) {
            while let Err(error) = remove_tree(&directory) {
                // A process that has just been killed holds its cgroup until the kernel has buried it.
                if Instant::now() > deadline {
                    return Err(failed("removing cgroup", &directory)(error));
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }
}

/// The processes in a cgroup and below.
fn processes(directory: &Path) -> Vec<i32> {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    // A process of another PID namespace shows as 0.
    let mut all: Vec<i32> = text.lines().filter_map(|l| l.parse().ok()).filter(|pid| *pid > 1).collect();
    for child in children(directory) {
        all.extend(processes(&child));
    }
    all
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    for child in children(directory) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
