//! `dunlin reset`: this machine without Dunlin's pods, network and cgroups. The data directory's content goes last.

use std::path::Path;

use dunlin_base::error::chain;
use dunlin_runtime::Runtime;
use dunlin_runtime_oci::Kind;

use crate::error::{Doing, Error};
use crate::layout::{self, Layout};
use crate::{agent, cri};

/// Ends every pod of this node and removes what it left on the machine; with `everything` also the data directory's
/// content. Only what carries this node's identity is touched.
///
/// # Errors
/// When something could not be removed; what could be removed is gone.
pub async fn run(data_dir: &Path, everything: bool) -> Result<(), Error> {
    if !data_dir.join("VERSION").exists() {
        return Ok(());
    }
    let layout = Layout::open(data_dir)?;
    let id = layout.node_id()?;
    let mut failures = Vec::new();
    let containers = agent::open(&layout, &id, Kind::Oci).await?;
    let others = [Kind::Process, Kind::Wasm, Kind::Microvm, Kind::Unikernel];
    let others = others.map(|kind| agent::open(&layout, &id, kind));
    let others = futures_util::future::try_join_all(others).await?;
    for runtime in others.iter().chain([&containers]) {
        for sandbox in runtime.sandboxes().await.doing("listing this node's pods")? {
            if let Err(error) = runtime.remove_sandbox(&sandbox.id).await {
                failures.push(chain(&error));
            }
        }
    }
    failures.extend(cri::leave(&layout, &id).await?);
    containers.remove_root().await.doing("removing this node's cgroups")?;
    dunlin_net::remove_all(&id).await.doing("removing this node's network")?;
    remove(&layout::run_dir(&id))?;
    if everything {
        for entry in std::fs::read_dir(layout.root()).doing("reading the data directory")? {
            remove(&entry.doing("reading the data directory")?.path())?;
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Error::Input(format!("some pods could not be removed: {}", failures.join("; "))))
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).doing(format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}
