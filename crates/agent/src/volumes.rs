//! A pod's volumes: made before its first container, and kept current while it lives.
//!
//! Files from the API live on the tmpfs of `run_dir` and change by one swap of the `..data` link, so that a reader sees
//! the old set or the new one.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, Volume};

use crate::agent::Shared;
use crate::claims;
use crate::env::NodeFacts;
use crate::model::spec;
use crate::sources::{Kind, Missing};

type Payload = BTreeMap<String, (Vec<u8>, u32)>;

/// Makes or refreshes all volumes; returns when a token wants renewal, or the reason for a `FailedMount` event.
pub async fn prepare(shared: &Shared, pod: &Pod, pod_ip: &str) -> Result<Option<Timestamp>, String> {
    let uid = pod.metadata.uid.as_deref().unwrap_or("");
    let mut renew: Option<Timestamp> = None;
    for volume in spec(pod).volumes.iter().flatten() {
        let failed = |why: String| format!("MountVolume.SetUp failed for volume \"{}\" : {why}", volume.name);
        let fs_group =
            spec(pod).security_context.as_ref().and_then(|c| c.fs_group).and_then(|g| u32::try_from(g).ok());
        if let Some(empty) = &volume.empty_dir {
            if empty.medium.as_deref() != Some("Memory") {
                directory(&shared.disk.pod(uid).join("volumes").join(&volume.name), 0o777, fs_group)
                    .map_err(failed)?;
            }
        } else if claims::claim(pod, volume).is_some() {
            claims::prepare(shared, pod, volume, fs_group).await.map_err(failed)?;
        } else if let Some(host) = &volume.host_path {
            host_path(Path::new(&host.path), host.type_.as_deref().unwrap_or("")).map_err(failed)?;
        } else {
            let (payload, token) = payload(shared, pod, volume, pod_ip).await.map_err(failed)?;
            if let Some(at) = token {
                renew = Some(renew.map_or(at, |r| r.min(at)));
            }
            let dir = shared.disk.volatile(uid).join("volumes").join(&volume.name);
            publish(&dir, &payload, fs_group).map_err(|e| failed(e.to_string()))?;
        }
    }
    Ok(renew)
}

/// The source of a mount of this volume: a path, or `tmpfs:<name>`.
pub fn source(shared: &Shared, pod: &Pod, volume: &Volume) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap_or("");
    if let Some(path) = claims::source(&shared.disk, uid, &volume.name) {
        return path;
    }
    match (&volume.empty_dir, &volume.host_path) {
        (Some(empty), _) if empty.medium.as_deref() == Some("Memory") => format!("tmpfs:{}", volume.name),
        (Some(_), _) => shared.disk.pod(uid).join("volumes").join(&volume.name).display().to_string(),
        (_, Some(host)) => host.path.clone(),
        _ => shared.disk.volatile(uid).join("volumes").join(&volume.name).display().to_string(),
    }
}

async fn payload(
    shared: &Shared,
    pod: &Pod,
    volume: &Volume,
    pod_ip: &str,
) -> Result<(Payload, Option<Timestamp>), String> {
    let mut out = Payload::new();
    let mut renew = None;
    if let Some(v) = &volume.config_map {
        let mode = mode(v.default_mode);
        object(shared, pod, Kind::ConfigMap, &v.name, v.items.as_deref(), v.optional, mode, &mut out).await?;
    } else if let Some(v) = &volume.secret {
        let name = v.secret_name.clone().unwrap_or_default();
        object(
            shared,
            pod,
            Kind::Secret,
            &name,
            v.items.as_deref(),
            v.optional,
            mode(v.default_mode),
            &mut out,
        )
        .await?;
    } else if let Some(v) = &volume.downward_api {
        downward(
            shared,
            pod,
            v.items.as_deref().unwrap_or_default(),
            mode(v.default_mode),
            pod_ip,
            &mut out,
        )?;
    } else if let Some(v) = &volume.projected {
        let mode = mode(v.default_mode);
        for part in v.sources.iter().flatten() {
            if let Some(p) = &part.config_map {
                object(shared, pod, Kind::ConfigMap, &p.name, p.items.as_deref(), p.optional, mode, &mut out)
                    .await?;
            } else if let Some(p) = &part.secret {
                object(shared, pod, Kind::Secret, &p.name, p.items.as_deref(), p.optional, mode, &mut out)
                    .await?;
            } else if let Some(p) = &part.downward_api {
                downward(shared, pod, p.items.as_deref().unwrap_or_default(), mode, pod_ip, &mut out)?;
            } else if let Some(p) = &part.service_account_token {
                let uid = pod.metadata.uid.as_deref().unwrap_or("");
                let seconds = p.expiration_seconds.unwrap_or(3600);
                let audience = p.audience.as_deref().unwrap_or("");
                let token =
                    crate::tokens::get(&shared.client, &shared.disk.pod(uid), pod, audience, seconds).await?;
                renew = Some(renew.map_or(token.renew, |r: Timestamp| r.min(token.renew)));
                let grouped = spec(pod).security_context.as_ref().is_some_and(|c| c.fs_group.is_some());
                let token_mode = if grouped { 0o640 } else { 0o644 };
                out.insert(safe(&p.path)?, (token.token.into_bytes(), token_mode));
            } else {
                return Err("this kind of projected source is not supported by this node".into());
            }
        }
    } else {
        return Err("this kind of volume is not supported by this node".into());
    }
    Ok((out, renew))
}

fn mode(default: Option<i32>) -> u32 {
    default.and_then(|m| u32::try_from(m).ok()).unwrap_or(0o644) & 0o777
}

#[allow(clippy::too_many_arguments, reason = "one call per source kind, all of them told apart by name")]
async fn object(
    shared: &Shared,
    pod: &Pod,
    kind: Kind,
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    mode: u32,
    out: &mut Payload,
) -> Result<(), String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
    let uid = pod.metadata.uid.as_deref().unwrap_or("");
    let optional = optional == Some(true);
    let data = match shared.sources.get(kind, namespace, name, uid).await {
        Ok(data) => data,
        Err(Missing::Absent(_)) if optional => return Ok(()),
        Err(missing) => return Err(missing.text().to_owned()),
    };
    match items.filter(|i| !i.is_empty()) {
        None => {
            for (key, value) in &data.values {
                out.insert(safe(key)?, (value.clone(), mode));
            }
        }
        Some(items) => {
            for item in items {
                match data.values.get(&item.key) {
                    Some(value) => {
                        let mode = item.mode.and_then(|m| u32::try_from(m).ok()).unwrap_or(mode) & 0o777;
                        out.insert(safe(&item.path)?, (value.clone(), mode));
                    }
                    None if optional => {}
                    None => {
                        return Err(format!(
                            "references non-existent {} key: {}",
                            if kind == Kind::Secret { "secret" } else { "config" },
                            item.key
                        ));
                    }
                }
            }
        }
    }
    Ok(())
}

fn downward(
    shared: &Shared,
    pod: &Pod,
    items: &[DownwardAPIVolumeFile],
    mode: u32,
    pod_ip: &str,
    out: &mut Payload,
) -> Result<(), String> {
    let allocatable = shared.allocatable();
    let host_ip = shared.node_ip();
    let node =
        NodeFacts { name: &shared.config.node_name, host_ip: &host_ip, pod_ip, allocatable: &allocatable };
    for item in items {
        let value = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => crate::env::field(pod, &field.field_path, &node),
            (_, Some(resource)) => crate::env::resource(pod, None, resource, &node),
            _ => None,
        };
        let value =
            value.ok_or_else(|| format!("the value for file {:?} cannot be worked out", item.path))?;
        let mode = item.mode.and_then(|m| u32::try_from(m).ok()).unwrap_or(mode) & 0o777;
        out.insert(safe(&item.path)?, (value.into_bytes(), mode));
    }
    Ok(())
}

/// A relative path without `..`.
pub fn safe(path: &str) -> Result<String, String> {
    let good = !path.is_empty() && Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
    if good { Ok(path.to_owned()) } else { Err(format!("path {path:?} leaves its volume")) }
}

pub fn directory(path: &Path, mode: u32, group: Option<u32>) -> Result<(), String> {
    if path.is_dir() {
        return Ok(());
    }
    let text = |e: std::io::Error| e.to_string();
    std::fs::create_dir_all(path).map_err(text)?;
    let mode = if group.is_some() { mode | 0o2000 } else { mode };
    std::os::unix::fs::chown(path, None, group).map_err(text)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(text)
}

pub fn host_path(path: &Path, kind: &str) -> Result<(), String> {
    let found = std::fs::metadata(path);
    let check = |good: bool, what: &str| {
        if good {
            Ok(())
        } else {
            Err(format!("hostPath type check failed: {} is not a {what}", path.display()))
        }
    };
    match (kind, found) {
        ("", Ok(_)) => Ok(()),
        ("" | "DirectoryOrCreate", Err(_)) => std::fs::create_dir_all(path).map_err(|e| e.to_string()),
        ("FileOrCreate", Err(_)) => std::fs::File::create(path).map(drop).map_err(|e| e.to_string()),
        (_, Err(_)) => check(false, &kind.to_lowercase()),
        ("Directory" | "DirectoryOrCreate", Ok(m)) => check(m.is_dir(), "directory"),
        ("File" | "FileOrCreate", Ok(m)) => check(m.is_file(), "file"),
        ("Socket", Ok(m)) => check(m.file_type().is_socket(), "socket file"),
        ("CharDevice", Ok(m)) => check(m.file_type().is_char_device(), "character device"),
        ("BlockDevice", Ok(m)) => check(m.file_type().is_block_device(), "block device"),
        (other, Ok(_)) => Err(format!("hostPath type {other:?} does not exist")),
    }
}

/// Makes `dir` show exactly `payload`, in one step.
pub fn publish(dir: &Path, payload: &Payload, group: Option<u32>) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
    let link = dir.join("..data");
    let current = std::fs::read_link(&link).ok().map(|t| dir.join(t));
    if let Some(current) = &current
        && same(current, payload)
    {
        return Ok(());
    }
    let stamp = Timestamp::now().as_nanosecond();
    let fresh = dir.join(format!("..{stamp}"));
    for (name, (bytes, mode)) in payload {
        let path = fresh.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(&fresh))?;
        std::fs::write(&path, bytes)?;
        std::os::unix::fs::chown(&path, None, group)?;
        let mode = if group.is_some() { mode | 0o040 } else { *mode };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
    }
    std::fs::create_dir_all(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755))?;
    let beside = dir.join("..data_tmp");
    // It is left only by a crash between the next two lines.
    let _ = std::fs::remove_file(&beside);
    symlink(fresh.file_name().unwrap_or_default(), &beside)?;
    std::fs::rename(&beside, &link)?;
    let mut tops: Vec<PathBuf> = payload
        .keys()
        .filter_map(|n| Path::new(n).components().next().map(|c| PathBuf::from(c.as_os_str())))
        .collect();
    tops.sort();
    tops.dedup();
    for entry in std::fs::read_dir(dir)?.flatten() {
        let name = PathBuf::from(entry.file_name());
        if !name.to_string_lossy().starts_with("..") && !tops.contains(&name) {
            std::fs::remove_file(entry.path())?;
        }
    }
    for top in tops {
        if std::fs::symlink_metadata(dir.join(&top)).is_err() {
            symlink(Path::new("..data").join(&top), dir.join(&top))?;
        }
    }
    if let Some(old) = current {
        std::fs::remove_dir_all(old)?;
    }
    Ok(())
}

fn same(dir: &Path, payload: &Payload) -> bool {
    fn count(dir: &Path) -> usize {
        std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| if e.path().is_dir() { count(&e.path()) } else { 1 })
            .sum()
    }
    count(dir) == payload.len()
        && payload.iter().all(|(n, (b, _))| std::fs::read(dir.join(n)).is_ok_and(|have| have == *b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_change_by_one_swap() {
        let dir = tempfile::tempdir().expect("dir");
        let payload = |pairs: &[(&str, &str)]| -> Payload {
            pairs.iter().map(|(n, b)| ((*n).to_owned(), (b.as_bytes().to_vec(), 0o644))).collect()
        };
        publish(dir.path(), &payload(&[("a", "1"), ("sub/b", "2")]), None).expect("first");
        let first = std::fs::read_link(dir.path().join("..data")).expect("link");
        publish(dir.path(), &payload(&[("a", "1"), ("sub/b", "2")]), None).expect("same");
        assert_eq!(std::fs::read_link(dir.path().join("..data")).expect("link"), first);
        publish(dir.path(), &payload(&[("a", "3")]), None).expect("second");
        assert_eq!(std::fs::read_to_string(dir.path().join("a")).expect("a"), "3");
        assert!(!dir.path().join("sub").exists() && !dir.path().join(first).exists());
        assert!(safe("../x").is_err() && safe("/x").is_err() && safe("a/b").is_ok());
    }
}
