//! Who a container runs as, and what it may do.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::model::spec;

/// The capabilities that a container has without asking.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];
const ALL: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];
pub const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
pub const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The capabilities of a container.
pub fn capabilities(container: &Container) -> Vec<String> {
    let context = container.security_context.as_ref();
    let plain = |names: Option<&Vec<String>>| -> Vec<String> {
        names
            .into_iter()
            .flatten()
            .map(|n| n.to_uppercase())
            .map(|n| n.strip_prefix("CAP_").map_or(n.clone(), str::to_owned))
            .collect()
    };
    if context.and_then(|c| c.privileged) == Some(true) {
        return ALL.iter().map(|c| format!("CAP_{c}")).collect();
    }
    let asked = context.and_then(|c| c.capabilities.as_ref());
    let add = plain(asked.and_then(|c| c.add.as_ref()));
    let drop = plain(asked.and_then(|c| c.drop.as_ref()));
    let all = |list: &[String]| list.iter().any(|n| n == "ALL");
    let mut kept: Vec<String> =
        if all(&drop) { Vec::new() } else { DEFAULT.iter().map(|c| (*c).to_owned()).collect() };
    if all(&add) {
        kept = ALL.iter().map(|c| (*c).to_owned()).collect();
    }
    kept.retain(|c| !drop.contains(c));
    for name in add.into_iter().filter(|n| n != "ALL") {
        if !kept.contains(&name) {
            kept.push(name);
        }
    }
    kept.into_iter().map(|c| format!("CAP_{c}")).collect()
}

/// The identity of a container's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: Option<String>,
    /// The image's user, whom only the runtime can look up.
    pub name: Option<String>,
}

/// Works out the user from the pod, the container, and the image's user and files; without `layers`, the files are the
/// runtime's, and so is looking up names.
pub fn user(
    pod: &Pod,
    container: &Container,
    image_user: &str,
    layers: Option<&[PathBuf]>,
) -> Result<User, String> {
    let unknown = layers.is_none();
    let layers = layers.unwrap_or_default();
    let pod_context = spec(pod).security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let passwd = read_layers(layers, "etc/passwd");
    let group_file = read_layers(layers, "etc/group");
    let asked = own.run_as_user.or(pod_context.run_as_user);
    let (name, group) = image_user.split_once(':').map_or((image_user, None), |(u, g)| (u, Some(g)));
    let entry = |key: &str, column: usize| {
        passwd
            .lines()
            .map(|l| l.split(':').collect::<Vec<_>>())
            .find(|f| f.len() > 5 && f[column] == key)
            .map(|f| {
                (
                    f[0].to_owned(),
                    f[2].parse::<u32>().unwrap_or(0),
                    f[3].parse::<u32>().unwrap_or(0),
                    f[5].to_owned(),
                )
            })
    };
    let (uid, found, named) = match asked {
        Some(uid) => {
            let uid = u32::try_from(uid).map_err(|_| format!("runAsUser {uid} is out of range"))?;
            (uid, entry(&uid.to_string(), 2), false)
        }
        None if name.is_empty() => (0, entry("0", 2), false),
        None => match name.parse::<u32>() {
            Ok(uid) => (uid, entry(name, 2), false),
            Err(_) if unknown => (0, None, true),
            Err(_) => {
                let found = entry(name, 0).ok_or_else(|| {
                    format!("unable to find user {name}: no matching entries in passwd file")
                })?;
                (found.1, Some(found), true)
            }
        },
    };
    if own.run_as_non_root.or(pod_context.run_as_non_root) == Some(true) {
        if named {
            return Err(format!(
                "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"
            ));
        }
        if uid == 0 {
            let why = if asked == Some(0) {
                "container's runAsUser breaks non-root policy"
            } else {
                "container has runAsNonRoot and image will run as root"
            };
            return Err(why.into());
        }
    }
    let gid = match own.run_as_group.or(pod_context.run_as_group) {
        Some(gid) => u32::try_from(gid).map_err(|_| format!("runAsGroup {gid} is out of range"))?,
        None => match group.filter(|_| asked.is_none()) {
            Some(group) => match group.parse() {
                Ok(gid) => gid,
                Err(_) if unknown => 0,
                Err(_) => group_file
                    .lines()
                    .map(|l| l.split(':').collect::<Vec<_>>())
                    .find(|f| f.len() > 2 && f[0] == group)
                    .and_then(|f| f[2].parse().ok())
                    .ok_or_else(|| {
                        format!("unable to find group {group}: no matching entries in group file")
                    })?,
            },
            None => found.as_ref().map_or(0, |f| f.2),
        },
    };
    let mut groups: Vec<u32> = Vec::new();
    if pod_context.supplemental_groups_policy.as_deref() != Some("Strict")
        && let Some((name, ..)) = &found
    {
        groups.extend(group_file.lines().filter_map(|l| {
            let fields: Vec<&str> = l.split(':').collect();
            (fields.len() > 3 && fields[3].split(',').any(|m| m == name))
                .then(|| fields[2].parse::<u32>().ok())
                .flatten()
        }));
    }
    groups.extend(pod_context.supplemental_groups.iter().flatten().filter_map(|g| u32::try_from(*g).ok()));
    groups.extend(pod_context.fs_group.and_then(|g| u32::try_from(g).ok()));
    groups.sort_unstable();
    groups.dedup();
    let name = (unknown && named).then(|| image_user.to_owned());
    Ok(User { uid, gid, groups, home: found.map(|f| f.3), name })
}

/// A small file of the image: from the topmost layer that has it.
fn read_layers(layers: &[PathBuf], name: &str) -> String {
    let plain = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|m| m.is_file() && m.len() < 1 << 20);
    layers
        .iter()
        .rev()
        .map(|l| l.join(name))
        .find(|p| plain(p))
        .and_then(|p| std::fs::read_to_string(p).ok())
        .unwrap_or_default()
}

/// `SIGTERM`, `TERM`, `15` as a number; anything else is SIGTERM.
pub fn signal(name: Option<&str>) -> i32 {
    let Some(name) = name else { return libc::SIGTERM };
    if let Ok(number) = name.parse::<i32>() {
        return if (1..=64).contains(&number) { number } else { libc::SIGTERM };
    }
    match name.to_uppercase().trim_start_matches("SIG") {
        "HUP" => libc::SIGHUP,
        "INT" => libc::SIGINT,
        "QUIT" => libc::SIGQUIT,
        "KILL" => libc::SIGKILL,
        "USR1" => libc::SIGUSR1,
        "USR2" => libc::SIGUSR2,
        "WINCH" => libc::SIGWINCH,
        "ABRT" => libc::SIGABRT,
        "RTMIN+3" => 37,
        _ => libc::SIGTERM,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(context: serde_json::Value) -> Container {
        serde_json::from_value(json!({"name":"c","securityContext":context})).expect("container")
    }

    #[test]
    fn capabilities_are_dropped_before_added() {
        let c = container(json!({"capabilities":{"drop":["ALL"],"add":["CAP_NET_ADMIN"]}}));
        assert_eq!(capabilities(&c), ["CAP_NET_ADMIN"]);
        assert_eq!(capabilities(&container(json!({}))).len(), 14);
        assert_eq!(capabilities(&container(json!({"privileged":true}))).len(), 41);
    }

    #[test]
    fn users_of_images() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::create_dir(dir.path().join("etc")).expect("etc");
        std::fs::write(
            dir.path().join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n",
        )
        .expect("passwd");
        std::fs::write(dir.path().join("etc/group"), "web:x:34:\nextra:x:99:web\n").expect("group");
        let layers = [dir.path().to_owned()];
        let pod = Pod::default();
        let user_of = |c: &Container, image: &str| user(&pod, c, image, Some(&layers));
        let web = user_of(&container(json!({})), "web").expect("web");
        assert_eq!((web.uid, web.gid, web.groups, web.home.as_deref()), (33, 34, vec![99], Some("/srv")));
        assert!(user_of(&container(json!({})), "nobody").is_err());
        let nonroot = container(json!({"runAsNonRoot":true}));
        assert!(user_of(&nonroot, "").expect_err("root").contains("image will run as root"));
        assert!(user_of(&nonroot, "web").expect_err("named").contains("non-numeric user (web)"));
        assert_eq!(user_of(&nonroot, "7:8").expect("numbers").gid, 8);
        // Of an image that only the runtime can look into, numbers count, and names are handed on.
        let user_of = |c: &Container, image: &str| user(&pod, c, image, None);
        let web = user_of(&container(json!({})), "web:extra").expect("web");
        assert_eq!((web.uid, web.gid, web.name.as_deref()), (0, 0, Some("web:extra")));
        let seven = user_of(&container(json!({"runAsUser":7})), "web").expect("seven");
        assert_eq!((seven.uid, seven.name), (7, None));
        assert!(user_of(&nonroot, "web").expect_err("named").contains("non-numeric user (web)"));
    }
}
