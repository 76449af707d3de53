//! Images from anywhere: archives with their manifests and configurations, and layers, which try to leave their folder.

use std::path::Path;

use dunlin_runtime::image::{ImageStore, Progress};
use serde_json::json;
use sha2::{Digest, Sha256};

/// Imports an archive into a store of its own. Beside the store lies a file that no image may touch.
fn import(archive: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, store) = (folder.path().join("archive.tar"), folder.path().join("images"));
    let guard = folder.path().join("guard");
    for (path, content) in [(&file, archive), (&guard, b"untouched")] {
        std::fs::write(path, content).expect("a file");
    }
    let images = ImageStore::open(&store).expect("a store");
    let _ = crate::wait_for(images.import(&file, Some("fuzz:test"), Progress::none()));
    assert_eq!(std::fs::read(&guard).expect("the file is there"), b"untouched");
    let mut beside = names(folder.path());
    beside.sort();
    assert_eq!(beside, ["archive.tar", "guard", "images"], "something left the store");
    assert!(names(&store.join("tmp")).is_empty(), "work was left behind");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// Any bytes as an archive.
pub fn archive(data: &[u8]) {
    import(data);
}

/// Any bytes as the one layer of a sound image.
pub fn layer(data: &[u8]) {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let digest: String = Sha256::digest(data).iter().map(|b| format!("{b:02x}")).collect();
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": ["fuzz:test"], "Layers": ["layer.tar"]}]);
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in [
        ("config.json", config.to_string().as_bytes()),
        ("layer.tar", data),
        ("manifest.json", manifest.to_string().as_bytes()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes).expect("memory takes it");
    }
    import(&tar.into_inner().expect("memory takes it"));
}
