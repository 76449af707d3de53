//! Containers: made and started once, ended, looked at, removed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dunlin_base::task::Task;
use dunlin_grpc::wire::Message;
use dunlin_runtime::{
    ContainerId, ContainerSpec, ContainerState, ContainerStatus, Error, ExitStatus, Mount, SandboxId, Stats,
};
use tokio::sync::oneshot;

use crate::call::{self, nothing};
use crate::message::{self, Container, Sandbox, State, Status, selector, time};
use crate::plan;
use crate::runtime::{Shared, lock};
use crate::{sandbox, volumes};

/// A container that is asked to end is given so long by the daemon, seconds: the agent has its own clock, and kills.
const GRACE: i64 = 30 * 86_400;
/// How long a request to end is watched for being refused; an answer comes only when the container has ended.
const HEARD: Duration = Duration::from_millis(100);
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// Our id of a container.
pub fn id_of(container: &Container) -> ContainerId {
    ContainerId(container.labels.get(plan::CONTAINER).cloned().unwrap_or_default())
}

async fn list(shared: &Shared, sandbox: &str, more: &[(&str, &str)]) -> Result<Vec<Container>, Error> {
    let labels: Vec<(&str, &str)> = shared.owner.labels().into_iter().chain(more.iter().copied()).collect();
    let filter = selector(4, &labels).text(3, sandbox);
    shared.link.ask(call::CONTAINERS, Message::default().message(1, filter), message::containers).await
}

/// All containers of this runtime, as the daemon lists them.
pub async fn everywhere(shared: &Shared) -> Result<Vec<Container>, Error> {
    list(shared, "", &[]).await
}

/// The containers of a sandbox that were started. `sandbox` is the daemon's id.
pub async fn all(shared: &Shared, sandbox: &str) -> Result<Vec<ContainerStatus>, Error> {
    let mut found = Vec::new();
    for container in list(shared, sandbox, &[]).await? {
        found.extend(status(shared, &container).await?);
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

/// A container as the daemon lists it.
pub async fn find(shared: &Shared, sandbox: &Sandbox, id: &ContainerId) -> Result<Option<Container>, Error> {
    Ok(list(shared, &sandbox.id, &[(plan::CONTAINER, &id.0)]).await?.pop())
}

/// The same, of a container that has to be there.
pub async fn expect(shared: &Shared, id: &SandboxId, container: &ContainerId) -> Result<Container, Error> {
    let sandbox = sandbox::find(shared, id).await?;
    let found = find(shared, &sandbox, container).await?;
    found.ok_or_else(|| Error::NoContainer(id.clone(), container.clone()))
}

/// The same, of a container that has to run.
pub async fn running(shared: &Shared, id: &SandboxId, container: &ContainerId) -> Result<Container, Error> {
    let found = expect(shared, id, container).await?;
    if found.state == State::Running { Ok(found) } else { Err(Error::NotRunning(container.clone())) }
}

/// A container as it is; `None` if it was never started, or is gone by now.
pub async fn status(shared: &Shared, container: &Container) -> Result<Option<ContainerStatus>, Error> {
    if container.state == State::Created {
        return Ok(None);
    }
    // Only a verbose answer has the process, and it is long; the process never changes.
    let known = lock(&shared.processes).get(&container.id).copied();
    let verbose = i64::from(known.is_none() && container.state == State::Running);
    let request = Message::default().text(1, &container.id).int(2, verbose);
    let Some(seen) = shared.link.find(call::CONTAINER, request, message::status).await? else {
        return Ok(None);
    };
    let pid = known.unwrap_or(seen.pid);
    if seen.pid != 0 {
        lock(&shared.processes).insert(container.id.clone(), seen.pid);
    }
    let state = match seen.state {
        State::Created => return Ok(None),
        State::Running => ContainerState::Running { pid, started: time(seen.started) },
        State::Exited | State::Unknown => ContainerState::Exited(exit(&seen)),
    };
    Ok(Some(ContainerStatus { id: id_of(container), state }))
}

/// How a container ended. CRI has a code only; above 128 it is a signal by the convention that all runtimes follow.
fn exit(seen: &Status) -> ExitStatus {
    ExitStatus {
        // Daemons note a start when it was reported, and the process may be dead by then.
        started: time(seen.started.min(seen.finished)),
        code: seen.exit_code,
        signal: signal_of(seen.exit_code),
        oom_killed: seen.reason == "OOMKilled",
        finished: time(seen.finished),
    }
}

/// The signal that an exit code stands for.
pub fn signal_of(code: i32) -> Option<i32> {
    code.checked_sub(128).filter(|signal| (1..=64).contains(signal))
}

/// Starts a container, or gives the one that is there.
pub async fn start(shared: &Shared, id: &SandboxId, spec: &ContainerSpec) -> Result<ContainerStatus, Error> {
    let found = sandbox::find(shared, id).await?;
    let container = match find(shared, &found, &spec.id).await? {
        Some(there) => match status(shared, &there).await? {
            Some(status) => return Ok(status),
            None => there.id,
        },
        None => create(shared, &found, spec).await?,
    };
    let request = || Message::default().text(1, &container);
    let started = shared.link.ask(call::START, request(), nothing).await;
    shared.wake.notify_one();
    if let Err(error) = started {
        // A start that the daemon refused has left a dead container, which nobody is to find.
        if let Err(left) = shared.link.find(call::REMOVE, request(), nothing).await {
            let error = dunlin_base::error::chain(&left);
            tracing::warn!(container = %spec.id, error, "a container that could not be started is left");
        }
        return Err(refused(spec, error));
    }
    sandbox::limit_processes(shared, &found, &container, &spec.resources)?;
    let there = find(shared, &found, &spec.id).await?;
    let status = match there {
        Some(there) => status(shared, &there).await?,
        None => None,
    };
    status.ok_or_else(|| Error::NoContainer(id.clone(), spec.id.clone()))
}

async fn create(shared: &Shared, found: &Sandbox, spec: &ContainerSpec) -> Result<String, Error> {
    let of = plan::spec_of(&found.annotations).ok_or_else(|| Error::Spec {
        field: "sandbox".into(),
        reason: "its specification is not among its annotations any more".into(),
    })?;
    plan::check(&of, spec)?;
    if let Some(folder) = spec.log_path.parent() {
        std::fs::create_dir_all(folder).map_err(|source| Error::Io {
            operation: "creating",
            path: folder.to_owned(),
            source,
        })?;
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let travels = |path: &Path| {
        let path = path.canonicalize();
        path.is_ok_and(|path| volumes::travels(&mounts, &path))
    };
    let source = |mount: &Mount| shared.volumes.source(&of.id, mount);
    let config = plan::container(&shared.owner, &of, spec, source, travels);
    let cgroup = shared.cgroups.absolute(&of.cgroup);
    let request = Message::default()
        .text(1, &found.id)
        .message(2, config)
        .message(3, plan::sandbox(&shared.owner, &cgroup, &of));
    let created = shared.link.ask(call::CREATE, request, |answer| message::text(answer, 1)).await;
    created.map_err(|error| refused(spec, error))
}

/// What a daemon said against a container, in our words where it is the command's fault.
fn refused(spec: &ContainerSpec, error: Error) -> Error {
    match &error {
        Error::Daemon { reason, .. } => {
            plan::refusal(spec.args.first().map_or("", String::as_str), reason).unwrap_or(error)
        }
        _ => error,
    }
}

/// Ends a container: at once, or by the signal that its image wants, which is `SIGTERM` unless that says otherwise.
/// The task waits for the end, and ends nothing when it is dropped.
pub async fn signal(
    shared: &Arc<Shared>,
    id: &SandboxId,
    container: &ContainerId,
    signal: i32,
) -> Result<Option<Task>, Error> {
    let found = expect(shared, id, container).await?;
    if matches!(found.state, State::Exited | State::Created) {
        return Ok(None);
    }
    match signal {
        SIGKILL => {
            let request = Message::default().text(1, &found.id);
            shared.link.find(call::KILL, request, nothing).await?;
            shared.wake.notify_one();
            Ok(None)
        }
        SIGTERM => {
            let (tell, told) = oneshot::channel();
            let shared = shared.clone();
            let task = Task::spawn("cri stop", async move {
                let request = Message::default().text(1, &found.id).int(2, GRACE);
                let ended = shared.link.find(call::STOP, request, nothing).await;
                shared.wake.notify_one();
                // Nobody listens any more when it took long.
                let _ = tell.send(ended);
            });
            match tokio::time::timeout(HEARD, told).await {
                Ok(Ok(Err(error))) => Err(error),
                Ok(_) => Ok(None),
                Err(_) => Ok(Some(task)),
            }
        }
        _ => Err(Error::Unsupported {
            runtime: "cri",
            operation: "send any signal but SIGTERM and SIGKILL (set STOPSIGNAL in the image instead)",
        }),
    }
}

/// Removes a container that does not run. Absent is success.
pub async fn remove(shared: &Shared, id: &SandboxId, container: &ContainerId) -> Result<(), Error> {
    let found = match expect(shared, id, container).await {
        Ok(found) => found,
        Err(Error::NoSandbox(_) | Error::NoContainer(..)) => return Ok(()),
        Err(error) => return Err(error),
    };
    if found.state == State::Running {
        // The daemon would end it.
        return Err(shared.link.failed(call::REMOVE, format!("container {container} still runs")));
    }
    shared.link.find(call::REMOVE, Message::default().text(1, &found.id), nothing).await?;
    lock(&shared.processes).remove(&found.id);
    Ok(())
}

/// What a container uses. Its processes are counted by its cgroup, where the runtime below puts them there.
pub async fn stats(shared: &Shared, id: &SandboxId, container: &ContainerId) -> Result<Stats, Error> {
    let sandbox = sandbox::find(shared, id).await?;
    let found = find(shared, &sandbox, container).await?;
    let found = found.ok_or_else(|| Error::NoContainer(id.clone(), container.clone()))?;
    let request = Message::default().text(1, &found.id);
    let usage = shared.link.ask(call::STATS, request, message::usage).await?;
    let cgroup = sandbox::container_cgroup(&sandbox, &found.id);
    let counted = cgroup.and_then(|cgroup| shared.cgroups.stats(&cgroup));
    Ok(Stats {
        cpu_nanoseconds: usage.cpu_nanoseconds,
        memory_working_set: usage.memory_working_set,
        memory_usage: usage.memory_usage,
        pids: counted.map_or(0, |stats| stats.pids),
    })
}
