//! Sandboxes: found by our labels, made once, and removed with all that belongs to them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use dunlin_grpc::wire::Message;
use dunlin_runtime::{Error, Resources, SandboxId, SandboxSpec, SandboxStatus};
use dunlin_runtime_oci::validate;

use crate::call::{self, nothing};
use crate::container;
use crate::message::{self, Sandbox, selector};
use crate::plan::{self, sandbox_label};
use crate::runtime::{Shared, lock};

/// Our id of a sandbox.
fn id_of(sandbox: &Sandbox) -> SandboxId {
    SandboxId(sandbox.labels.get(plan::SANDBOX).cloned().unwrap_or_default())
}

/// Every sandbox that is ours. There can be no two of one id: the daemon keeps names apart.
async fn list(shared: &Shared, more: &[(&str, &str)]) -> Result<Vec<Sandbox>, Error> {
    let labels: Vec<(&str, &str)> = shared.owner.labels().into_iter().chain(more.iter().copied()).collect();
    let request = Message::default().message(1, selector(3, &labels));
    shared.link.ask(call::SANDBOXES, request, message::sandboxes).await
}

/// The sandbox of an id, as the daemon lists it.
pub async fn find(shared: &Shared, id: &SandboxId) -> Result<Sandbox, Error> {
    let found = list(shared, &[sandbox_label(id)]).await?.pop();
    found.ok_or_else(|| Error::NoSandbox(id.clone()))
}

/// Our id and the daemon's of all that are not alive, and those of all there are.
pub async fn survey(shared: &Shared) -> Result<Vec<(SandboxId, bool)>, Error> {
    let all = list(shared, &[]).await?;
    Ok(all.into_iter().map(|sandbox| (id_of(&sandbox), sandbox.ready)).collect())
}

/// Every sandbox with its containers.
pub async fn all(shared: &Shared) -> Result<Vec<SandboxStatus>, Error> {
    let mut found = Vec::new();
    for sandbox in list(shared, &[]).await? {
        found.push(status(shared, &sandbox).await?);
    }
    Ok(found)
}

/// A sandbox with its containers.
pub async fn status(shared: &Shared, sandbox: &Sandbox) -> Result<SandboxStatus, Error> {
    let containers = container::all(shared, &sandbox.id).await?;
    let host = plan::spec_of(&sandbox.annotations).is_some_and(|spec| spec.host_network);
    let network_namespace =
        if host || !sandbox.ready { None } else { network_namespace(shared, &sandbox.id).await? };
    Ok(SandboxStatus {
        id: id_of(sandbox),
        alive: sandbox.ready,
        created: message::time(sandbox.created),
        network_namespace,
        containers,
    })
}

/// The file that stands for the sandbox's network. It never changes, so it is asked for once.
async fn network_namespace(shared: &Shared, id: &str) -> Result<Option<PathBuf>, Error> {
    if let Some(known) = lock(&shared.namespaces).get(id) {
        return Ok(Some(known.clone()));
    }
    let request = Message::default().text(1, id).int(2, 1);
    let info = shared.link.ask(call::SANDBOX, request, |answer| message::info(answer, 2)).await?;
    let path = message::network_namespace(&info).map(PathBuf::from);
    if let Some(path) = &path {
        lock(&shared.namespaces).insert(id.to_owned(), path.clone());
    }
    Ok(path)
}

/// Makes a sandbox, or gives the one that is there. One that is there and dead is made anew.
pub async fn create(shared: &Shared, spec: &SandboxSpec) -> Result<SandboxStatus, Error> {
    validate::sandbox(spec)?;
    match find(shared, &spec.id).await {
        Ok(sandbox) if sandbox.ready => return status(shared, &sandbox).await,
        Ok(_) => remove(shared, &spec.id).await?,
        Err(Error::NoSandbox(_)) => {}
        Err(error) => return Err(error),
    }
    let made = make(shared, spec).await;
    if let Err(error) = made {
        // The daemon cleans up after a sandbox that it could not make; what it did not make is ours.
        if let Err(left) = clean(shared, &spec.id, &spec.cgroup).await {
            let error = dunlin_base::error::chain(&left);
            tracing::warn!(sandbox = %spec.id, error, "a sandbox that could not be made left traces");
        }
        return Err(error);
    }
    let sandbox = find(shared, &spec.id).await?;
    status(shared, &sandbox).await
}

async fn make(shared: &Shared, spec: &SandboxSpec) -> Result<(), Error> {
    shared.cgroups.create(&spec.cgroup, &spec.resources).map_err(cgroup_error)?;
    shared.volumes.make(spec)?;
    let config = plan::sandbox(&shared.owner, &shared.cgroups.absolute(&spec.cgroup), spec);
    let request = Message::default().message(1, config).text(2, &shared.config.handler.runtime);
    shared.link.ask(call::RUN_SANDBOX, request, nothing).await
}

/// Ends and removes a sandbox. Absent is success.
pub async fn remove(shared: &Shared, id: &SandboxId) -> Result<(), Error> {
    let found = list(shared, &[sandbox_label(id)]).await?;
    for sandbox in &found {
        let request = || Message::default().text(1, &sandbox.id);
        shared.link.find(call::STOP_SANDBOX, request(), nothing).await?;
        shared.link.find(call::REMOVE_SANDBOX, request(), nothing).await?;
        lock(&shared.namespaces).remove(&sandbox.id);
        let cgroup = plan::spec_of(&sandbox.annotations).map(|spec| spec.cgroup);
        if let Some(cgroup) = cgroup {
            shared.cgroups.remove(&cgroup).await.map_err(cgroup_error)?;
        }
    }
    shared.volumes.remove(id)
}

/// Removes what is ours of a sandbox that the daemon does not have.
async fn clean(shared: &Shared, id: &SandboxId, cgroup: &str) -> Result<(), Error> {
    if !list(shared, &[sandbox_label(id)]).await?.is_empty() {
        return Ok(());
    }
    shared.cgroups.remove(cgroup).await.map_err(cgroup_error)?;
    shared.volumes.remove(id)
}

/// Takes away what sandboxes that are gone have left here.
pub async fn tidy(shared: &Shared) -> Result<(), Error> {
    let there: BTreeSet<SandboxId> = survey(shared).await?.into_iter().map(|(id, _)| id).collect();
    shared.volumes.retain(&there)
}

/// Sets the limit that CRI has no word for, once a container runs: before, the runtime below needs more for itself.
/// A container that has no cgroup of its own, as a virtual machine's or a dead one, is left alone.
pub fn limit_processes(
    shared: &Shared,
    sandbox: &Sandbox,
    container: &str,
    limits: &Resources,
) -> Result<(), Error> {
    let limits = Resources { pids_limit: limits.pids_limit, ..Resources::default() };
    let cgroup = container_cgroup(sandbox, container).filter(|cgroup| shared.cgroups.stats(cgroup).is_some());
    match cgroup {
        Some(cgroup) if limits.pids_limit.is_some() => {
            shared.cgroups.create(&cgroup, &limits).map_err(cgroup_error)
        }
        _ => Ok(()),
    }
}

/// Where daemons put a container, relative to our root. Ids are the daemon's.
pub fn container_cgroup(sandbox: &Sandbox, container: &str) -> Option<String> {
    plan::spec_of(&sandbox.annotations).map(|spec| format!("{}/{container}", spec.cgroup))
}

fn cgroup_error(error: dunlin_runtime_oci::CgroupError) -> Error {
    let (operation, path, source) = error.into_parts();
    Error::Io { operation, path, source }
}
