//! Limits as the kernel wants them: which file of a cgroup gets which value.

use dunlin_runtime::Resources;

/// The CPU period, microseconds: the kernel's and everyone's default.
const PERIOD: u64 = 100_000;
/// The kernel refuses smaller quotas.
const LEAST_QUOTA: u64 = 1_000;

/// A file and its value. `needed`: a failure to write it is an error, because somebody relies on the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Controller whose hierarchy (cgroup v1) the file is in.
    pub controller: &'static str,
    /// File name.
    pub file: String,
    /// Content.
    pub value: String,
    /// Whether a failure matters.
    pub needed: bool,
}

fn setting(controller: &'static str, file: impl Into<String>, value: impl ToString, needed: bool) -> Setting {
    Setting { controller, file: file.into(), value: value.to_string(), needed }
}

fn quota(milli: u64) -> u64 {
    (milli.saturating_mul(PERIOD) / 1000).max(LEAST_QUOTA)
}

/// For cgroup v1.
pub fn v1(resources: &Resources) -> Vec<Setting> {
    let mut all = Vec::new();
    if let Some(shares) = resources.cpu_shares {
        all.push(setting("cpu", "cpu.shares", shares.clamp(2, 262_144), true));
    }
    if let Some(milli) = resources.cpu_limit_milli {
        all.push(setting("cpu", "cpu.cfs_period_us", PERIOD, true));
        all.push(setting("cpu", "cpu.cfs_quota_us", quota(milli), true));
    }
    if let Some(bytes) = resources.memory_limit {
        all.push(setting("memory", "memory.limit_in_bytes", bytes, true));
        // Without swap accounting the file does not exist, and there is nothing to limit.
        all.push(setting("memory", "memory.memsw.limit_in_bytes", bytes, false));
    }
    if let Some(most) = resources.pids_limit {
        all.push(setting("pids", "pids.max", most, true));
    }
    for (size, bytes) in &resources.hugepages {
        all.push(setting("hugetlb", format!("hugetlb.{}.limit_in_bytes", page_size(size)), bytes, false));
    }
    all
}

/// For cgroup v2.
pub fn v2(resources: &Resources) -> Vec<Setting> {
    let mut all = Vec::new();
    if let Some(shares) = resources.cpu_shares {
        all.push(setting("cpu", "cpu.weight", weight(shares), true));
    }
    if let Some(milli) = resources.cpu_limit_milli {
        all.push(setting("cpu", "cpu.max", format!("{} {PERIOD}", quota(milli)), true));
    }
    if let Some(bytes) = resources.memory_limit {
        all.push(setting("memory", "memory.max", bytes, true));
        all.push(setting("memory", "memory.swap.max", 0, false));
    }
    if let Some(most) = resources.pids_limit {
        all.push(setting("pids", "pids.max", most, true));
    }
    for (size, bytes) in &resources.hugepages {
        all.push(setting("hugetlb", format!("hugetlb.{}.max", page_size(size)), bytes, false));
    }
    all
}

/// Shares (2 to 262144) as weight (1 to 10000), linearly, as KEP-2254 has it.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// `2Mi` as the kernel names it: `2MB`.
fn page_size(size: &str) -> String {
    match size.strip_suffix('i') {
        Some(short) => format!("{short}B"),
        None => size.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(settings: &[Setting]) -> Vec<String> {
        settings.iter().map(|s| format!("{}={}", s.file, s.value)).collect()
    }

    #[test]
    fn both_versions() {
        let resources = Resources {
            cpu_shares: Some(1024),
            cpu_limit_milli: Some(250),
            memory_limit: Some(64 << 20),
            pids_limit: Some(100),
            oom_score_adj: None,
            hugepages: [("2Mi".to_owned(), 4 << 20)].into(),
        };
        assert_eq!(
            text(&v1(&resources)),
            [
                "cpu.shares=1024",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=25000",
                "memory.limit_in_bytes=67108864",
                "memory.memsw.limit_in_bytes=67108864",
                "pids.max=100",
                "hugetlb.2MB.limit_in_bytes=4194304",
            ]
        );
        assert_eq!(
            text(&v2(&resources)),
            [
                "cpu.weight=39",
                "cpu.max=25000 100000",
                "memory.max=67108864",
                "memory.swap.max=0",
                "pids.max=100",
                "hugetlb.2MB.max=4194304",
            ]
        );
        assert_eq!(v1(&Resources::default()), []);
        assert_eq!(v2(&Resources::default()), []);
    }

    #[test]
    fn extremes() {
        assert_eq!((weight(0), weight(2), weight(262_144), weight(u64::MAX)), (1, 1, 10_000, 10_000));
        assert_eq!((quota(0), quota(1), quota(1000)), (1000, 1000, 100_000));
    }
}
