//! The runtime on a containerd that all tests of a process share, each with an identity and directories of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use dunlin_runtime::Runtime;
use dunlin_runtime::contract::Factory;
use dunlin_runtime_cri::{Config, CriRuntime, Handler, plugin};
use dunlin_testkit::containerd::{Containerd, Setting};
use dunlin_testkit::image::ImageBuilder;
use futures_util::future::BoxFuture;

/// What every container of the suite is made of.
pub const IMAGE: &str = "docker.io/library/busybox:contract";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Starts a containerd with the suite's image.
pub fn containerd() -> Containerd {
    let plugins = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cni");
    plugin::install(&plugins, &example()).unwrap();
    let setting = Setting {
        plugins: Some((plugins.join("bin"), plugins.join("net.d"))),
        #[cfg(gvisor)]
        handlers: vec![crate::gvisor::handler()],
        ..Setting::default()
    };
    let mut started = Containerd::new().unwrap();
    started.start(&setting).unwrap();
    let script = started.folder().join("script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    let image = ImageBuilder::whole_busybox().unwrap().file("bin/script-without-interpreter", &script);
    started.import(&image, IMAGE).unwrap();
    started
}

/// The one that the tests share. Its guardian ends it after the last.
pub fn shared() -> &'static Containerd {
    static SHARED: OnceLock<Containerd> = OnceLock::new();
    SHARED.get_or_init(containerd)
}

fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples/plugin");
    assert!(
        path.exists(),
        "{} is missing: run cargo test without --test, or build the example",
        path.display()
    );
    path
}

/// Opens runtimes for the contract suite.
pub struct Bench {
    directory: tempfile::TempDir,
    socket: PathBuf,
    handler: Handler,
    node: String,
}

impl Bench {
    /// On the daemon that is shared, with its default handler.
    pub fn new() -> Self {
        Self::on(shared(), Handler::default_one())
    }

    /// On this daemon, with this handler.
    pub fn on(daemon: &Containerd, handler: Handler) -> Self {
        let node = format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self { directory: tempfile::tempdir().unwrap(), socket: daemon.socket(), handler, node }
    }

    /// The configuration.
    pub fn config(&self) -> Config {
        Config {
            socket: self.socket.clone(),
            handler: self.handler.clone(),
            node: self.node.clone(),
            run_dir: self.directory.path().join("run"),
            cgroup_root: self.cgroup_root(),
        }
    }

    /// A runtime.
    pub async fn runtime(&self) -> CriRuntime {
        CriRuntime::open(self.config())
            .await
            .expect("opening the runtime (as root, on a machine with cgroups)")
    }

    fn cgroup_root(&self) -> String {
        format!("dunlin-{}", self.node)
    }

    /// Cgroups of pods that are left, in all hierarchies.
    fn cgroups(&self) -> Vec<PathBuf> {
        let base = Path::new("/sys/fs/cgroup");
        let roots = fs::read_dir(base).unwrap().flatten().map(|e| e.path()).chain([base.to_owned()]);
        let pods = roots.map(|root| root.join(self.cgroup_root()).join("burstable"));
        pods.flat_map(|pods| fs::read_dir(pods).into_iter().flatten().flatten().map(|e| e.path()))
            .filter(|path| path.is_dir())
            .collect()
    }
}

impl Factory for Bench {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Runtime>> {
        Box::pin(async { Arc::new(self.runtime().await) as Arc<dyn Runtime> })
    }

    fn layers(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    fn image(&self) -> Option<String> {
        Some(IMAGE.to_owned())
    }

    fn logs(&self) -> PathBuf {
        self.directory.path().join("logs")
    }

    fn assert_clean(&self) {
        assert_eq!(self.cgroups(), Vec::<PathBuf>::new(), "cgroups that are left");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.directory.path().to_str().unwrap()), "mounts are left");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // The daemon makes no difference between groups that it made and ours, so all below ours is empty by now.
        let base = Path::new("/sys/fs/cgroup");
        let roots = fs::read_dir(base).into_iter().flatten().flatten().map(|e| e.path());
        for root in roots.chain([base.to_owned()]).map(|root| root.join(self.cgroup_root())) {
            for below in ["burstable", "shims", ""] {
                let _ = fs::remove_dir(root.join(below));
            }
        }
    }
}
