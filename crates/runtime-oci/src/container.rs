//! A container: starting it, listing, signalling, removing.

use std::fs;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use dunlin_runtime::{
    ContainerId, ContainerSpec, ContainerState, ContainerStatus, Error, ExitStatus, Resources, SandboxId,
    Stats,
};
use dunlin_shim::message::{Failure, Reply, Request, Start, State};
use dunlin_shim::{EXIT_FILE, ExitRecord};

use crate::attach::exit_status;
use crate::bundle::{self, Bundle, Microvm, USED};
use crate::cgroup::Cgroups;
use crate::connection::Connection;
use crate::paths::{is_name, text};
use crate::plan::config::{Context, Device, config};
use crate::plan::wasm::Hosts;
use crate::plan::{self, capabilities, unikernel, validate};
use crate::runtime::{Kind, Shared};
use crate::sandbox::{Sandbox, blocking, cgroup_error, io_error, remove_directory};

/// How long a creator may take. A slow board with a cold disk needs seconds.
const CREATE: Duration = Duration::from_secs(60);
/// The same where a module may have to be compiled first, after others.
const COMPILE: Duration = Duration::from_secs(600);
/// How long with a virtual machine, which boots a kernel; an emulated one with a tenth of a processor takes most of it.
const BOOT: Duration = Duration::from_secs(180);
/// The cgroup of processes that guests share.
pub const HOSTS: &str = "wasm-hosts";
/// What users of a guest in a shared process should know.
const SHARING: &str = "shares a process with other wasi:http containers of its namespace and service account: its memory and \
                       processor limits are the engine's, which counts what its instances allocate and execute, and if that \
                       process ends, all of them are restarted";

/// The container's cgroup, below the pod's.
pub fn cgroup(sandbox: &Sandbox, id: &ContainerId) -> String {
    format!("{}/{}", sandbox.spec.cgroup, id.0)
}

/// All containers: from the shim, or from what a dead shim left.
pub async fn list(sandbox: &Sandbox) -> Result<Vec<ContainerStatus>, Error> {
    match sandbox.shim() {
        Some(shim) => {
            Ok(infos(shim, &sandbox.spec.id).await?.into_iter().filter_map(|(id, s)| status(id, s)).collect())
        }
        None => {
            let (bundles, created) = (sandbox.paths.bundles(), sandbox.created);
            Ok(blocking(move || left_behind(&bundles, created)).await)
        }
    }
}

async fn infos(shim: &Connection, sandbox: &SandboxId) -> Result<Vec<(ContainerId, State)>, Error> {
    match shim.ask(&Request::List).await? {
        Reply::Containers(list) => {
            Ok(list.into_iter().map(|info| (ContainerId(info.id), info.state)).collect())
        }
        other => Err(nonsense(sandbox, &other)),
    }
}

fn status(id: ContainerId, state: State) -> Option<ContainerStatus> {
    let state = match state {
        State::Creating => return None,
        State::Running { pid, started } => {
            ContainerState::Running { pid, started: UNIX_EPOCH + Duration::from_nanos(started) }
        }
        State::Exited(record) => ContainerState::Exited(exit_status(&record)),
    };
    Some(ContainerStatus { id, state })
}

/// A container without a record was ended with its sandbox.
fn left_behind(bundles: &Path, created: std::time::SystemTime) -> Vec<ContainerStatus> {
    let Ok(entries) = fs::read_dir(bundles) else { return Vec::new() };
    let read = |directory: PathBuf| {
        let record =
            fs::read_to_string(directory.join(EXIT_FILE)).ok().and_then(|t| ExitRecord::from_text(&t));
        let lost =
            ExitStatus { code: 137, signal: Some(9), oom_killed: false, started: created, finished: created };
        ContainerState::Exited(record.map_or(lost, |r| exit_status(&r)))
    };
    entries
        .flatten()
        .map(|entry| ContainerStatus {
            id: ContainerId(entry.file_name().to_string_lossy().into_owned()),
            state: read(entry.path()),
        })
        .collect()
}

fn nonsense(sandbox: &SandboxId, reply: &Reply) -> Error {
    Error::Shim { sandbox: sandbox.clone(), reason: format!("it answered {reply:?}") }
}

/// A refusal of the shim as the trait tells it.
pub fn refusal(sandbox: &SandboxId, container: &ContainerId, command: &str, reply: Reply) -> Error {
    let Reply::Failed { failure, text } = reply else { return nonsense(sandbox, &reply) };
    match failure {
        Failure::Create => Error::Create { container: container.clone(), reason: text },
        Failure::Command => Error::Command { command: command.to_owned(), reason: text },
        Failure::Spec => Error::Spec { field: "container".into(), reason: text },
        Failure::NoContainer => Error::NoContainer(sandbox.clone(), container.clone()),
        Failure::NotRunning => Error::NotRunning(container.clone()),
        Failure::Refused => Error::Shim { sandbox: sandbox.clone(), reason: text },
    }
}

/// The state of one container, waiting out a creation that somebody else began.
pub async fn state(sandbox: &Sandbox, id: &ContainerId) -> Result<Option<ContainerStatus>, Error> {
    let Some(shim) = sandbox.shim() else {
        return Ok(list(sandbox).await?.into_iter().find(|c| c.id == *id));
    };
    loop {
        let found = infos(shim, &sandbox.spec.id).await?.into_iter().find(|(found, _)| found == id);
        match found {
            Some((_, State::Creating)) => tokio::time::sleep(Duration::from_millis(10)).await,
            Some((id, state)) => return Ok(status(id, state)),
            None => return Ok(None),
        }
    }
}

/// Starts a container that does not exist yet.
pub async fn start(
    shared: &Shared,
    sandbox: &Sandbox,
    spec: ContainerSpec,
) -> Result<ContainerStatus, Error> {
    validate::container(shared.kind, &sandbox.spec, &spec)?;
    let gone = || Error::Shim { sandbox: sandbox.spec.id.clone(), reason: "the shim is gone".into() };
    let shim = sandbox.shim().ok_or_else(gone)?;
    if shared.machines.is_some() {
        alone(sandbox).await?;
    }
    // What a start that was broken off has left would be in the way.
    clean(shared, sandbox, &spec.id).await?;
    let made = prepare(shared, sandbox, shim, &spec);
    let result = match made {
        Ok(request) => {
            shim.ask_within(&Request::Start(Box::new(request)), patience(shared) + Duration::from_secs(5))
                .await
        }
        Err(error) => Err(error),
    };
    let error = match result {
        Ok(Reply::Started { pid, started }) => {
            let state = State::Running { pid, started };
            return status(spec.id.clone(), state).ok_or_else(gone);
        }
        Ok(reply) => refusal(&sandbox.spec.id, &spec.id, &spec.args[0], reply),
        Err(error) => error,
    };
    if let Err(left) = clean(shared, sandbox, &spec.id).await {
        let left = dunlin_base::error::chain(&left);
        tracing::warn!(container = %spec.id, error = left, "a container that could not be made left traces");
    }
    Err(error)
}

/// How long a creator may take.
fn patience(shared: &Shared) -> Duration {
    match shared.kind {
        Kind::Oci | Kind::Process => CREATE,
        Kind::Wasm => COMPILE,
        Kind::Microvm | Kind::Unikernel => BOOT,
    }
}

/// A pod's machine has the pod's address, so there is one at a time.
async fn alone(sandbox: &Sandbox) -> Result<(), Error> {
    let others = list(sandbox).await?;
    match others.iter().find(|c| matches!(c.state, ContainerState::Running { .. })) {
        Some(other) => Err(Error::Spec {
            field: "containers".into(),
            reason: format!(
                "{} runs, and a pod of virtual machines runs one container at a time: init containers one after the \
                 other, no sidecars, one container",
                other.id
            ),
        }),
        None => Ok(()),
    }
}

fn prepare(
    shared: &Shared,
    sandbox: &Sandbox,
    shim: &Connection,
    spec: &ContainerSpec,
) -> Result<Start, Error> {
    let paths = &sandbox.paths;
    let granted = capabilities::granted(&spec.capabilities, spec.privileged, shared.own_capabilities)
        .map_err(|name| Error::Spec {
            field: "capabilities".into(),
            reason: format!("{name} is not a capability"),
        })?;
    let seccomp = spec.seccomp_default && !spec.privileged;
    let lend_sys_admin = seccomp && !spec.no_new_privileges && !granted.contains(&"CAP_SYS_ADMIN");
    let contained = shared.kind == Kind::Oci;
    let devices = if contained { devices(spec)? } else { Vec::new() };
    for (n, mount) in spec.mounts.iter().enumerate().filter(|(_, m)| m.source.starts_with('/')) {
        if let Err(error) = fs::metadata(&mount.source) {
            let reason = format!("source {}: {error}", mount.source);
            return Err(Error::Spec { field: format!("mounts[{n}]"), reason });
        }
    }
    let name = cgroup(sandbox, &spec.id);
    let resources = match &shared.machines {
        Some(host) => host.limits(&spec.resources),
        None => spec.resources.clone(),
    };
    shared.cgroups.create(&name, &resources).map_err(cgroup_error)?;
    if shared.machines.is_none() {
        // A machine's monitor has to tell of it.
        shared.cgroups.end_together(&name).map_err(cgroup_error)?;
    }
    if !spec.privileged && contained {
        shared.cgroups.allow_devices(&name, &devices).map_err(cgroup_error)?;
    }
    let (directory, layer) = (paths.bundle(&spec.id), paths.layer(&spec.id));
    let place =
        || plan::native::native(spec, &sandbox.spec, paths, shim.pid, shared.cgroups.procs_files(&name));
    let guest = (shared.kind == Kind::Wasm)
        .then(|| plan::wasm::wasm(spec, &sandbox.spec, shared.layout.compiled(), hosts(shared)));
    if guest.as_ref().is_some_and(|guest| guest.share.is_some()) {
        shared.cgroups.create(HOSTS, &Resources::default()).map_err(cgroup_error)?;
    }
    let unikraft = shared.kind == Kind::Unikernel && unikernel::is_unikraft(&spec.layers);
    let bundle = Bundle {
        container: spec.id.0.clone(),
        state: paths.state(),
        layers: spec.layers.clone(),
        upper: layer.join("upper"),
        work: layer.join("work"),
        tty: spec.tty,
        oom_score_adj: spec.resources.oom_score_adj.unwrap_or(0),
        uid: spec.uid,
        gid: spec.gid,
        cwd: spec.cwd.clone(),
        seccomp,
        drop_sys_admin: lend_sys_admin,
        capabilities: granted.iter().map(|c| (*c).to_owned()).collect(),
        native: (shared.kind == Kind::Process).then(place),
        microvm: shared.machines.as_ref().map(|host| Microvm {
            program: host.program.clone(),
            native: place(),
            kernel: (shared.kind == Kind::Unikernel)
                .then(|| (unikernel::kernel(spec, unikraft), unikernel::place(&directory))),
        }),
        wasm: guest,
    };
    let context = Context {
        sandbox: &sandbox.spec,
        paths,
        shim: shim.pid,
        reaper: shim.reaper,
        cgroup: shared.cgroups.absolute(&name),
        unified: shared.cgroups.unified(),
        capabilities: &granted,
        lend_sys_admin,
        devices: &devices,
        guest: shared.kind == Kind::Wasm,
    };
    for made in [&directory.join("rootfs"), &bundle.upper, &bundle.work] {
        fs::create_dir_all(made).map_err(io_error("creating", made))?;
    }
    if let Some(parent) = spec.log_path.parent() {
        fs::create_dir_all(parent).map_err(io_error("creating", parent))?;
    }
    let json = serde_json::to_vec(&bundle).map_err(std::io::Error::from);
    let path = directory.join(bundle::FILE);
    json.and_then(|json| fs::write(&path, json)).map_err(io_error("writing", &path))?;
    let path = directory.join(bundle::CONFIG);
    fs::write(&path, config(spec, &context).to_string()).map_err(io_error("writing", &path))?;
    if let Some(host) = &shared.machines {
        let end_together = shared.cgroups.unified();
        let root = directory.join("rootfs");
        let mut machine = match shared.kind {
            Kind::Unikernel => unikernel::machine(spec, host, &unikernel::place(&directory), unikraft),
            _ => plan::microvm::machine(spec, &sandbox.spec, host, &granted, &root, end_together),
        };
        machine.oom_file = text(&shared.cgroups.oom_file(&name));
        let path = directory.join(dunlin_guest::MACHINE);
        fs::write(&path, machine.encode()).map_err(io_error("writing", &path))?;
    }
    Ok(request(shared, spec, &directory, &name))
}

/// Where guests may share a process, in a cgroup beside the pods'.
fn hosts(shared: &Shared) -> Hosts {
    Hosts {
        directory: shared.layout.hosts(),
        cgroups: shared.cgroups.procs_files(HOSTS),
        holder: shared.shim_program.clone(),
    }
}

/// What a container uses. What a guest in a shared process uses, that process tells.
pub fn stats(shared: &Shared, sandbox: &Sandbox, id: &ContainerId) -> Option<Stats> {
    if !is_name(&id.0) || !sandbox.paths.bundle(id).exists() {
        return None;
    }
    let name = cgroup(sandbox, id);
    let mut stats = shared.cgroups.stats(&name)?;
    if is_shared(sandbox, id) {
        let (cpu, memory) = shared.cgroups.processes(&name).into_iter().find_map(told).unwrap_or_default();
        stats.cpu_nanoseconds += cpu;
        stats.memory_working_set += memory;
        stats.memory_usage += memory;
    }
    Some(stats)
}

/// What was written into the memory of a process that stands for a guest.
fn told(pid: i32) -> Option<(u64, u64)> {
    let path = format!("/proc/{pid}/fd/{}", dunlin_shim::hold::USED_FD);
    // What else has such a descriptor is no memory of this name.
    let link = fs::read_link(&path).ok()?;
    link.to_str()?.starts_with(&format!("/memfd:{USED} ")).then_some(())?;
    let mut bytes = [0; 16];
    fs::File::open(&path).ok()?.read_exact_at(&mut bytes, 0).ok()?;
    let (cpu, memory) = bytes.split_at(8);
    Some((u64::from_ne_bytes(cpu.try_into().ok()?), u64::from_ne_bytes(memory.try_into().ok()?)))
}

/// What people should know of how a container runs.
pub fn remark(shared: &Shared, sandbox: &Sandbox, id: &ContainerId) -> Option<String> {
    (shared.kind == Kind::Wasm && is_name(&id.0) && is_shared(sandbox, id)).then(|| SHARING.to_owned())
}

/// Whether a container's guest runs in a process that it shares.
fn is_shared(sandbox: &Sandbox, id: &ContainerId) -> bool {
    sandbox.paths.bundle(id).join(bundle::SHARED).exists()
}

fn request(shared: &Shared, spec: &ContainerSpec, directory: &Path, cgroup: &str) -> Start {
    // A machine's want of memory is the guest's, of which its monitor tells.
    let oom_file = match &shared.machines {
        Some(_) => directory.join(dunlin_guest::OOM_FILE),
        None => shared.cgroups.oom_file(cgroup),
    };
    Start {
        container: spec.id.0.clone(),
        executable: text(&shared.executable),
        bundle: text(directory),
        log_path: text(&spec.log_path),
        log_max_size: spec.log_max_size,
        log_max_files: spec.log_max_files,
        tty: spec.tty,
        stdin: spec.stdin,
        stdin_once: spec.stdin_once,
        cgroup_procs: text(&shared.cgroups.procs_file(cgroup)),
        oom_file: text(&oom_file),
        timeout_ms: patience(shared).as_millis() as u32,
    }
}

/// The devices of a container: those asked for, and for a privileged one every device of the host.
fn devices(spec: &ContainerSpec) -> Result<Vec<Device>, Error> {
    let mut all = Vec::new();
    for (host, inside, access) in &spec.devices {
        let wrong = |reason: String| Error::Spec { field: format!("devices[{}]", host.display()), reason };
        let before = all.len();
        look_up(host, inside, access, &mut all).map_err(|e| wrong(e.to_string()))?;
        if all.len() == before {
            return Err(wrong("is not a device".into()));
        }
    }
    if spec.privileged {
        // What the host does not let us see cannot be given.
        let _ = look_up(Path::new("/dev"), Path::new("/dev"), "rwm", &mut all);
        const OWN: [&str; 8] = ["console", "full", "null", "ptmx", "random", "tty", "urandom", "zero"];
        all.retain(|d| !OWN.iter().any(|name| d.path == format!("/dev/{name}")));
    }
    all.dedup_by(|a, b| a.path == b.path);
    Ok(all)
}

/// A device node, or all below a directory (`/dev/snd`).
fn look_up(host: &Path, inside: &Path, access: &str, all: &mut Vec<Device>) -> std::io::Result<()> {
    let meta = fs::metadata(host)?;
    let kind = meta.file_type();
    if kind.is_dir() {
        for entry in fs::read_dir(host)?.flatten() {
            let name = entry.file_name();
            let skipped = ["pts", "shm", "mqueue", "fd", "core", "hugepages"].iter().any(|s| name == *s);
            if !skipped && entry.file_type().is_ok_and(|t| !t.is_symlink()) {
                let _ = look_up(&entry.path(), &inside.join(&name), access, all);
            }
        }
    } else if kind.is_char_device() || kind.is_block_device() {
        all.push(Device {
            path: text(inside),
            kind: if kind.is_char_device() { 'c' } else { 'b' },
            major: rustix::fs::major(meta.rdev()),
            minor: rustix::fs::minor(meta.rdev()),
            mode: meta.mode() & 0o777,
            uid: meta.uid(),
            gid: meta.gid(),
            access: access.to_owned(),
        });
    }
    Ok(())
}

/// Removes what a container that does not run has left.
pub async fn clean(shared: &Shared, sandbox: &Sandbox, id: &ContainerId) -> Result<(), Error> {
    let paths = &sandbox.paths;
    let directories = [paths.layer(id), paths.state().join(&id.0), paths.bundle(id)];
    if directories.iter().any(|d| d.exists()) {
        remove_cgroup(&shared.cgroups, &cgroup(sandbox, id)).await?;
        blocking(move || directories.iter().try_for_each(|d| remove_directory(d))).await?;
    }
    Ok(())
}

async fn remove_cgroup(cgroups: &Cgroups, name: &str) -> Result<(), Error> {
    cgroups.kill(name).await.map_err(cgroup_error)?;
    cgroups.remove(name).await.map_err(cgroup_error)
}
