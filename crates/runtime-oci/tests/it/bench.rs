//! A runtime on directories and a cgroup of its own, so that tests run side by side.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use dunlin_runtime::Runtime;
use dunlin_runtime::contract::Factory;
use dunlin_runtime_oci::microvm::{self, Choice, Host};
use dunlin_runtime_oci::{Config, Kind, OciRuntime};
use dunlin_testkit::guest::kernel::Kernel;
use futures_util::future::BoxFuture;

/// What the root file system of the tests is made of.
pub const BUSYBOX: &str = "/usr/bin/busybox";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Opens runtimes for the contract suite.
pub struct Bench {
    kind: Kind,
    machines: Option<Host>,
    directory: tempfile::TempDir,
    cgroup_root: String,
}

impl Bench {
    pub fn new(kind: Kind) -> Self {
        let cgroup_root =
            format!("dunlin-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self { kind, machines: None, directory: tempfile::tempdir().unwrap(), cgroup_root }
    }

    /// One whose containers are virtual machines.
    pub fn of_machines(kind: Kind) -> Self {
        let mut bench = Self::new(kind);
        bench.machines = Some(machines(kind));
        bench
    }

    /// The same with a script in QEMU's place, which finds the port on descriptor 3.
    pub fn of_impostors(script: &str) -> Self {
        let mut bench = Self::of_machines(Kind::Microvm);
        let path = bench.directory.path().join("impostor");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        if let Some(host) = &mut bench.machines {
            host.qemu = path;
        }
        bench
    }

    pub fn config(&self) -> Config {
        Config {
            kind: self.kind,
            data_dir: self.directory.path().join("data"),
            run_dir: self.directory.path().join("run"),
            programs_dir: self.directory.path().join("data/bin"),
            cgroup_root: self.cgroup_root.clone(),
            executable: executable(),
            machines: self.machines.clone(),
        }
    }

    pub async fn runtime(&self) -> OciRuntime {
        OciRuntime::open(self.config())
            .await
            .expect("opening the runtime (as root, on a machine with cgroups)")
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Every cgroup directory below our root, in all hierarchies.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let mut all = Vec::new();
        for root in self.cgroup_roots() {
            below(&root, &mut all);
        }
        all
    }

    fn cgroup_roots(&self) -> Vec<PathBuf> {
        let base = Path::new("/sys/fs/cgroup");
        let mut roots = vec![base.join(&self.cgroup_root)];
        roots.extend(fs::read_dir(base).unwrap().flatten().map(|e| e.path().join(&self.cgroup_root)));
        roots.retain(|root| root.is_dir());
        roots
    }
}

fn below(directory: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            below(&entry.path(), all);
            all.push(entry.path());
        }
    }
}

impl Factory for Bench {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Runtime>> {
        Box::pin(async { Arc::new(self.runtime().await) as Arc<dyn Runtime> })
    }

    fn layers(&self) -> Vec<PathBuf> {
        vec![rootfs()]
    }

    fn logs(&self) -> PathBuf {
        self.directory.path().join("logs")
    }

    fn assert_clean(&self) {
        let left = |directory: &str| -> Vec<PathBuf> {
            fs::read_dir(self.path().join(directory)).unwrap().flatten().map(|e| e.path()).collect()
        };
        assert_eq!(left("run/sandboxes"), Vec::<PathBuf>::new());
        assert_eq!(left("data/containers"), Vec::<PathBuf>::new());
        let common =
            |path: &PathBuf| ["shims", "burstable", "wasm-hosts"].iter().any(|name| path.ends_with(name));
        let others: Vec<PathBuf> = self.cgroups().into_iter().filter(|c| !common(c)).collect();
        assert_eq!(others, Vec::<PathBuf>::new(), "cgroups that are left");
        let deadline = Instant::now() + Duration::from_secs(10);
        for cgroup in self.cgroups() {
            // A shim that has answered its last request may need a moment to be buried, and so does a process that several
            // guests shared.
            while fs::read_to_string(cgroup.join("cgroup.procs")).is_ok_and(|text| !text.is_empty()) {
                assert!(Instant::now() < deadline, "processes are left in {}", cgroup.display());
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.path().to_str().unwrap()), "mounts are left");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // What a test that failed has left running would keep its groups, and itself, for ever.
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            let procs = self.cgroups().into_iter().chain(self.cgroup_roots());
            let procs = procs.filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok());
            let pids: Vec<libc::pid_t> = procs
                .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>())
                .collect();
            for pid in pids.iter().filter(|pid| **pid > 0) {
                // SAFETY: kill takes plain integers. The group that listed it is of this test alone.
                unsafe { libc::kill(*pid, libc::SIGKILL) };
            }
            if pids.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        for directory in self.cgroups().into_iter().chain(self.cgroup_roots()) {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// What virtual machines are run with; tried once by all tests together.
fn machines(kind: Kind) -> Host {
    static FOUND: Mutex<Vec<(Kind, Host)>> = Mutex::new(Vec::new());
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, host)) = found.iter().find(|(known, _)| *known == kind) {
        return host.clone();
    }
    let kernel = Kernel::find().unwrap();
    let choice = Choice { kernel: kernel.image, modules: Some(kernel.modules) };
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("machines-{kind:?}"));
    // A test waits in a runtime of its own already.
    let finding = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (programs, state) = (place.join("bin"), place.join("state"));
        runtime.block_on(async {
            match kind {
                Kind::Unikernel => microvm::prepare_unikernels(&programs, &state).await.unwrap(),
                _ => microvm::prepare(&choice, &programs, &state).await.unwrap(),
            }
        })
    });
    let host = finding.join().unwrap();
    found.push((kind, host.clone()));
    host
}

/// The creator: an example of this crate, which cargo builds with the tests.
pub fn executable() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples/creator");
    assert!(
        path.exists(),
        "{} is missing: run cargo test without --test, or build the example",
        path.display()
    );
    path
}

/// A root file system with busybox; made once, shared by all tests and by later runs.
pub fn rootfs() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let whole = Path::new(env!("CARGO_TARGET_TMPDIR")).join("busybox");
        if !whole.exists() {
            let part = whole.with_file_name(format!("busybox-{}", std::process::id()));
            make_rootfs(&part);
            // Another run may have been faster.
            if fs::rename(&part, &whole).is_err() {
                fs::remove_dir_all(&part).unwrap();
            }
        }
        whole
    })
    .clone()
}

fn make_rootfs(root: &Path) {
    for directory in ["bin", "etc", "tmp", "proc", "sys", "dev", "root"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::copy(BUSYBOX, root.join("bin/busybox")).expect("busybox-static is installed");
    let list = Command::new(BUSYBOX).arg("--list").output().unwrap();
    for applet in String::from_utf8(list.stdout).unwrap().lines().filter(|a| *a != "busybox") {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1001::/tmp:/bin/sh\n")
        .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nuser:x:1001:\n").unwrap();
    let script = root.join("bin/script-without-interpreter");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
}
