//! The agent's files: one folder per pod, written beside and renamed, so that a reader never sees half of one.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::model::Record;

/// Where things are.
#[derive(Debug, Clone)]
pub struct Disk {
    pub data: PathBuf,
    pub run: PathBuf,
}

impl Disk {
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.data.join("pods").join(uid)
    }
    pub fn volatile(&self, uid: &str) -> PathBuf {
        self.run.join("pods").join(uid)
    }
    /// The directory of a volume of the class `local-path`; the name is one that the API has checked.
    pub fn volume(&self, name: &str) -> PathBuf {
        volumes(&self.data).join(name)
    }
    /// What is known of the volumes behind a pod's claims.
    pub fn claims(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("claims.json")
    }
    pub fn log(&self, pod: &Pod, container: &str, launches: u32) -> PathBuf {
        let m = &pod.metadata;
        let text = |o: &Option<String>| o.clone().unwrap_or_default();
        let folder = format!("{}_{}_{}", text(&m.namespace), text(&m.name), text(&m.uid));
        self.data
            .join("logs")
            .join(folder)
            .join(container)
            .join(format!("{}.log", launches.saturating_sub(1)))
    }
    pub fn log_folder(&self, pod: &Pod) -> Option<PathBuf> {
        self.log(pod, "x", 1).parent().and_then(Path::parent).map(Path::to_owned)
    }

    pub fn save_pod(&self, pod: &Pod) {
        let uid = pod.metadata.uid.as_deref().unwrap_or("");
        self.save(&self.pod(uid).join("pod.json"), serde_json::to_vec(pod), true);
    }
    pub fn save_record(&self, uid: &str, record: &Record) {
        self.save(&self.pod(uid).join("record.json"), serde_json::to_vec(record), false);
    }

    fn save(&self, path: &Path, bytes: serde_json::Result<Vec<u8>>, sync: bool) {
        let result = bytes.map_err(std::io::Error::from).and_then(|b| write(path, &b, 0o600, sync));
        if let Err(error) = result {
            // A full disk must not stop pods; the node shows DiskPressure.
            tracing::warn!(%error, path = %path.display(), "local state cannot be written");
        }
    }

    /// Every pod that was kept.
    pub fn load(&self) -> Vec<(Arc<Pod>, Record)> {
        let Ok(entries) = std::fs::read_dir(self.data.join("pods")) else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| {
                let pod: Pod = read(&entry.path().join("pod.json"))?;
                let record = read(&entry.path().join("record.json")).unwrap_or_default();
                Some((Arc::new(pod), record))
            })
            .collect()
    }

    /// Removes all files of a pod.
    pub fn forget(&self, pod: &Pod) {
        let uid = pod.metadata.uid.as_deref().unwrap_or("");
        let mut folders = vec![self.volatile(uid), self.pod(uid)];
        folders.extend(self.log_folder(pod));
        for folder in folders.iter().filter(|f| f.exists()) {
            if let Err(error) = std::fs::remove_dir_all(folder) {
                tracing::warn!(%error, path = %folder.display(), "files of an ended pod cannot be removed");
            }
        }
    }
}

/// Where the volumes of the class `local-path` are.
pub fn volumes(data: &Path) -> PathBuf {
    data.join("volumes")
}

/// Reads a JSON file; what cannot be read counts as absent.
pub fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Writes a file as a whole.
pub fn write(path: &Path, bytes: &[u8], mode: u32, sync: bool) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = PathBuf::from(name);
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside)?;
    file.write_all(bytes)?;
    if sync {
        file.sync_data()?;
    }
    drop(file);
    std::fs::rename(&beside, path)
}
