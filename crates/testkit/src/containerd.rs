//! Debian's containerd, started by hand on folders of its own, with an image and the pause image in it.
//!
//! Its end is a guardian's work: a shell that waits until the test's process is gone or lets go, and then ends what runs,
//! unmounts and removes everything. So nothing stays behind a test that is killed, either.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::image::ImageBuilder;
use crate::namespace::Namespace;
use crate::wait;

/// How long it may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the guardian does: `$1` is the folder, `$2` the process whose tests use it. Every process is ended by its id, and only if it names the folder.
const GUARD: &str = r#"
folder=$1
cat >/dev/null
ctr="ctr --timeout 20s -a $folder/containerd.sock -n k8s.io"
for task in $($ctr tasks ls -q 2>/dev/null); do $ctr tasks kill -a -s KILL "$task" 2>/dev/null; done
sleep 0.5
for pass in TERM KILL KILL; do
  for process in /proc/[0-9]*; do
    id=${process#/proc/}
    [ "$id" != $$ ] || continue
    if tr '\0' '\n' 2>/dev/null <"$process/cmdline" | grep -q "^$folder/"; then kill -s $pass "$id" 2>/dev/null; fi
  done
  sleep 0.5
done
awk -v folder="$folder/" 'index($5, folder) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r path; do
  umount -l "$path"
done
# Cgroups of tests that were killed; one that is in use stays.
for group in /sys/fs/cgroup/*/dunlin-test-$2-*; do
  [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
done
rm -rf "$folder"
"#;

/// What one is told at its start.
#[derive(Debug, Default)]
pub struct Setting<'a> {
    /// The machine on which its streaming server listens; the test's own if there is none.
    pub machine: Option<&'a Namespace>,
    /// The folder of network plugins, and that of their configuration.
    pub plugins: Option<(PathBuf, PathBuf)>,
    /// Further handlers.
    pub handlers: Vec<Handler>,
}

/// A handler beside runc.
#[derive(Debug)]
pub struct Handler {
    /// Its name.
    pub name: &'static str,
    /// The kind of runtime, by which containerd finds its shim.
    pub kind: &'static str,
    /// What the shim's configuration file says.
    pub file: String,
}

/// A running containerd.
#[derive(Debug)]
pub struct Containerd {
    folder: PathBuf,
    machine: Option<PathBuf>,
    process: Option<Child>,
    guardian: Child,
}

impl Containerd {
    /// Whether it, and what it needs, is installed.
    pub fn installed() -> bool {
        ["/usr/bin/containerd", "/usr/bin/ctr", "/usr/sbin/runc"].iter().all(|path| Path::new(path).is_file())
    }

    /// One with a folder and a guardian, and nothing more: its socket can be named before it is there.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn new() -> Result<Self> {
        ensure!(Self::installed(), "containerd is not there: apt-get install containerd runc");
        let folder = tempfile::Builder::new().prefix("dunlin-cri-").tempdir()?.keep();
        let mut guardian = Command::new("sh");
        guardian.args(["-c", GUARD, "guardian"]).arg(&folder).arg(std::process::id().to_string());
        // Of a group of its own, so that it outlives what interrupts the tests.
        guardian.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let guardian = guardian.spawn().context("starting the guardian")?;
        Ok(Self { folder, machine: None, process: None, guardian })
    }

    /// Starts it, and gives it a pause image.
    ///
    /// # Errors
    /// When it does not come up; the message holds its log.
    pub fn start(&mut self, setting: &Setting<'_>) -> Result<()> {
        self.machine = setting.machine.map(Namespace::path);
        fs::write(self.folder.join("config.toml"), self.configuration(setting)?)?;
        self.run()?;
        let pause = ImageBuilder::new()
            .file("bin/busybox", &crate::program::busybox()?)
            .link("bin/tail", "busybox")
            .entrypoint(&["/bin/tail", "-f", "/dev/null"]);
        self.import(&pause, "docker.io/library/pause:test")
    }

    fn configuration(&self, setting: &Setting<'_>) -> Result<String> {
        let folder = self.folder.display();
        let none = (self.folder.join("none"), self.folder.join("none"));
        let (plugins, lists) = setting.plugins.as_ref().unwrap_or(&none);
        let cri = r#"plugins."io.containerd.grpc.v1.cri""#;
        let mut text = format!(
            r#"version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
address = "{folder}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"
[{cri}]
sandbox_image = "docker.io/library/pause:test"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"
[{cri}.cni]
bin_dir = "{}"
conf_dir = "{}"
[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#,
            plugins.display(),
            lists.display()
        );
        for Handler { name, kind, file } in &setting.handlers {
            let path = self.folder.join(format!("{name}.toml"));
            fs::write(&path, file)?;
            write!(
                text,
                "[{cri}.containerd.runtimes.{name}]\nruntime_type = \"{kind}\"\n\
                 [{cri}.containerd.runtimes.{name}.options]\nTypeUrl = \"{kind}.options\"\nConfigPath = \"{}\"\n",
                path.display()
            )?;
        }
        Ok(text)
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("containerd.sock")
    }

    /// Its folder, for what is to vanish with it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Starts it again after [`Containerd::kill`].
    ///
    /// # Errors
    /// When it does not come up.
    pub fn run(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.folder.join("log"))?;
        let program = "/usr/bin/containerd";
        let mut command = match &self.machine {
            Some(machine) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", machine.display())).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.arg("--config").arg(self.folder.join("config.toml"));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.process = Some(command.spawn().context("starting containerd")?);
        wait::until("containerd", PATIENCE, || {
            self.ctr(&["version"]).with_context(|| self.log())?;
            let plugins = self.ctr(&["plugins", "ls"])?;
            let good = plugins.lines().any(|line| line.contains(" cri ") && line.contains("ok"));
            ensure!(good, "{plugins}\n{}", self.log());
            Ok(())
        })
    }

    /// Ends it at once; its containers go on.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Runs `ctr` in Kubernetes' namespace.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn ctr(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new("/usr/bin/ctr");
        command.args(["--timeout", "30s", "-n", "k8s.io", "-a"]).arg(self.socket()).args(args);
        let output = command.output().context("starting ctr")?;
        ensure!(output.status.success(), "ctr {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Gives it an image.
    ///
    /// # Errors
    /// When the image cannot be made or is not taken.
    pub fn import(&self, image: &ImageBuilder, reference: &str) -> Result<()> {
        let file = self.folder.join("image.tar");
        image.write_docker_archive(reference, &file)?;
        self.ctr(&["images", "import", &file.to_string_lossy()])?;
        Ok(fs::remove_file(file)?)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let start = log.len().saturating_sub(4000);
            eprintln!("---- the end of containerd's log\n{}", log.get(start..).unwrap_or_default());
        }
        // Its input ends, and it begins.
        if let Some(mut input) = self.guardian.stdin.take() {
            let _ = input.flush();
        }
        let _ = self.guardian.wait();
        if let Some(mut process) = self.process.take() {
            let _ = process.wait();
        }
    }
}
