//! What runs on a machine, whoever started it, and the power switch.
//!
//! A process belongs to a machine if it lives in the machine's network namespace, or in the control groups of the
//! machine's node: pods have namespaces of their own, and nobody's children when their agent is gone.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::host::Host;
use crate::wait;

/// A process as `/proc` shows it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// As this kernel numbers it.
    pub pid: u32,
    /// The first 15 bytes of its program's name.
    pub command: String,
}

impl Seen {
    /// Ends the process, which was found a moment ago.
    pub fn kill(&self) {
        // SAFETY: kill takes plain integers.
        unsafe { libc::kill(self.pid as libc::pid_t, libc::SIGKILL) };
    }
}

impl Host {
    /// How many processes of this machine, whose node's control groups are below `group`, run the program `command`: the
    /// first 15 bytes of its name.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn running(&self, group: &str, command: &str) -> Result<usize> {
        Ok(self.processes(group)?.iter().filter(|process| process.command == command).count())
    }

    /// Every living process of this machine. What ends while we look is left out.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn processes(&self, group: &str) -> Result<Vec<Seen>> {
        let path = self.namespace().path();
        let network = std::fs::metadata(&path).with_context(|| path.display().to_string())?.ino();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").context("reading /proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let inside =
                std::fs::metadata(entry.path().join("ns/net")).is_ok_and(|meta| meta.ino() == network);
            let groups = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
            if !inside && (group.is_empty() || !groups.contains(&format!(":/{group}/"))) {
                continue;
            }
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            let (Some(open), Some(close)) = (stat.find('('), stat.rfind(')')) else { continue };
            if !matches!(stat[close + 1..].split_whitespace().next(), Some("Z" | "X") | None) {
                found.push(Seen { pid, command: stat[open + 1..close].to_owned() });
            }
        }
        Ok(found)
    }

    /// Ends everything on the machine at once, and forgets what a machine forgets without power: its processes, its
    /// network, its control groups, and everything below the folders in `volatile`.
    ///
    /// # Errors
    /// When something does not end.
    pub fn power_off(&self, group: &str, volatile: &[PathBuf]) -> Result<()> {
        wait::until("the end of a machine's processes", Duration::from_secs(20), || {
            let left = self.processes(group)?;
            left.iter().for_each(Seen::kill);
            if left.is_empty() { Ok(()) } else { bail!("processes {left:?} are left") }
        })?;
        for folder in volatile {
            remove(folder).with_context(|| format!("emptying {}", folder.display()))?;
        }
        self.namespace().shell(
            "nft flush ruleset; ip -o link | cut -d: -f2 | cut -d@ -f1 | grep -vwE 'lo|eth0' \
             | while read device; do ip link del dev $device || true; done",
        )?;
        Ok(())
    }
}

/// Removes a folder of files, or of control groups, whose files cannot be removed.
fn remove(folder: &Path) -> std::io::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    if !folder.starts_with("/sys/fs/cgroup") {
        return std::fs::remove_dir_all(folder);
    }
    for entry in std::fs::read_dir(folder)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    std::fs::remove_dir(folder)
}
