//! What runs on a machine, whoever started it, and the power switch.
//!
//! A process belongs to a machine if it lives in the machine's network namespace or descends from one that does:
//! containers have namespaces of their own, and their shims do not.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::host::Host;
use crate::wait;

/// A process as `/proc` shows it.
#[derive(Debug, Clone)]
struct Seen {
    parent: u32,
    command: String,
    network: Option<u64>,
}

impl Host {
    /// The ids of all processes of this machine.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn processes(&self) -> Result<Vec<u32>> {
        Ok(self.descendants(&table()?)?.into_iter().collect())
    }

    /// How many of its processes run the program called `command`.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn running(&self, command: &str) -> Result<usize> {
        let table = table()?;
        let ours = self.descendants(&table)?;
        Ok(ours.iter().filter(|pid| table[pid].command == command).count())
    }

    fn descendants(&self, table: &BTreeMap<u32, Seen>) -> Result<BTreeSet<u32>> {
        let path = self.namespace().path();
        let network = std::fs::metadata(&path).with_context(|| path.display().to_string())?.ino();
        let mut ours: BTreeSet<u32> =
            table.iter().filter(|(_, p)| p.network == Some(network)).map(|(pid, _)| *pid).collect();
        loop {
            let more: Vec<u32> = table
                .iter()
                .filter(|(pid, p)| !ours.contains(pid) && ours.contains(&p.parent))
                .map(|(pid, _)| *pid)
                .collect();
            if more.is_empty() {
                return Ok(ours);
            }
            ours.extend(more);
        }
    }

    /// Ends everything on the machine at once, and forgets what a machine forgets without power: its processes, its
    /// network, its control groups, and everything below the folders in `volatile`.
    ///
    /// # Errors
    /// When something does not end.
    pub fn power_off(&self, volatile: &[PathBuf]) -> Result<()> {
        wait::until("the end of a machine's processes", Duration::from_secs(20), || {
            let left = self.processes()?;
            for pid in &left {
                // SAFETY: kill takes plain integers. The process was found in this machine's namespace a moment ago.
                unsafe { libc::kill(*pid as libc::pid_t, libc::SIGKILL) };
            }
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

/// Every living process. What ends while we look is left out.
fn table() -> Result<BTreeMap<u32, Seen>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").context("reading /proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let (Some(open), Some(close)) = (stat.find('('), stat.rfind(')')) else { continue };
        let mut rest = stat[close + 1..].split_whitespace();
        if matches!(rest.next(), Some("Z" | "X") | None) {
            continue;
        }
        let parent = rest.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let network = std::fs::metadata(entry.path().join("ns/net")).ok().map(|meta| meta.ino());
        found.insert(pid, Seen { parent, command: stat[open + 1..close].to_owned(), network });
    }
    Ok(found)
}
