//! Volumes on persistent volume claims: what is behind a claim, and the directories of the class `local-path`.
//!
//! The API is asked once for each pod. A bound claim never gets another volume, so the answer is kept on disk as long as
//! the pod and serves without a server, also after a reboot.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use dunlin_api::names::{annotation, label, storage};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use kube::api::Api;
use serde::{Deserialize, Serialize};

use crate::agent::Shared;
use crate::disk::Disk;
use crate::volumes;

/// How long one answer of the API is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is behind a claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Behind {
    /// Name of the PersistentVolume.
    volume: String,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Place {
    /// A directory that this agent makes and removes.
    Own,
    /// A directory that a person made.
    Local(String),
    /// A path on this machine, and the type that it must have.
    Host(String, String),
}

/// The claim of a volume, in the pod's namespace; the second says whether the pod must own it.
pub fn claim(pod: &Pod, volume: &Volume) -> Option<(String, bool)> {
    if let Some(source) = &volume.persistent_volume_claim {
        return Some((source.claim_name.clone(), false));
    }
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    volume.ephemeral.as_ref().map(|_| (format!("{name}-{}", volume.name), true))
}

/// Finds what is behind the claim of a volume, and makes it if it is ours to make.
pub async fn prepare(shared: &Shared, pod: &Pod, volume: &Volume, group: Option<u32>) -> Result<(), String> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let mut all = read(&shared.disk, uid);
    let behind = match all.get(&volume.name) {
        Some(known) => known.clone(),
        None => {
            let found = ask(shared, pod, volume).await?;
            all.insert(volume.name.clone(), found.clone());
            let bytes = serde_json::to_vec(&all).unwrap_or_default();
            crate::disk::write(&shared.disk.claims(uid), &bytes, 0o600, true).map_err(|e| e.to_string())?;
            found
        }
    };
    match &behind.place {
        Place::Own => {
            let path = shared.disk.volume(&behind.volume);
            volumes::directory(&path, 0o777, group)?;
            give(&path, group)
        }
        Place::Local(path) => {
            let path = Path::new(path);
            if !path.is_dir() {
                return Err(format!("path {:?} does not exist", path.display().to_string()));
            }
            give(path, group)
        }
        Place::Host(path, kind) => volumes::host_path(Path::new(path), kind),
    }
}

/// The path behind the claim of a volume, once it is prepared.
pub fn source(disk: &Disk, uid: &str, volume: &str) -> Option<String> {
    let behind = read(disk, uid).remove(volume)?;
    Some(match behind.place {
        Place::Own => disk.volume(&behind.volume).display().to_string(),
        Place::Local(path) | Place::Host(path, _) => path,
    })
}

/// Whether the pod was given this PersistentVolume.
pub fn uses(disk: &Disk, uid: &str, volume: &str) -> bool {
    read(disk, uid).values().any(|behind| behind.volume == volume)
}

fn read(disk: &Disk, uid: &str) -> BTreeMap<String, Behind> {
    crate::disk::read(&disk.claims(uid)).unwrap_or_default()
}

/// The volume's own directory belongs to the pod's group from now on; what is in it stays as it is.
fn give(path: &Path, group: Option<u32>) -> Result<(), String> {
    let text = |e: std::io::Error| e.to_string();
    let now = std::fs::metadata(path).map_err(text)?;
    if group.is_some_and(|group| group != now.gid()) {
        std::os::unix::fs::chown(path, None, group).map_err(text)?;
        let mode = std::fs::Permissions::from_mode(now.mode() & 0o7777 | 0o2070);
        std::fs::set_permissions(path, mode).map_err(text)?;
    }
    Ok(())
}

async fn ask(shared: &Shared, pod: &Pod, volume: &Volume) -> Result<Behind, String> {
    let (name, owned) = claim(pod, volume).ok_or("the volume is on no claim")?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<PersistentVolumeClaim> = Api::namespaced(shared.client.clone(), namespace);
    let claim = get(&api, &name).await?.ok_or_else(|| format!("persistentvolumeclaim {name:?} not found"))?;
    let uid = &pod.metadata.uid;
    let owners = || claim.metadata.owner_references.iter().flatten();
    if owned && !owners().any(|owner| owner.controller == Some(true) && Some(&owner.uid) == uid.as_ref()) {
        return Err(format!("PVC {namespace}/{name} was not created for the pod (the pod is not its owner)"));
    }
    let claimed =
        claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).filter(|name| !name.is_empty());
    let bound = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    let Some(claimed) = claimed.filter(|_| bound) else {
        return Err(format!("PVC {namespace}/{name} is not bound"));
    };
    let api: Api<PersistentVolume> = Api::all(shared.client.clone());
    let volume =
        get(&api, &claimed).await?.ok_or_else(|| format!("persistentvolume {claimed:?} not found"))?;
    let is_its = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()?.uid.as_ref());
    if is_its != claim.metadata.uid.as_ref() {
        return Err(format!("persistentvolume {claimed:?} is bound to another claim"));
    }
    let place = place(&volume, &shared.config.node_name)?;
    Ok(Behind { volume: claimed, place })
}

async fn get<K>(api: &Api<K>, name: &str) -> Result<Option<K>, String>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    match tokio::time::timeout(PATIENCE, api.get_opt(name)).await {
        Ok(answer) => answer.map_err(|e| dunlin_base::error::chain(&e)),
        Err(_) => Err("the API did not answer".to_owned()),
    }
}

/// Where on this machine the volume is.
fn place(volume: &PersistentVolume, node: &str) -> Result<Place, String> {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let Some(spec) = &volume.spec else { return Err(format!("persistentvolume {name:?} is empty")) };
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err(format!("persistentvolume {name:?} is a block device, which this node does not support"));
    }
    let annotations = volume.metadata.annotations.as_ref();
    let provisioner = annotations.and_then(|all| all.get(annotation::PROVISIONED_BY)).map(String::as_str);
    if let (Some(storage::LOCAL_PATH), Some(_)) = (provisioner, &spec.local) {
        let on = volume.metadata.labels.as_ref().and_then(|all| all.get(label::VOLUME_NODE));
        return match on {
            Some(on) if *on == storage::node_label(node) => Ok(Place::Own),
            on => Err(format!("persistentvolume {name:?} is on node {:?}", on.map_or("", String::as_str))),
        };
    }
    if let Some(local) = &spec.local {
        return Ok(Place::Local(local.path.clone()));
    }
    if let Some(host) = &spec.host_path {
        return Ok(Place::Host(host.path.clone(), host.type_.clone().unwrap_or_default()));
    }
    Err(format!(
        "persistentvolume {name:?} is of a type that this node does not support; it has local and hostPath"
    ))
}

/// Whether the pod may only read what is in the volume.
pub fn read_only(volume: &Volume) -> bool {
    volume.persistent_volume_claim.as_ref().is_some_and(|source| source.read_only == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn only_what_is_on_this_machine_is_used() {
        let check = |metadata: Value, spec: Value, want: Result<Place, &str>| {
            let mut volume = json!({"metadata": {"name": "v"}, "spec": spec});
            for (key, value) in metadata.as_object().into_iter().flatten() {
                volume["metadata"][key] = value.clone();
            }
            let volume: PersistentVolume = serde_json::from_value(volume).expect("a volume");
            let got = place(&volume, "here");
            match want {
                Ok(place) => assert_eq!(got, Ok(place)),
                Err(words) => assert!(got.as_ref().is_err_and(|why| why.contains(words)), "{got:?}"),
            }
        };
        let made = |node: &str| json!({"labels": {label::VOLUME_NODE: node}, "annotations": {annotation::PROVISIONED_BY: storage::LOCAL_PATH}});
        let local = json!({"local": {"path": "/data"}});
        check(made("here"), local.clone(), Ok(Place::Own));
        check(made("there"), local.clone(), Err("is on node \"there\""));
        check(json!({}), local, Ok(Place::Local("/data".into())));
        let host = json!({"hostPath": {"path": "/x", "type": "Directory"}});
        check(json!({}), host.clone(), Ok(Place::Host("/x".into(), "Directory".into())));
        check(json!({}), json!({"volumeMode": "Block", "hostPath": host["hostPath"]}), Err("block device"));
        check(json!({}), json!({"csi": {"driver": "d", "volumeHandle": "h"}}), Err("does not support"));
        check(json!({}), json!({"nfs": {"server": "s", "path": "/"}}), Err("does not support"));
    }
}
