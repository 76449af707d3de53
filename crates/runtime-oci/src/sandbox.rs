//! A sandbox: making it, finding it again, removing it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dunlin_runtime::{ContainerId, Error, Event, SandboxId, SandboxSpec, SandboxStatus};
use dunlin_shim::message::{Config, Request, Tmpfs};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::cgroup::Cgroups;
use crate::connection::{Connection, Notice};
use crate::paths::{self, text};
use crate::plan::validate::sysctl_path;
use crate::runtime::Shared;

/// How long a shim may take to set a sandbox up.
const SETUP: Duration = Duration::from_secs(20);
/// How often a program whose file is still open for writing is tried, every 10 ms.
const BUSY: u32 = 100;
/// How long a shim may take to end.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// What is kept of a sandbox on disk.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    spec: SandboxSpec,
    created: Duration,
}

/// A sandbox that exists.
#[derive(Debug)]
pub struct Sandbox {
    /// What was asked for.
    pub spec: SandboxSpec,
    /// Its directories.
    pub paths: paths::Sandbox,
    /// When it was made.
    pub created: SystemTime,
    /// The shim; none if it had died before this runtime was opened.
    pub shim: Option<Connection>,
    removing: Arc<AtomicBool>,
}

impl Sandbox {
    /// The shim if it is alive.
    pub fn shim(&self) -> Option<&Connection> {
        self.shim.as_ref().filter(|shim| shim.alive())
    }

    /// Makes a sandbox. What a former try left has been removed.
    pub async fn create(shared: &Shared, spec: SandboxSpec) -> Result<Self, Error> {
        let paths = shared.layout.sandbox(&spec.id);
        let created = SystemTime::now();
        let record = Record { spec, created: created.duration_since(UNIX_EPOCH).unwrap_or_default() };
        prepare(shared, &paths, &record)?;
        start_shim(&shared.shim_program, &paths.dir).await.map_err(|reason| {
            // The text goes to people: what the kernel refused, and for what.
            Error::Shim { sandbox: record.spec.id.clone(), reason }
        })?;
        Self::connect(&shared.events, paths, record).await
    }

    /// Finds a sandbox that a directory tells of. `None`: the directory is not a whole sandbox.
    pub async fn recover(shared: &Shared, id: &SandboxId) -> Option<Self> {
        let paths = shared.layout.sandbox(id);
        let record: Record = serde_json::from_slice(&fs::read(paths.spec()).ok()?).ok()?;
        let created = UNIX_EPOCH + record.created;
        let spec = record.spec.clone();
        match Self::connect(&shared.events, paths.clone(), record).await {
            Ok(sandbox) => Some(sandbox),
            Err(error) => {
                let error = dunlin_base::error::chain(&error);
                tracing::warn!(sandbox = %id, %error, "shim of a sandbox found dead");
                Some(Self { spec, paths, created, shim: None, removing: Arc::default() })
            }
        }
    }

    async fn connect(
        events: &broadcast::Sender<Event>,
        paths: paths::Sandbox,
        record: Record,
    ) -> Result<Self, Error> {
        let removing = Arc::new(AtomicBool::new(false));
        let (quiet, events, sandbox) = (removing.clone(), events.clone(), record.spec.id.clone());
        let notice = move |notice| {
            let sandbox = sandbox.clone();
            // An event without listeners is lost, and that is fine: events are hints.
            let _ = match notice {
                Notice::Exited(id) => events.send(Event::Exited { sandbox, container: ContainerId(id) }),
                Notice::Lost if quiet.load(Ordering::Acquire) => return,
                Notice::Lost => {
                    tracing::warn!(%sandbox, "lost the shim of a sandbox");
                    events.send(Event::SandboxLost { sandbox })
                }
            };
        };
        let shim = Connection::open(&record.spec.id, &paths.dir, notice).await?;
        let created = UNIX_EPOCH + record.created;
        Ok(Self { spec: record.spec, paths, created, shim: Some(shim), removing })
    }

    /// How it is now.
    pub async fn status(&self) -> Result<SandboxStatus, Error> {
        let containers = crate::container::list(self).await;
        // A shim that does not answer may have died while it was asked.
        let containers = match containers {
            Err(_) if self.shim().is_none() => crate::container::list(self).await?,
            other => other?,
        };
        let shim = self.shim();
        let own_network = shim.filter(|_| !self.spec.host_network);
        Ok(SandboxStatus {
            id: self.spec.id.clone(),
            alive: shim.is_some(),
            created: self.created,
            network_namespace: own_network.map(|shim| PathBuf::from(format!("/proc/{}/ns/net", shim.pid))),
            containers,
        })
    }

    /// Ends everything in it.
    pub async fn kill(&self, cgroups: &Cgroups) -> Result<(), Error> {
        self.removing.store(true, Ordering::Release);
        let asked = match self.shim() {
            Some(shim) => shim.ask_within(&Request::Shutdown, SHUTDOWN).await.is_ok(),
            None => false,
        };
        let killed = cgroups.kill(&self.spec.cgroup).await.map_err(cgroup_error);
        if !asked {
            cgroups.shims().into_iter().for_each(|pid| end_shim(pid, &self.paths.dir));
        }
        killed
    }
}

/// Ends a shim that does not listen, if it is this directory's.
fn end_shim(pid: i32, directory: &Path) {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let ours = command.split(|b| *b == 0).nth(1) == Some(text(directory).as_bytes());
    if let (true, Some(pid)) = (ours, rustix::process::Pid::from_raw(pid)) {
        tracing::warn!(directory = %directory.display(), "killing a shim that does not answer");
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Removes what a sandbox left: cgroup, layers, directory. The directory goes last, for it is what is found again.
pub async fn remove_traces(shared: &Shared, id: &SandboxId, cgroup: Option<&str>) -> Result<(), Error> {
    let paths = shared.layout.sandbox(id);
    if let Some(cgroup) = cgroup {
        shared.cgroups.kill(cgroup).await.map_err(cgroup_error)?;
        shared.cgroups.remove(cgroup).await.map_err(cgroup_error)?;
    }
    for directory in [paths.layers, paths.dir] {
        blocking(move || remove_directory(&directory)).await?;
    }
    Ok(())
}

/// The cgroup that a sandbox's record names, if there is a record.
pub fn recorded_cgroup(shared: &Shared, id: &SandboxId) -> Option<String> {
    let bytes = fs::read(shared.layout.sandbox(id).spec()).ok()?;
    let record: Record = serde_json::from_slice(&bytes).ok()?;
    Some(record.spec.cgroup)
}

/// Removes a directory with everything in it; absent is success. Blocks while a process that has just been orphaned, as a
/// shim is whose making was broken off, still puts things into it.
pub fn remove_directory(directory: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + SHUTDOWN;
    loop {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other.map_err(io_error("removing", directory)),
        }
    }
}

fn prepare(shared: &Shared, paths: &paths::Sandbox, record: &Record) -> Result<(), Error> {
    let spec = &record.spec;
    // The record first: whatever else exists can be found by it.
    fs::create_dir_all(&paths.dir).map_err(io_error("creating", &paths.dir))?;
    let (path, temporary) = (paths.spec(), paths.dir.join("spec.json.tmp"));
    serde_json::to_vec(record)
        .map_err(io::Error::from)
        .and_then(|json| fs::write(&temporary, json))
        .and_then(|()| fs::rename(&temporary, &path))
        .map_err(io_error("writing", &path))?;
    let resources = match &shared.machines {
        Some(host) => host.pod_limits(&spec.resources),
        None => spec.resources.clone(),
    };
    shared.cgroups.create(&spec.cgroup, &resources).map_err(cgroup_error)?;
    let mut directories = vec![paths.bundles(), paths.state(), paths.layers.clone()];
    directories.extend(spec.memory_volumes.keys().map(|name| paths.volume(name)));
    if !spec.host_ipc {
        directories.push(paths.shm());
    }
    for directory in &directories {
        fs::create_dir_all(directory).map_err(io_error("creating", directory))?;
    }
    let path = paths.dir.join(dunlin_shim::CONFIG);
    fs::write(&path, shim_config(spec, &shared.cgroups).encode()).map_err(io_error("writing", &path))
}

fn shim_config(spec: &SandboxSpec, cgroups: &Cgroups) -> Config {
    let mut tmpfs: Vec<Tmpfs> = Vec::new();
    if !spec.host_ipc {
        tmpfs.push(Tmpfs { path: "shm".into(), options: "mode=1777,size=65536k".into() });
    }
    for (name, size) in &spec.memory_volumes {
        let size = if *size == 0 { String::new() } else { format!(",size={size}") };
        tmpfs.push(Tmpfs { path: format!("volumes/{name}"), options: format!("mode=0777{size}") });
    }
    Config {
        own_network: !spec.host_network,
        own_ipc: !spec.host_ipc,
        hostname: if spec.host_network { String::new() } else { spec.hostname.clone() },
        shared_pids: spec.share_process_namespace,
        sysctls: spec.sysctls.iter().map(|(name, value)| (sysctl_path(name), value.clone())).collect(),
        tmpfs,
        cgroups: cgroups.shim_files().iter().map(|path| text(path)).collect(),
        oom_score_adj: -998,
    }
}

/// Starts the shim and waits until it says that it is ready; it goes on by itself.
async fn start_shim(program: &Path, directory: &Path) -> Result<(), String> {
    let mut command = tokio::process::Command::new(program);
    command.arg(directory).env_clear().current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // A caller that gives up takes it along: one that enters the directory only when the next try has made it anew would
    // put its socket in the place of that one's shim.
    command.kill_on_drop(true);
    let child = spawn(&mut command).await.map_err(|e| format!("starting {}: {e}", program.display()))?;
    let output = tokio::time::timeout(SETUP, child.wait_with_output());
    let output = match output.await {
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Ok(Err(error)) => return Err(format!("reading what the shim says: {error}")),
        Err(_) => return Err("it is not ready in time".into()),
    };
    match output.strip_prefix("ready ") {
        Some(_) => Ok(()),
        None => Err(output.strip_prefix("error ").unwrap_or("it ended without a word").to_owned()),
    }
}

/// Starts a program that may have been installed a moment ago: whoever forked while its file was being written holds that
/// open for writing until it executes something else, and so long the kernel refuses to run it.
async fn spawn(command: &mut tokio::process::Command) -> io::Result<tokio::process::Child> {
    for _ in 0..BUSY {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            other => return other,
        }
    }
    command.spawn()
}

/// Runs file operations where they may take their time.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// An I/O error as the trait tells it.
pub fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { operation, path, source }
}

/// A cgroup error as the trait tells it.
pub fn cgroup_error(error: crate::cgroup::Error) -> Error {
    let (operation, path, source) = error.into_parts();
    Error::Io { operation, path, source }
}
