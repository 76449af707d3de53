//! Removes directories of the class `local-path` whose volume is being deleted, and then lets the volume go.
//!
//! The volume's finalizer keeps its object until that is done, so that nothing is forgotten while this node is away. A
//! directory goes only when the API says that its volume is being deleted, its policy is Delete, no claim has it, and no
//! pod here uses it; that the API knows no such volume removes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dunlin_api::names::{finalizer, label, storage};
use dunlin_base::error::chain;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;

use crate::agent::{Pods, Shared};

/// How often a deletion that could not be made is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Follows the volumes of this node, forever.
pub async fn run(shared: Arc<Shared>, pods: Arc<Pods>) {
    let api: Api<PersistentVolume> = Api::all(shared.client.clone());
    let own = format!("{}={}", label::VOLUME_NODE, storage::node_label(&shared.config.node_name));
    let mut events =
        std::pin::pin!(watcher(api.clone(), watcher::Config::default().labels(&own)).default_backoff());
    let mut going: BTreeMap<String, PersistentVolume> = BTreeMap::new();
    loop {
        let again = async {
            match going.is_empty() {
                true => std::future::pending().await,
                false => tokio::time::sleep(AGAIN).await,
            }
        };
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(watcher::Event::Init)) => going.clear(),
                Some(Ok(watcher::Event::InitApply(volume) | watcher::Event::Apply(volume))) => {
                    let name = volume.metadata.name.clone().unwrap_or_default();
                    match waits_for_us(&volume) {
                        true => going.insert(name, volume),
                        false => going.remove(&name),
                    };
                }
                Some(Ok(watcher::Event::Delete(volume))) => {
                    going.remove(volume.metadata.name.as_deref().unwrap_or_default());
                }
                Some(Ok(watcher::Event::InitDone)) => {}
                Some(Err(error)) => tracing::debug!(error = chain(&error), "following volumes failed, trying again"),
                None => return,
            },
            () = again => {}
        }
        let mut done = Vec::new();
        for (name, volume) in &going {
            match let_go(&shared, &pods, &api, name, volume).await {
                Ok(gone) if gone => done.push(name.clone()),
                Ok(_) => {}
                Err(error) => tracing::warn!(volume = name, error, "a deleted volume could not be removed"),
            }
        }
        done.iter().for_each(|name| drop(going.remove(name)));
    }
}

/// Whether the volume is being deleted and only its directory keeps it.
fn waits_for_us(volume: &PersistentVolume) -> bool {
    let has = |name: &str| volume.metadata.finalizers.iter().flatten().any(|f| f == name);
    volume.metadata.deletion_timestamp.is_some() && has(storage::LOCAL_PATH) && !has(finalizer::PV_PROTECTION)
}

/// Removes the directory and the finalizer; false while a pod uses the volume.
async fn let_go(
    shared: &Shared,
    pods: &Pods,
    api: &Api<PersistentVolume>,
    name: &str,
    volume: &PersistentVolume,
) -> Result<bool, String> {
    if pods.use_volume(name) {
        return Ok(false);
    }
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    if policy == Some("Delete") {
        let path = shared.disk.volume(name);
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(path)).await;
        match removed.map_err(|e| e.to_string())? {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.to_string()),
            _ => tracing::info!(volume = name, "removed the directory of a deleted volume"),
        }
    }
    let left: Vec<&String> =
        volume.metadata.finalizers.iter().flatten().filter(|f| *f != storage::LOCAL_PATH).collect();
    let patch =
        json!({"metadata": {"finalizers": left, "resourceVersion": volume.metadata.resource_version}});
    match api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(true),
        // The change is on its way to us.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(chain(&error)),
    }
}
