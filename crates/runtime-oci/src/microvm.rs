//! What this machine runs virtual machines with: found, put together, and tried.
//!
//! A device file or a processor's flag does not tell whether guests run (`docs/adr/0012-microvms.md`), so a small machine is
//! booted, first with the processor's help and then without. The answer is kept until this machine is booted anew or
//! something changes that it depends on.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use dunlin_guest::cpio::Archive;
use dunlin_guest::modules::{self, Modules};

use crate::install;
use crate::paths::text;
use crate::plan::microvm::bare;
pub use crate::plan::microvm::{Accelerator, Host};
use crate::plan::unikernel;

/// What the guest's kernel needs that distributions build as modules.
const MODULES: [&str; 4] = ["virtio_pci", "virtio_console", "virtio_net", "virtiofs"];
/// How long a machine may take to boot. With the processor's help it takes a second or never boots; without, a small or
/// busy machine takes a good part of a minute.
const KVM: Duration = Duration::from_secs(10);
const TCG: Duration = Duration::from_secs(90);
/// The memory of a machine that is tried.
const MEMORY: u64 = 128 << 20;

/// Why this machine runs no virtual machines.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not tried on this architecture.
    #[error("virtual machines run on x86-64 only, and this machine is {0}")]
    Architecture(&'static str),
    /// A program is not installed.
    #[error("{program} is not installed: virtual machines need it (Debian: apt-get install {package})")]
    Missing {
        /// The program.
        program: &'static str,
        /// A package that has it.
        package: &'static str,
    },
    /// The kernel's modules cannot be had.
    #[error("the modules of the guests' kernel below {}: {source}", folder.display())]
    Modules {
        /// Where they are looked for.
        folder: PathBuf,
        /// What is wrong.
        source: modules::Error,
    },
    /// A file operation failed.
    #[error("{operation} {}", path.display())]
    Io {
        /// `reading`, ...
        operation: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No machine boots; everything is there.
    #[error("no virtual machine boots with the kernel {}; its console ends with: {console}", kernel.display())]
    Boot {
        /// The kernel.
        kernel: PathBuf,
        /// Last words.
        console: String,
    },
}

impl Error {
    fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Error::Io { operation, path, source }
    }
}

/// What a machine's operator chose.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The guests' kernel.
    pub kernel: PathBuf,
    /// The folder below which its modules are; none for a kernel that has everything built in.
    pub modules: Option<PathBuf>,
}

impl Choice {
    /// Whether everything is there that virtual machines need.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(&self) -> Result<(), Error> {
        programs()?;
        File::open(&self.kernel).map_err(Error::io("reading", &self.kernel)).map(drop)
    }
}

/// QEMU and the server of files.
fn programs() -> Result<(PathBuf, PathBuf), Error> {
    if !cfg!(target_arch = "x86_64") {
        return Err(Error::Architecture(std::env::consts::ARCH));
    }
    let qemu = find("qemu-system-x86_64", &["/usr/bin", "/usr/local/bin"], "qemu-system-x86")?;
    let places = ["/usr/lib/qemu", "/usr/libexec", "/usr/lib", "/usr/local/libexec", "/usr/bin"];
    Ok((qemu, find("virtiofsd", &places, "qemu-system-common, or virtiofsd")?))
}

/// Finds, puts together and tries what virtual machines need. `programs` outlives a boot of this machine, `state` does not.
///
/// # Errors
/// What is missing, or why no machine boots.
pub async fn prepare(choice: &Choice, programs: &Path, state: &Path) -> Result<Host, Error> {
    choice.check()?;
    let initrd = initrd(choice.modules.as_deref(), programs)?;
    tried(choice.kernel.clone(), Some(initrd), programs, state).await
}

/// The same for guests that bring their own kernel: what is tried is a kernel of a few bytes.
///
/// # Errors
/// As [`prepare`].
pub async fn prepare_unikernels(programs: &Path, state: &Path) -> Result<Host, Error> {
    let kernel = install::put(programs, "guest-probe.elf", &unikernel::smallest());
    let kernel = kernel.map_err(Error::io("writing a kernel in", programs))?;
    tried(kernel, None, programs, state).await
}

async fn tried(kernel: PathBuf, initrd: Option<PathBuf>, folder: &Path, state: &Path) -> Result<Host, Error> {
    let (qemu, files) = programs()?;
    let program = install::install_guest(folder).map_err(Error::io("installing a program in", folder))?;
    let mut host = Host { program, qemu, files, kernel, initrd, accelerator: Accelerator::Tcg };
    host.accelerator = accelerator(&host, state).await?;
    Ok(host)
}

fn find(program: &'static str, places: &[&str], package: &'static str) -> Result<PathBuf, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::split_paths(&path).map(|folder| folder.join(program));
    let known = places.iter().map(|folder| Path::new(folder).join(program));
    own.chain(known).find(|path| path.is_file()).ok_or(Error::Missing { program, package })
}

/// The guests' first file system: the agent, and the modules in the order in which they are loaded.
fn initrd(modules: Option<&Path>, programs: &Path) -> Result<PathBuf, Error> {
    let name = format!("guest-{}.cpio", install::GUEST_HASH);
    let write = || -> io::Result<(Vec<u8>, Result<(), Error>)> {
        let mut archive = Archive::new(Vec::new());
        for folder in ["/dev", "/proc", "/sys"] {
            archive.folder(folder)?;
        }
        archive.file("/init", install::GUEST)?;
        let mut list = String::new();
        if let Some(folder) = modules {
            let order = match Modules::below(&[folder]).in_order(&MODULES) {
                Ok(order) => order,
                Err(source) => {
                    return Ok((Vec::new(), Err(Error::Modules { folder: folder.to_owned(), source })));
                }
            };
            for module in order {
                let inside =
                    format!("/modules.d/{}", module.file_name().unwrap_or_default().to_string_lossy());
                archive.file(&inside, &fs::read(&module)?)?;
                list.push_str(&format!("{inside}\n"));
            }
        }
        archive.file(dunlin_guest::MODULES, list.as_bytes())?;
        Ok((archive.finish()?, Ok(())))
    };
    let path = programs.join(&name);
    let (content, found) = write().map_err(Error::io("writing", &path))?;
    found?;
    install::put(programs, &name, &content).map_err(Error::io("writing", &path))
}

/// What machines boot with, from an earlier answer or by booting one.
async fn accelerator(host: &Host, state: &Path) -> Result<Accelerator, Error> {
    let (file, key) = (state.join("accelerator"), key(host));
    let kept = fs::read_to_string(&file).unwrap_or_default();
    for known in [Accelerator::Kvm, Accelerator::Tcg] {
        if kept == format!("{key} {}\n", known.name()) {
            return Ok(known);
        }
    }
    fs::create_dir_all(state).map_err(Error::io("creating", state))?;
    let mut console = String::new();
    for (candidate, limit) in [(Accelerator::Kvm, KVM), (Accelerator::Tcg, TCG)] {
        if candidate == Accelerator::Kvm && File::options().read(true).write(true).open("/dev/kvm").is_err() {
            continue;
        }
        let tried = Host { accelerator: candidate, ..host.clone() };
        match boot(&tried, state, limit).await.map_err(Error::io("trying", &host.qemu))? {
            Ok(()) => {
                tracing::info!(accelerator = candidate.name(), "virtual machines boot");
                let written = File::create(&file).and_then(|mut f| writeln!(f, "{key} {}", candidate.name()));
                written.map_err(Error::io("writing", &file))?;
                return Ok(candidate);
            }
            Err(words) => {
                tracing::info!(
                    accelerator = candidate.name(),
                    console = words,
                    "virtual machines do not boot"
                );
                console = words;
            }
        }
    }
    Err(Error::Boot { kernel: host.kernel.clone(), console })
}

/// Boots a machine until its agent says something; its last words otherwise.
async fn boot(host: &Host, state: &Path, limit: Duration) -> io::Result<Result<(), String>> {
    let plan = state.join("probe");
    fs::write(&plan, bare(host, MEMORY, 1).encode())?;
    let mut command = tokio::process::Command::new(&host.program);
    command.arg("probe").arg(&plan).env_clear().current_dir(state);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(limit, command.spawn()?.wait_with_output()).await;
    let _ = fs::remove_file(&plan);
    Ok(match output {
        Ok(output) => {
            let output = output?;
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            if output.status.success() { Ok(()) } else { Err(words) }
        }
        Err(_) => Err(format!("nothing within {} seconds", limit.as_secs())),
    })
}

/// What an answer depends on: the files that were tried, as they are now.
fn key(host: &Host) -> String {
    let one = |path: &PathBuf| {
        let meta = fs::metadata(path).ok();
        let time = meta.as_ref().and_then(|m| m.modified().ok());
        let time = time.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
        format!("{}:{}:{}", text(path), meta.map_or(0, |m| m.len()), time.as_nanos())
    };
    let tried = [&host.qemu, &host.kernel, &host.program].into_iter().chain(&host.initrd);
    tried.map(one).collect::<Vec<_>>().join(" ")
}
