//! Deleting: which names may go, and which blobs and layers then belong to nobody.
//!
//! A thing stays if an image that has a name needs it, if someone who is fetching or importing right now has pinned it, or if
//! a container has it mounted. The last is read from the kernel, because pods outlive the agent that started them and
//! `dunlin image rm` runs in a process that knows of none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::config::ConfigBlob;
use super::disk::{self, Disk};
use super::error::{Error, IoContext};
use super::index::{Index, Named};
use super::layer;
use super::manifest::{LARGEST_CONFIG, LARGEST_MANIFEST, Manifest};
use super::types::{Freed, GarbagePolicy};

/// Digests of blobs and layers that an image needs. What cannot be read is not needed: the image is broken and will be
/// fetched again.
fn needs(disk: &Disk, named: &Named) -> BTreeSet<String> {
    let mut needs: BTreeSet<String> =
        [&named.digest, &named.manifest, &named.id].into_iter().cloned().collect();
    let manifest = disk
        .read_blob(&named.manifest, LARGEST_MANIFEST)
        .and_then(|bytes| Manifest::parse(&named.manifest, &bytes));
    if let Ok(Manifest::Image(manifest)) = manifest {
        needs.extend(manifest.layers.into_iter().map(|l| l.digest));
    }
    let config =
        disk.read_blob(&named.id, LARGEST_CONFIG).and_then(|bytes| ConfigBlob::parse(&named.id, &bytes));
    if let Ok(config) = config {
        needs.extend(config.diff_ids);
    }
    needs
}

/// Takes names out of the index as the policy says, least recently used first, and returns how many. Imported images stay:
/// there may be no place to fetch them from again.
pub(crate) fn expire(
    disk: &Disk,
    index: &mut Index,
    in_use: &BTreeSet<String>,
    policy: &GarbagePolicy,
    last_used: impl Fn(&str, &Named) -> u64,
) -> usize {
    let oldest = seconds(policy.now).saturating_sub(policy.min_age.as_secs());
    let mut candidates: Vec<(u64, String)> = index
        .images
        .iter()
        .filter(|(_, named)| !named.imported && !in_use.contains(&named.id))
        .map(|(name, named)| (last_used(name, named), name.clone()))
        .filter(|(used, _)| *used <= oldest)
        .collect();
    candidates.sort();
    let mut users: BTreeMap<String, usize> = BTreeMap::new();
    let all: BTreeMap<String, BTreeSet<String>> =
        index.images.iter().map(|(name, named)| (name.clone(), needs(disk, named))).collect();
    for digest in all.values().flatten() {
        *users.entry(digest.clone()).or_default() += 1;
    }
    let (mut bytes, mut expired) = (0, 0);
    for (_, name) in candidates {
        if policy.enough.is_some_and(|enough| bytes >= enough) {
            break;
        }
        for digest in all.get(&name).into_iter().flatten() {
            if let Some(count) = users.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    bytes += size_of(disk, digest);
                }
            }
        }
        index.images.remove(&name);
        expired += 1;
    }
    expired
}

fn size_of(disk: &Disk, digest: &str) -> u64 {
    fs::metadata(disk.blob(digest)).map_or(0, |m| m.len()) + layer::unpacked_size(&disk.layer(digest))
}

/// Deletes what belongs to nobody. `partials_older` is the age from which unfinished blobs go, too. The caller holds the
/// store's lock; layers are moved to `trash`, whose removal takes longer and needs no lock.
pub(crate) fn sweep(
    disk: &Disk,
    index: &Index,
    pins: Vec<String>,
    in_use: &BTreeSet<String>,
    partials_older: Option<Duration>,
    trash: &Path,
) -> Result<Freed, Error> {
    let mut keep: BTreeSet<String> = pins.into_iter().collect();
    keep.extend(mounted());
    for named in index.images.values() {
        keep.extend(needs(disk, named));
    }
    // An image in use whose name is gone: its configuration still tells its layers.
    for id in in_use.iter().filter(|id| super::reference::is_digest(id)) {
        keep.insert(id.clone());
        if let Ok(config) = disk.read_blob(id, LARGEST_CONFIG).and_then(|bytes| ConfigBlob::parse(id, &bytes))
        {
            keep.extend(config.diff_ids);
        }
    }
    let mut freed = Freed::default();
    for (name, path) in entries(&disk.blobs())? {
        if !keep.contains(&format!("sha256:{name}")) {
            freed.bytes += fs::metadata(&path).map_or(0, |m| m.len());
            freed.blobs += 1;
            fs::remove_file(&path).at("removing", &path)?;
        }
    }
    for (name, path) in entries(&disk.layers())? {
        if !keep.contains(&format!("sha256:{name}")) {
            freed.bytes += layer::unpacked_size(&path);
            freed.layers += 1;
            fs::rename(&path, trash.join(&name)).at("removing", &path)?;
        }
    }
    for (name, path) in entries(&disk.partials())? {
        let metadata = fs::metadata(&path).at("reading", &path)?;
        let age = metadata.modified().ok().and_then(|m| m.elapsed().ok()).unwrap_or_default();
        let old = partials_older.is_some_and(|older| age >= older);
        if old
            && !keep.contains(&format!("sha256:{name}"))
            && disk.try_lock_item(&format!("sha256:{name}"))?.is_some()
        {
            freed.bytes += metadata.len();
            freed.blobs += 1;
            fs::remove_file(&path).at("removing", &path)?;
        }
    }
    for (name, path) in entries(&disk.locks())? {
        if let Some(_held) = disk.try_lock_item(&name)? {
            fs::remove_file(&path).at("removing", &path)?;
        }
    }
    disk::sync_directory(&disk.blobs())?;
    disk::sync_directory(&disk.layers())?;
    Ok(freed)
}

fn entries(directory: &Path) -> Result<Vec<(String, std::path::PathBuf)>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).at("reading", directory)? {
        let entry = entry.at("reading", directory)?;
        found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    Ok(found)
}

/// Digests that occur in the mounts of any process: layers under running containers.
fn mounted() -> BTreeSet<String> {
    let mut namespaces = BTreeSet::new();
    let mut found = BTreeSet::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = process.path();
        let Ok(namespace) = fs::read_link(path.join("ns/mnt")) else { continue };
        if namespaces.insert(namespace)
            && let Ok(mounts) = fs::read_to_string(path.join("mountinfo"))
        {
            found.extend(digests_in(&mounts));
        }
    }
    found
}

/// Runs of exactly 64 hexadecimal digits.
fn digests_in(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_ascii_hexdigit())
        .filter(|word| word.len() == 64)
        .map(|word| format!("sha256:{word}"))
}

pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_found_in_mounts() {
        let (a, b) = ("a".repeat(64), "0".repeat(64));
        let line = format!(
            "31 28 0:27 / / rw - overlay overlay rw,lowerdir=/x/layers/{a}/fs:/x/layers/{b}/fs,upperdir=/u"
        );
        assert_eq!(digests_in(&line).collect::<Vec<_>>(), [format!("sha256:{a}"), format!("sha256:{b}")]);
        assert_eq!(digests_in(&"a".repeat(65)).count(), 0);
    }
}
