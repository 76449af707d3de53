//! The store as its users see it, without and with a registry.

mod registry;

use serde_json::json;

use super::*;
use crate::image::sample::{Layout, docker_archive, tar, write};

pub(super) struct Place {
    pub dir: tempfile::TempDir,
    pub store: Arc<ImageStore>,
}

impl Place {
    pub fn new() -> Self {
        Self::with(RegistryOptions::default())
    }

    pub fn with(options: RegistryOptions) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let store = ImageStore::open_with(dir.path().join("images"), options).expect("open");
        Self { dir, store }
    }

    pub async fn import(&self, name: &str, layers: &[&[u8]]) -> Image {
        let path = write(self.dir.path(), "archive.tar", &docker_archive(&[name], layers));
        let mut images = self.store.import(&path, None, Progress::none()).await.expect("import");
        images.remove(0)
    }

    fn count(&self, folder: &str) -> usize {
        std::fs::read_dir(self.dir.path().join("images").join(folder)).expect(folder).count()
    }
}

#[tokio::test]
async fn an_imported_image_is_ready() {
    let place = Place::new();
    let (base, top) = (tar(&[("etc/os", b"base")]), tar(&[("app", b"top")]));
    let imported = place.import("demo:1", &[&base, &top]).await;
    let image = place.store.ensure("demo:1", PullPolicy::Never, None).await.expect("ensure");
    assert_eq!(image, imported);
    assert_eq!(image.reference, "docker.io/library/demo:1");
    assert_eq!(image.config.cmd, ["/bin/sh"]);
    assert_eq!(std::fs::read(image.layers[0].join("etc/os")).expect("base"), b"base");
    assert_eq!(std::fs::read(image.layers[1].join("app")).expect("top"), b"top");
    assert_eq!(image.repo_digest(), format!("docker.io/library/demo@{}", image.digest));
    let by_digest =
        place.store.ensure(&image.repo_digest(), PullPolicy::IfNotPresent, None).await.expect("by digest");
    assert_eq!(by_digest.id, image.id);
    // Another process on the same directory sees it.
    let other = ImageStore::open(place.dir.path().join("images")).expect("open");
    assert_eq!(other.get("docker.io/library/demo:1").await.expect("get").expect("here").layers, image.layers);
    assert_eq!(other.list().await.expect("list").len(), 1);
    assert_eq!(place.count("tmp"), 0);
}

/// The CNCF's layout of an artifact: the layer is the module itself.
#[tokio::test]
async fn a_wasm_artifact_is_an_image_of_one_file() {
    let place = Place::new();
    let module = b"\0asm\x01\0\0\0";
    let mut layout = Layout::default();
    let layer = layout.blob("application/wasm", module);
    let config = json!({"created": "2026-01-01T00:00:00Z", "architecture": "wasm", "os": "wasip1",
        "layerDigests": [layer["digest"]]});
    let config = layout.blob("application/vnd.wasm.config.v0+json", config.to_string().as_bytes());
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer]});
    let descriptor = layout.blob(media_type, manifest.to_string().as_bytes());
    layout.name(descriptor, Some("example.com/guest:1"));
    let file = write(place.dir.path(), "artifact.tar", &layout.archive());
    let image = place.store.import(&file, None, Progress::none()).await.expect("import").remove(0);
    assert_eq!(image.config.entrypoint, ["/module.wasm"]);
    let [layer] = &image.layers[..] else { panic!("{image:?}") };
    assert_eq!(std::fs::read(layer.join("module.wasm")).expect("read"), module);
    assert_eq!(std::fs::read_dir(layer).expect("read").count(), 1);
}

#[tokio::test]
async fn errors_are_of_the_kinds_that_a_pod_shows() {
    let place = Place::new();
    let reason = |policy, name: &'static str| {
        let store = place.store.clone();
        async move { store.ensure(name, policy, None).await.expect_err("no such image").reason() }
    };
    assert_eq!(reason(PullPolicy::Never, "absent").await, "ErrImageNeverPull");
    assert_eq!(reason(PullPolicy::IfNotPresent, "Not/Valid").await, "InvalidImageName");
    assert_eq!(reason(PullPolicy::IfNotPresent, "127.0.0.1:1/absent").await, "RegistryUnavailable");
}

#[tokio::test]
async fn what_is_here_stands_in_for_a_registry_out_of_reach() {
    let place = Place::new();
    place.import("127.0.0.1:1/app:latest", &[&tar(&[("a", b"a")])]).await;
    place.store.ensure("127.0.0.1:1/app", PullPolicy::Always, None).await.expect("the copy that is here");
}

#[tokio::test]
async fn removing_keeps_what_others_need() {
    let place = Place::new();
    let (shared, own) = (tar(&[("shared", b"s")]), tar(&[("own", b"o")]));
    place.import("a", &[&shared]).await;
    place.import("b", &[&shared, &own]).await;
    assert_eq!(place.count("layers"), 2);
    let removed = place.store.remove("b").await.expect("remove");
    assert_eq!((removed.freed.images, removed.freed.layers, removed.freed.blobs), (1, 1, 3));
    assert_eq!(place.count("layers"), 1);
    place.store.ensure("a", PullPolicy::Never, None).await.expect("a is whole");
    assert!(matches!(place.store.remove("b").await, Err(Error::NotFound { .. })));
    place.store.remove("a").await.expect("remove");
    assert_eq!((place.count("layers"), place.count("blobs/sha256"), place.count("locks")), (0, 0, 0));
}

#[tokio::test]
async fn a_mounted_layer_stays() {
    let place = Place::new();
    let image = place.import("a", &[&tar(&[("f", b"mounted")])]).await;
    let target = place.dir.path().join("mnt");
    std::fs::create_dir(&target).expect("target");
    let lower = &image.layers[0];
    let empty = place.dir.path().join("empty");
    std::fs::create_dir(&empty).expect("empty");
    let options = format!("lowerdir={}:{}", lower.display(), empty.display());
    let options = std::ffi::CString::new(options).expect("options");
    rustix::mount::mount(
        "overlay",
        &target,
        "overlay",
        rustix::mount::MountFlags::empty(),
        options.as_c_str(),
    )
    .expect("mount");
    let removed = place.store.remove("a").await;
    let read = std::fs::read(target.join("f"));
    rustix::mount::unmount(&target, rustix::mount::UnmountFlags::DETACH).expect("unmount");
    assert_eq!(removed.expect("remove").freed.layers, 0);
    assert_eq!(read.expect("still there"), b"mounted");
    let policy = GarbagePolicy { min_age: Duration::ZERO, enough: None, now: SystemTime::now() };
    let freed = place.store.garbage_collect(&BTreeSet::new(), policy).await.expect("collect");
    assert_eq!(freed.layers, 1, "unmounted, it goes with the next collection");
}

#[tokio::test]
async fn damage_and_cleaning_from_outside_are_survived() {
    let place = Place::new();
    let image = place.import("a", &[&tar(&[("f", b"x")])]).await;
    // Someone deleted the unpacked layer: it is unpacked again.
    std::fs::remove_dir_all(image.layers[0].parent().expect("layer")).expect("remove");
    let again = place.store.ensure("a", PullPolicy::Never, None).await.expect("unpacked again");
    assert_eq!(std::fs::read(again.layers[0].join("f")).expect("f"), b"x");
    // A half layer from a program that died: no marker.
    std::fs::remove_file(again.layers[0].parent().expect("layer").join("size")).expect("marker");
    std::fs::write(again.layers[0].join("f"), "half").expect("damage");
    let again = place.store.ensure("a", PullPolicy::Never, None).await.expect("unpacked again");
    assert_eq!(std::fs::read(again.layers[0].join("f")).expect("f"), b"x");
    // The configuration rotted: the image is not here any more.
    let config = place.dir.path().join("images/blobs/sha256").join(&image.id["sha256:".len()..]);
    std::fs::write(config, "{").expect("damage");
    let error = place.store.ensure("a", PullPolicy::Never, None).await.expect_err("damaged");
    assert_eq!(error.reason(), "ErrImageNeverPull");
}

#[tokio::test]
async fn many_at_once_share_one_directory() {
    let place = Place::new();
    let layers: Vec<Vec<u8>> = (0..4).map(|n| tar(&[("f", format!("{n}").as_bytes())])).collect();
    let archives: Vec<PathBuf> = (0..8)
        .map(|n| {
            let layers = [layers[n % 4].as_slice(), layers[(n + 1) % 4].as_slice()];
            write(place.dir.path(), &format!("{n}.tar"), &docker_archive(&[&format!("i{n}")], &layers))
        })
        .collect();
    let imports = archives.iter().map(|path| {
        let store = ImageStore::open(place.dir.path().join("images")).expect("open");
        async move { store.import(path, None, Progress::none()).await }
    });
    for imported in futures_util::future::join_all(imports).await {
        imported.expect("import");
    }
    assert_eq!(place.store.list().await.expect("list").len(), 8);
    assert_eq!(place.count("layers"), 4);
    assert_eq!(place.count("tmp"), 0);
}
