//! Which capabilities a container gets.

/// Every capability by its number (linux/capability.h).
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Capabilities as a set of bits.
pub fn bits(names: &[&str]) -> u64 {
    NAMES.iter().enumerate().filter(|(_, name)| names.contains(name)).map(|(n, _)| 1 << n).sum()
}

/// The capabilities of a container, by number order: those wanted (all, if privileged) that this process has itself.
/// What it lacks cannot be given; Kubernetes' runtimes behave so, too.
///
/// # Errors
/// The first name that is no capability.
pub fn granted(wanted: &[String], privileged: bool, own: u64) -> Result<Vec<&'static str>, String> {
    if let Some(unknown) = wanted.iter().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(unknown.clone());
    }
    let wants = |name: &str| privileged || wanted.iter().any(|w| w == name);
    Ok(NAMES
        .iter()
        .enumerate()
        .filter(|(n, name)| own >> n & 1 == 1 && wants(name))
        .map(|(_, name)| *name)
        .collect())
}

/// The bounding set in the text of `/proc/<pid>/status`.
pub fn bounding(status: &str) -> u64 {
    let line = status.lines().find_map(|l| l.strip_prefix("CapBnd:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wanted_and_had() {
        let wanted = ["CAP_CHOWN".to_owned(), "CAP_SYS_RESOURCE".to_owned()];
        assert_eq!(granted(&wanted, false, 0x1ff_feff_ffff), Ok(vec!["CAP_CHOWN"]));
        assert_eq!(granted(&[], true, 0x1ff_ffff_ffff).map(|g| g.len()), Ok(41));
        assert_eq!(granted(&["CAP_FLY".to_owned()], false, u64::MAX), Err("CAP_FLY".to_owned()));
        assert_eq!(NAMES[21], "CAP_SYS_ADMIN");
    }

    #[test]
    fn the_bounding_set_is_read_from_status() {
        assert_eq!(bounding("Name:\tx\nCapBnd:\t000001fffeffffff\n"), 0x1ff_feff_ffff);
        assert_eq!(bounding(""), 0);
    }
}
