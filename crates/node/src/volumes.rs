//! Persistent volumes that were made on this node and are being deleted: what is behind each is removed, then its object
//! is let go.
//!
//! The finalizer [`storage::LOCAL_PATH`] keeps the object until that is done, so that nothing is forgotten while the node
//! is away. Only the API's word that a volume is being deleted removes anything; that it knows no such volume does not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dunlin_api::names::{finalizer, label, storage};
use dunlin_base::error::chain;
use dunlin_base::task::Task;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;

/// How often a removal that could not be made is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// What is behind volumes.
pub trait Backing: Send + Sync + 'static {
    /// Removes what is behind the volume, if its policy wants that. `false`: it is in use, or on its way; ask again.
    /// The error is for people.
    fn remove<'a>(
        &'a self,
        volume: &'a PersistentVolume,
        policy: Policy,
    ) -> BoxFuture<'a, Result<bool, String>>;
}

/// What becomes of the data of a volume that goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    Delete,
    /// It stays, and nobody keeps account of it any more.
    Retain,
}

/// Follows the volumes of `node`.
pub fn start(client: Client, node: &str, backing: Arc<dyn Backing>) -> Task {
    let own = format!("{}={}", label::VOLUME_NODE, storage::node_label(node));
    Task::spawn("volumes", async move {
        let api: Api<PersistentVolume> = Api::all(client);
        // Volumes change seldom, so a list now and then costs less than a bookmark every minute.
        let config = watcher::Config::default().labels(&own).disable_bookmarks();
        let mut events = std::pin::pin!(watcher(api.clone(), config).default_backoff());
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
                    Some(Ok(event)) => take(&mut going, event),
                    Some(Err(error)) => {
                        tracing::debug!(error = chain(&error), "following volumes failed, trying again");
                    }
                    None => return,
                },
                () = again => {}
            }
            let mut done = Vec::new();
            for (name, volume) in &going {
                match let_go(&*backing, &api, name, volume).await {
                    Ok(true) => done.push(name.clone()),
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(volume = name, error, "a deleted volume could not be removed")
                    }
                }
            }
            for name in done {
                going.remove(&name);
            }
        }
    })
}

fn take(going: &mut BTreeMap<String, PersistentVolume>, event: watcher::Event<PersistentVolume>) {
    match event {
        watcher::Event::Init => going.clear(),
        watcher::Event::InitApply(volume) | watcher::Event::Apply(volume) => {
            let name = volume.metadata.name.clone().unwrap_or_default();
            match waits_for_node(&volume) {
                true => going.insert(name, volume),
                false => going.remove(&name),
            };
        }
        watcher::Event::Delete(volume) => {
            going.remove(volume.metadata.name.as_deref().unwrap_or_default());
        }
        watcher::Event::InitDone => {}
    }
}

/// Whether the volume is being deleted and only what is behind it keeps it.
fn waits_for_node(volume: &PersistentVolume) -> bool {
    let has = |name: &str| volume.metadata.finalizers.iter().flatten().any(|f| f == name);
    volume.metadata.deletion_timestamp.is_some() && has(storage::LOCAL_PATH) && !has(finalizer::PV_PROTECTION)
}

/// One step towards the end of a volume; true once its object does not wait for this node any more.
async fn let_go(
    backing: &dyn Backing,
    api: &Api<PersistentVolume>,
    name: &str,
    volume: &PersistentVolume,
) -> Result<bool, String> {
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    let policy = if policy == Some("Delete") { Policy::Delete } else { Policy::Retain };
    if !backing.remove(volume, policy).await? {
        return Ok(false);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_deleted_and_unclaimed_is_removed() {
        let check = |deleted: bool, finalizers: &[&str], want: bool| {
            let mut volume = json!({"metadata": {"name": "v", "finalizers": finalizers}});
            if deleted {
                volume["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            let volume: PersistentVolume = serde_json::from_value(volume).expect("a volume");
            let mut going = BTreeMap::new();
            take(&mut going, watcher::Event::Apply(volume));
            assert_eq!(going.contains_key("v"), want, "{deleted} {finalizers:?}");
        };
        check(true, &[storage::LOCAL_PATH], true);
        check(true, &[storage::LOCAL_PATH, "other/one"], true);
        check(false, &[storage::LOCAL_PATH], false);
        check(true, &["other/one"], false);
        check(true, &[storage::LOCAL_PATH, finalizer::PV_PROTECTION], false);
    }
}
