//! Network namespaces that go when they are dropped, and commands inside them.
//!
//! Names carry the process id and a counter, so that tests that run at the same time never meet.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Runs a system command and fails with what it printed.
///
/// # Errors
/// When it cannot be started or fails.
pub fn system(words: &[&str]) -> Result<String> {
    let output = Command::new(words[0])
        .args(&words[1..])
        .output()
        .with_context(|| format!("starting {}", words.join(" ")))?;
    if !output.status.success() {
        bail!("{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A network namespace of our own.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one with its loopback device up.
    ///
    /// # Errors
    /// When it cannot be made (needs root).
    pub fn new() -> Result<Self> {
        let name = format!("dnlt{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        system(&["ip", "netns", "add", &name])?;
        let made = Self { name };
        made.ip("link set dev lo up")?;
        // Neighbour discovery would put bytes on idle wires that nobody asked for.
        made.shell("for f in all default; do echo 1 > /proc/sys/net/ipv6/conf/$f/disable_ipv6; done")?;
        Ok(made)
    }

    /// Its name, for `ip -n`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Runs `ip` inside; words are separated by spaces.
    ///
    /// # Errors
    /// When it fails.
    pub fn ip(&self, words: &str) -> Result<String> {
        let mut all = vec!["ip", "-n", &self.name];
        all.extend(words.split(' '));
        system(&all)
    }

    /// Runs a line of shell inside. `/proc/sys/net` is that of the namespace.
    ///
    /// # Errors
    /// When it fails.
    pub fn shell(&self, line: &str) -> Result<String> {
        system(&["nsenter", &format!("--net={}", self.path().display()), "sh", "-c", line])
    }

    /// Puts the calling thread on this network, for good: what it connects and listens to from now on is here.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn enter(&self) -> Result<()> {
        let file = std::fs::File::open(self.path()).with_context(|| self.name.clone())?;
        // SAFETY: setns takes an open descriptor and changes nothing but the calling thread's network.
        if unsafe { libc::setns(std::os::fd::AsRawFd::as_raw_fd(&file), libc::CLONE_NEWNET) } != 0 {
            bail!("entering {}: {}", self.name, std::io::Error::last_os_error());
        }
        Ok(())
    }

    /// A command that will run inside.
    pub fn command(&self, program: &Path) -> Command {
        // `ip netns exec` would hide the cgroups under a fresh /sys; only the network is to be another.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg(program);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = system(&["ip", "netns", "del", &self.name]);
    }
}
