//! Which cgroup hierarchies this machine has, read from `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::path::{Path, PathBuf};

/// A version 1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Legacy {
    /// Its controllers; none of one that only others use.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub path: PathBuf,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hierarchies {
    /// Version 2 only, mounted here.
    Unified(PathBuf),
    /// Version 1, with or without a version 2 hierarchy that holds nothing of use ("hybrid").
    Legacy(Vec<Legacy>),
}

/// What version 1 hierarchies are used for here. In others (`name=systemd`, and version 2 beside version 1) nothing is made, but
/// runc does, and who removes a pod looks there as well.
const CONTROLLERS: [&str; 12] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
];

/// Reads the mounts. Version 2 counts only at `/sys/fs/cgroup` itself, where libcontainer looks for it as well.
pub fn find(mountinfo: &str) -> Option<Hierarchies> {
    let mut legacy: Vec<Legacy> = Vec::new();
    let mut others: Vec<Legacy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let (Some(path), Some(kind)) = (before.split(' ').nth(4), after.split(' ').next()) else { continue };
        if kind == "cgroup2" && path == "/sys/fs/cgroup" {
            return Some(Hierarchies::Unified(PathBuf::from(path)));
        }
        if matches!(kind, "cgroup" | "cgroup2") && path.starts_with("/sys/fs/cgroup/") {
            let options = after.split(' ').nth(2).unwrap_or_default().split(',');
            let controllers: Vec<String> =
                options.filter(|o| CONTROLLERS.contains(o)).map(str::to_owned).collect();
            let list = if controllers.is_empty() { &mut others } else { &mut legacy };
            if !list.iter().any(|l| l.path == Path::new(path)) {
                list.push(Legacy { controllers, path: PathBuf::from(path) });
            }
        }
    }
    if !legacy.is_empty() {
        legacy.append(&mut others);
    }
    (!legacy.is_empty()).then_some(Hierarchies::Legacy(legacy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_2() {
        let info = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(find(info), Some(Hierarchies::Unified("/sys/fs/cgroup".into())));
    }

    #[test]
    fn hybrid() {
        let info = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
                    32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
                    33 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
                    40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n\
                    41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let Some(Hierarchies::Legacy(mounts)) = find(info) else { panic!("not legacy") };
        let controllers: Vec<&str> =
            mounts.iter().flat_map(|m| m.controllers.iter().map(String::as_str)).collect();
        assert_eq!(controllers, ["cpu", "cpuacct", "memory"]);
        let others = mounts.iter().skip(3 - 1).map(|m| m.path.to_string_lossy());
        assert!(others.eq(["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"]), "{mounts:?}");
    }

    #[test]
    fn nothing() {
        assert_eq!(find("garbage\n1 2 3\n"), None);
    }
}
