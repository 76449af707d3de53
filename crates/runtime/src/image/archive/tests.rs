//! Archives as tools write them, and as an enemy would.

use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::image::sample::{self, Layout, docker_archive, gzip, here, tar, write, zstd};

struct Place {
    dir: tempfile::TempDir,
    disk: Disk,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let disk = Disk::open(dir.path().join("images")).expect("open");
        Self { dir, disk }
    }

    fn import(&self, path: &Path, name: Option<&str>) -> Result<Vec<Imported>, Error> {
        let work = self.disk.work()?;
        let name = name.map(|n| Reference::parse(n).expect("name"));
        import(&self.disk, &work, path, name.as_ref(), &Progress::none())
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        write(self.dir.path(), "archive.tar", bytes)
    }

    fn names(&self, bytes: &[u8], name: Option<&str>) -> Result<Vec<String>, Error> {
        Ok(self.import(&self.file(bytes), name)?.iter().map(|i| i.reference.to_string()).collect())
    }
}

#[test]
fn docker_archives() {
    let place = Place::new();
    let layer = tar(&[("bin/sh", b"shell")]);
    let archive = docker_archive(&["busybox:1", "registry.site/tools/busybox:1"], &[&layer, &layer]);
    let names = place.names(&archive, None).expect("import");
    assert_eq!(names, ["docker.io/library/busybox:1", "registry.site/tools/busybox:1"]);
    assert_eq!(
        place.names(&gzip(&archive), Some("other")).expect("gzip"),
        ["docker.io/library/other:latest"]
    );
    assert_eq!(
        place.names(&zstd(&archive), Some("other")).expect("zstd"),
        ["docker.io/library/other:latest"]
    );
    let nameless = docker_archive(&[], &[&layer]);
    assert!(place.names(&nameless, None).expect_err("nameless").to_string().contains("--name"));
    assert_eq!(place.names(&nameless, Some("n")).expect("named"), ["docker.io/library/n:latest"]);
    let invalid = docker_archive(&["Not A Name"], &[&layer]);
    assert!(matches!(place.names(&invalid, None), Err(Error::InvalidName(_))));
}

#[test]
fn docker_archives_with_compressed_and_linked_layers() {
    let place = Place::new();
    let plain = tar(&[("a", b"a")]);
    let config = sample::config(&[&plain, &plain], &here()).to_string();
    let manifest = json!([{"Config": "c.json", "RepoTags": ["x"], "Layers": ["1/layer.tar", "2/layer.tar"]}])
        .to_string();
    let mut builder = tar::Builder::new(tar(&[]).split_off(1024));
    let mut add = |path: &str, data: &[u8], link: Option<&str>| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        match link {
            Some(target) => {
                header.set_size(0);
                header.set_entry_type(tar::EntryType::Symlink);
                builder.append_link(&mut header, path, target).expect("link");
            }
            None => {
                header.set_size(data.len() as u64);
                builder.append_data(&mut header, path, data).expect("file");
            }
        }
    };
    add("2/layer.tar", b"", Some("../1/layer.tar"));
    add("1/layer.tar", &gzip(&plain), None);
    add("c.json", config.as_bytes(), None);
    add("manifest.json", manifest.as_bytes(), None);
    let archive = builder.into_inner().expect("tar");
    let images = place.import(&place.file(&archive), None).expect("import");
    assert_eq!(images[0].manifest.layers.len(), 2);
    assert!(images[0].manifest.layers.iter().all(|l| l.media_type.ends_with("+gzip")));
}

#[test]
fn oci_archives_and_layouts() {
    let place = Place::new();
    let mut layout = Layout::default();
    let image = layout.image(&[&tar(&[("a", b"a")])], &here(), gzip);
    layout.name(image, Some("quay.io/x/y:3"));
    assert_eq!(place.names(&layout.archive(), None).expect("archive"), ["quay.io/x/y:3"]);
    let directory = place.dir.path().join("layout");
    layout.directory(&directory);
    let from_directory = place.import(&directory, None).expect("directory");
    assert_eq!(from_directory[0].reference.to_string(), "quay.io/x/y:3");
    assert!(directory.join("index.json").exists(), "a layout is read, never consumed");
    let fresh = Place::new();
    assert_eq!(fresh.import(&directory, Some("n")).expect("directory").len(), 1);
}

#[test]
fn several_platforms() {
    let place = Place::new();
    let mut layout = Layout::default();
    let other = if here() == "s390x" { "amd64" } else { "s390x" };
    let wrong = layout.image(&[&tar(&[("a", b"wrong")])], other, zstd);
    let right = layout.image(&[&tar(&[("a", b"right")])], &here(), zstd);
    let digest = right["digest"].clone();
    let media_type = "application/vnd.oci.image.index.v1+json";
    let inner =
        json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [wrong.clone(), right]}).to_string();
    let descriptor = layout.blob(media_type, inner.as_bytes());
    let index_digest = descriptor["digest"].clone();
    layout.name(descriptor, None);
    let images = place.import(&place.file(&layout.archive()), Some("multi")).expect("import");
    assert_eq!(json!(images[0].manifest_digest), digest);
    assert_eq!(json!(images[0].digest), index_digest);
    let mut only_wrong = Layout::default();
    let image = only_wrong.image(&[&tar(&[("a", b"wrong")])], other, gzip);
    only_wrong.name(image, Some("x"));
    let error = place.names(&only_wrong.archive(), None).expect_err("another machine's");
    assert!(matches!(&error, Error::Platform { .. }), "{error}");
}

#[test]
fn what_is_damaged_is_refused() {
    let place = Place::new();
    let layer = tar(&[("a", b"a")]);
    let mut layout = Layout::default();
    let image = layout.image(&[&layer], &here(), gzip);
    layout.name(image, Some("x"));
    let wrong_layer = layout.files.iter().find(|(_, b)| b.starts_with(&[0x1f, 0x8b])).map(|(n, _)| n.clone());
    let wrong_layer = wrong_layer.expect("a layer");
    layout.files.insert(wrong_layer.clone(), gzip(b"something else"));
    assert!(matches!(place.names(&layout.archive(), None), Err(Error::Digest { .. })));
    layout.files.remove(&wrong_layer);
    assert!(matches!(place.names(&layout.archive(), None), Err(Error::Format { .. })));
    // A configuration that promises another layer than the archive has.
    let other = tar(&[("a", b"other")]);
    let config = sample::config(&[&other], &here()).to_string();
    let manifest = json!([{"Config": "c.json", "RepoTags": ["x"], "Layers": ["l.tar"]}]).to_string();
    let archive =
        tar(&[("manifest.json", manifest.as_bytes()), ("c.json", config.as_bytes()), ("l.tar", &layer)]);
    assert!(matches!(place.names(&archive, None), Err(Error::Digest { .. })));
    let whole = docker_archive(&["x"], &[&layer]);
    assert!(place.names(&whole[..whole.len() / 2], None).is_err(), "a cut archive");
    assert!(place.names(b"no archive at all", None).is_err());
    assert!(place.names(&tar(&[("a", b"a")]), None).expect_err("no image").to_string().contains("neither"));
    assert!(place.import(Path::new("/nonexistent"), None).is_err());
}

#[test]
fn members_cannot_name_files_outside() {
    let place = Place::new();
    let secret = write(place.dir.path(), "secret", b"{}");
    for config in [secret.display().to_string(), "../secret".to_owned()] {
        let manifest = json!([{"Config": config, "RepoTags": ["x"], "Layers": []}]).to_string();
        let error = place.names(&tar(&[("manifest.json", manifest.as_bytes())]), None).expect_err("outside");
        assert!(error.to_string().contains("it has no"), "{error}");
        let directory = place.dir.path().join("extracted");
        std::fs::create_dir_all(&directory).expect("directory");
        write(&directory, "manifest.json", manifest.as_bytes());
        let error = place.import(&directory, None).expect_err("outside");
        assert!(error.to_string().contains("it has no"), "{error}");
    }
}
