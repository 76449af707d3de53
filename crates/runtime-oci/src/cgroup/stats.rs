//! What a cgroup uses, from the texts of its files. Pure: the caller reads the files.

use dunlin_runtime::Stats;

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Version 1. `None` if the cgroup is gone.
pub fn v1(read: impl Fn(&str, &str) -> Option<String>) -> Option<Stats> {
    let cpu_nanoseconds = number(&read("cpuacct", "cpuacct.usage")?)?;
    let memory_usage = number(&read("memory", "memory.usage_in_bytes")?)?;
    let inactive = field(&read("memory", "memory.stat")?, "total_inactive_file").unwrap_or(0);
    let pids = read("pids", "pids.current").and_then(|t| number(&t)).unwrap_or(0);
    let memory_working_set = memory_usage.saturating_sub(inactive);
    Some(Stats { cpu_nanoseconds, memory_working_set, memory_usage, pids })
}

/// Version 2. `None` if the cgroup is gone.
pub fn v2(read: impl Fn(&str, &str) -> Option<String>) -> Option<Stats> {
    let cpu_nanoseconds = field(&read("cpu", "cpu.stat")?, "usage_usec")?.saturating_mul(1000);
    let memory_usage = number(&read("memory", "memory.current")?)?;
    let inactive = field(&read("memory", "memory.stat")?, "inactive_file").unwrap_or(0);
    let pids = read("pids", "pids.current").and_then(|t| number(&t)).unwrap_or(0);
    let memory_working_set = memory_usage.saturating_sub(inactive);
    Some(Stats { cpu_nanoseconds, memory_working_set, memory_usage, pids })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions() {
        let expected = Stats { cpu_nanoseconds: 7000, memory_working_set: 60, memory_usage: 100, pids: 3 };
        let one = v1(|_, file| {
            Some(match file {
                "cpuacct.usage" => "7000\n".into(),
                "memory.usage_in_bytes" => "100\n".into(),
                "memory.stat" => "inactive_file 1\ntotal_inactive_file 40\n".into(),
                _ => "3\n".into(),
            })
        });
        let two = v2(|_, file| {
            Some(match file {
                "cpu.stat" => "usage_usec 7\nuser_usec 1\n".into(),
                "memory.current" => "100\n".into(),
                "memory.stat" => "anon 5\ninactive_file 40\n".into(),
                _ => "3\n".into(),
            })
        });
        assert_eq!(one.as_ref(), Some(&expected));
        assert_eq!(two, one);
        assert_eq!(v1(|_, _| None), None);
    }
}
