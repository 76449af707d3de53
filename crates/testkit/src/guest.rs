//! A machine with another kernel: Debian's, booted in QEMU with its processor emulated, for what this machine's kernel
//! is not set up for. Its cgroups are version 2 only.
//!
//! Its root file system is an archive in memory, written here: busybox, the programs under test with the libraries
//! that they need, kernel modules, and a script. Nothing of this machine is mounted into it and no network leads out of
//! it. It computes much more slowly than this machine, so what runs in it should compute little.

pub mod kernel;
mod libraries;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use dunlin_guest::cpio::Archive;

use crate::cluster::tail;
use crate::process::Process;
use crate::{program, wait};

use kernel::Kernel;

/// What the machine's first processes do.
const INIT: &str = include_str!("guest/init.sh");
const MACHINE: &str = include_str!("guest/machine.sh");
/// The line by which a guest says that its script ended well.
const WELL: &str = "guest: ended with 0";
/// What a node uses of the kernel that Debian builds as modules.
const MODULES: &[&str] = &[
    "overlay",
    "veth",
    "bridge",
    "br_netfilter",
    "dummy",
    "nft_chain_nat",
    "nft_ct",
    "nft_fib_inet",
    "nft_hash",
    "nft_limit",
    "nft_masq",
    "nft_nat",
    "nft_numgen",
    "nft_redir",
    "nft_reject_inet",
];

/// A machine that has not been switched on yet.
#[derive(Debug, Default)]
pub struct Guest {
    files: BTreeMap<String, PathBuf>,
    texts: BTreeMap<String, String>,
}

impl Guest {
    /// One with busybox, `nft`, and nothing else.
    ///
    /// # Errors
    /// When one of them is not installed.
    pub fn new() -> Result<Self> {
        let guest = Self::default().file("/bin/busybox", &program::busybox()?);
        let nft = ["/usr/sbin/nft", "/sbin/nft"].map(Path::new).into_iter().find(|path| path.is_file());
        let nft = nft.context("nft is not there: apt-get install nftables")?;
        guest
            .text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
            .text("/etc/hosts", "127.0.0.1 localhost\n")
            .program("/bin/nft", nft)
    }

    /// Adds a file of this machine.
    pub fn file(mut self, path: &str, from: &Path) -> Self {
        self.files.insert(path.to_owned(), from.to_owned());
        self
    }

    /// Adds a small text file.
    pub fn text(mut self, path: &str, text: &str) -> Self {
        self.texts.insert(path.to_owned(), text.to_owned());
        self
    }

    /// Adds a program of this machine with the libraries that it needs.
    ///
    /// # Errors
    /// When a library is missing.
    pub fn program(mut self, path: &str, from: &Path) -> Result<Self> {
        for library in libraries::of(from)? {
            self = self.file(&library.to_string_lossy(), &library);
        }
        Ok(self.file(path, from))
    }

    /// Switches it on, runs the shell script `script` in it (which ends at the first command that fails), and gives
    /// what it wrote to its console.
    ///
    /// # Errors
    /// When the script fails or does not end within `limit`; the message holds the end of the console.
    pub fn run(self, script: &str, limit: Duration) -> Result<String> {
        let folder = tempfile::tempdir()?;
        let kernel = Kernel::find()?;
        let initrd = folder.path().join("initrd");
        self.text("/script", script).write(&kernel, &initrd)?;
        let log = folder.path().join("console");
        let mut machine = Process::start(qemu(&kernel.image, &initrd), &log)
            .context("starting QEMU, which scripts/setup installs")?;
        let ended = wait::until("the guest's end", limit, || machine.ended()?.context("it still runs"));
        // One that hangs hears no polite request.
        machine.kill();
        let console = machine.log();
        let failed = |what: &str| format!("{what}; the end of the guest's console:\n{}", tail(&console));
        let status = ended.with_context(|| failed("the guest was stopped"))?;
        if !console.lines().any(|line| line.trim_end() == WELL) {
            bail!(failed(&format!("the guest failed ({status})")));
        }
        Ok(console)
    }

    fn write(self, kernel: &Kernel, to: &Path) -> Result<()> {
        let mut archive = Archive::new(BufWriter::new(File::create(to)?));
        let read = |from: &Path| std::fs::read(from).with_context(|| from.display().to_string());
        let mut list = String::new();
        for module in kernel.in_order(MODULES)? {
            let path = format!("/lib/modules/{}", module.file_name().unwrap_or_default().to_string_lossy());
            archive.file(&path, &read(&module)?)?;
            list.push_str(&format!("{path}\n"));
        }
        archive.file("/modules", list.as_bytes())?;
        archive.file("/init", INIT.as_bytes())?;
        archive.file("/init.machine", MACHINE.as_bytes())?;
        // The kernel opens its console before the first process can mount anything.
        archive.folder("/dev")?;
        for (path, from) in &self.files {
            archive.file(path, &read(from)?)?;
        }
        for (path, text) in &self.texts {
            archive.file(path, text.as_bytes())?;
        }
        archive.finish()?;
        Ok(())
    }
}

fn qemu(kernel: &Path, initrd: &Path) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1536"]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
    // A panic reboots, and a reboot ends QEMU.
    command.args([
        "-append",
        "console=ttyS0 loglevel=4 panic=-1 cgroup_no_v1=all mitigations=off no_timer_check",
    ]);
    command
}
