//! What is wrong with a specification, before anything is made.

use dunlin_runtime::{ContainerSpec, Error, SandboxSpec};

use crate::paths::is_name;
use crate::runtime::Kind;

fn wrong(field: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::Spec { field: field.into(), reason: reason.into() }
}

/// Checks a sandbox.
///
/// # Errors
/// With the field that is wrong, and why.
pub fn sandbox(spec: &SandboxSpec) -> Result<(), Error> {
    if !is_name(&spec.id.0) {
        return Err(wrong(
            "id",
            format!("{:?} is not a name of letters, digits, '-', '_' and '.'", spec.id.0),
        ));
    }
    if spec.hostname.len() > 63 || spec.hostname.contains('\0') {
        return Err(wrong("hostname", "must be at most 63 bytes"));
    }
    if spec.host_pid && spec.share_process_namespace {
        return Err(wrong("shareProcessNamespace", "cannot be combined with the host's process namespace"));
    }
    let parts: Vec<&str> = spec.cgroup.split('/').collect();
    if !parts.iter().all(|part| is_name(part)) {
        return Err(wrong("cgroup", format!("{:?} is not a relative path of plain names", spec.cgroup)));
    }
    for name in spec.sysctls.keys() {
        sysctl(spec, name)?;
    }
    match spec.memory_volumes.keys().find(|name| !is_name(name)) {
        Some(name) => Err(wrong("memoryVolumes", format!("{name:?} is not a plain name"))),
        None => Ok(()),
    }
}

/// Only settings that belong to a namespace the pod has to itself: all others would change the host.
fn sysctl(spec: &SandboxSpec, name: &str) -> Result<(), Error> {
    let path = sysctl_path(name);
    let field = format!("sysctls[{name}]");
    if !path.split('/').all(is_name) {
        return Err(wrong(field, "is not a sysctl's name"));
    }
    const IPC: [&str; 8] =
        ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];
    let ipc =
        path.starts_with("fs/mqueue/") || path.strip_prefix("kernel/").is_some_and(|k| IPC.contains(&k));
    if path.starts_with("net/") {
        if spec.host_network {
            return Err(wrong(field, "cannot be set with the host's network"));
        }
    } else if ipc {
        if spec.host_ipc {
            return Err(wrong(field, "cannot be set with the host's IPC"));
        }
    } else {
        return Err(wrong(field, "is not a setting of a namespace"));
    }
    Ok(())
}

/// `net.ipv4.ip_forward` as a path below `/proc/sys`. A name with slashes uses dots literally (`net/ipv4/conf/eth0.1/x`).
pub fn sysctl_path(name: &str) -> String {
    match (name.find('.'), name.find('/')) {
        (Some(dot), Some(slash)) if slash < dot => name.to_owned(),
        (None, Some(_)) => name.to_owned(),
        _ => name.replace('.', "/"),
    }
}

/// Checks a container of one of our kinds.
pub fn container(kind: Kind, sandbox: &SandboxSpec, spec: &ContainerSpec) -> Result<(), Error> {
    if kind == Kind::Process && !spec.devices.is_empty() {
        return Err(wrong("devices", "a native process has the host's devices already"));
    }
    if kind == Kind::Wasm && (spec.privileged || !spec.devices.is_empty()) {
        return Err(wrong(
            "privileged",
            "a WebAssembly guest has no devices, and nothing to do with privileges",
        ));
    }
    if matches!(kind, Kind::Microvm | Kind::Unikernel) && !spec.devices.is_empty() {
        return Err(wrong("devices", "a virtual machine has none of the host's devices"));
    }
    if kind == Kind::Unikernel && (spec.tty || spec.stdin) {
        return Err(wrong("tty, stdin", "a unikernel's console gives output only"));
    }
    if kind != Kind::Process && spec.layers.is_empty() {
        return Err(wrong("layers", "there is no root file system"));
    }
    any_container(sandbox, spec)
}

/// Checks what is the same for containers of every kind, wherever their files come from.
///
/// # Errors
/// With the field that is wrong, and why.
pub fn any_container(sandbox: &SandboxSpec, spec: &ContainerSpec) -> Result<(), Error> {
    if !is_name(&spec.id.0) {
        return Err(wrong(
            "id",
            format!("{:?} is not a name of letters, digits, '-', '_' and '.'", spec.id.0),
        ));
    }
    if spec.args.is_empty() || spec.args[0].is_empty() {
        return Err(wrong("args", "the command is empty"));
    }
    if !spec.cwd.is_absolute() {
        return Err(wrong("cwd", format!("{} is not absolute", spec.cwd.display())));
    }
    if let Some((name, _)) = spec.env.iter().find(|(name, _)| name.is_empty() || name.contains(['=', '\0'])) {
        return Err(wrong("env", format!("{name:?} is not a variable's name")));
    }
    let texts = spec.args.iter().chain(spec.env.iter().map(|(_, value)| value));
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(wrong("args", "a NUL byte in the command or the environment"));
    }
    for (n, mount) in spec.mounts.iter().enumerate() {
        let field = format!("mounts[{n}]");
        if !mount.target.is_absolute() {
            return Err(wrong(field, format!("{} is not absolute", mount.target.display())));
        }
        match mount.propagation.as_deref() {
            None | Some("private" | "rprivate" | "rslave") => {}
            Some(other) => {
                return Err(wrong(field, format!("propagation {other:?} is not possible in this runtime")));
            }
        }
        match mount.memory_volume() {
            Some(name) if !sandbox.memory_volumes.contains_key(name) => {
                return Err(wrong(field, format!("the sandbox has no memory volume {name:?}")));
            }
            None if !mount.source.starts_with('/') => {
                return Err(wrong(
                    field,
                    format!("{:?} is neither absolute nor a memory volume", mount.source),
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctl_names() {
        assert_eq!(sysctl_path("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(sysctl_path("net/ipv4/conf/eth0.1/forwarding"), "net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(sysctl_path("kernel/sem"), "kernel/sem");
    }
}
