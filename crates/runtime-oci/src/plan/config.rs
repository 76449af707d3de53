//! The OCI runtime configuration of a container (opencontainers/runtime-spec, config.md), as JSON.
//!
//! Everything is written out; libcontainer's own defaults are not used, because they mount cgroups writable and know
//! nothing of pods.

use std::path::Path;

use dunlin_runtime::{ContainerSpec, Mount, SandboxSpec};
use serde_json::{Value, json};

use crate::paths::{Sandbox, text};

/// What is used when the image says nothing.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a container finds when it arrives.
#[derive(Debug)]
pub struct Context<'a> {
    /// The sandbox's specification.
    pub sandbox: &'a SandboxSpec,
    /// Its directories.
    pub paths: &'a Sandbox,
    /// Its shim, whose namespaces are joined.
    pub shim: u32,
    /// Process 1 of the shared PID namespace; 0 for none.
    pub reaper: u32,
    /// The container's cgroup, from the hierarchy's root.
    pub cgroup: String,
    /// cgroup v2, where a container gets a cgroup namespace.
    pub unified: bool,
    /// Capabilities granted.
    pub capabilities: &'a [&'static str],
    /// Give `CAP_SYS_ADMIN` until the seccomp filter is installed.
    pub lend_sys_admin: bool,
    /// Devices, looked up on the host.
    pub devices: &'a [Device],
    /// What runs is a WebAssembly guest.
    pub guest: bool,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Path inside.
    pub path: String,
    /// `c` or `b`.
    pub kind: char,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// `rwm`.
    pub access: String,
}

/// The configuration.
pub fn config(spec: &ContainerSpec, context: &Context<'_>) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": "rootfs", "readonly": spec.read_only_rootfs },
        "process": process(spec, context),
        "mounts": mounts(spec, context),
        "linux": linux(spec, context),
    })
}

/// The environment, with what programs expect where nobody says otherwise.
pub fn environment(spec: &ContainerSpec) -> Vec<String> {
    let mut env: Vec<String> = spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if !spec.env.iter().any(|(name, _)| name == "PATH") {
        env.insert(0, format!("PATH={DEFAULT_PATH}"));
    }
    if spec.tty && !spec.env.iter().any(|(name, _)| name == "TERM") {
        env.push("TERM=xterm".to_owned());
    }
    env
}

fn process(spec: &ContainerSpec, context: &Context<'_>) -> Value {
    let granted = context.capabilities;
    let mut for_now = granted.to_vec();
    if context.lend_sys_admin {
        for_now.push("CAP_SYS_ADMIN");
    }
    json!({
        "terminal": spec.tty,
        "user": { "uid": spec.uid, "gid": spec.gid, "additionalGids": spec.additional_gids, "umask": 0o022 },
        "args": spec.args,
        "env": environment(spec),
        "cwd": text(&spec.cwd),
        "noNewPrivileges": spec.no_new_privileges,
        // Nothing is inheritable: an executed program could gain by it (CVE-2022-24769).
        "capabilities": {
            "bounding": granted, "permitted": for_now, "effective": for_now, "inheritable": [], "ambient": [],
        },
    })
}

fn mount(kind: &str, source: &str, target: &str, options: &[&str]) -> Value {
    json!({ "type": kind, "source": source, "destination": target, "options": options })
}

fn mounts(spec: &ContainerSpec, context: &Context<'_>) -> Vec<Value> {
    let writable = if spec.privileged { "rw" } else { "ro" };
    let own_shm = text(&context.paths.shm());
    let shm = if context.sandbox.host_ipc { "/dev/shm" } else { &own_shm };
    let defaults = [
        mount("proc", "proc", "/proc", &["nosuid", "noexec", "nodev"]),
        mount("tmpfs", "tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "devpts",
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("mqueue", "mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
        mount("bind", shm, "/dev/shm", &["rbind", "nosuid", "noexec", "nodev"]),
        mount("sysfs", "sysfs", "/sys", &["nosuid", "noexec", "nodev", writable]),
        mount("cgroup", "cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", "relatime", writable]),
    ];
    // A guest that could open its own process's files would be out of its sandbox. The usual devices harm nobody.
    let defaults = defaults.into_iter().filter(|m| !context.guest || m["destination"] == "/dev");
    let taken = |target: &str| spec.mounts.iter().any(|m| m.target == Path::new(target));
    let mut all: Vec<Value> = defaults.filter(|m| !m["destination"].as_str().is_some_and(taken)).collect();
    all.extend(spec.mounts.iter().map(|m| bind(m, context.paths)));
    all
}

fn bind(wanted: &Mount, paths: &Sandbox) -> Value {
    let source = text(&paths.source(wanted));
    let propagation = match wanted.propagation.as_deref() {
        Some("rslave") => "rslave",
        _ => "rprivate",
    };
    let access = if wanted.read_only { "ro" } else { "rw" };
    mount("bind", &source, &text(&wanted.target), &["rbind", propagation, access])
}

fn linux(spec: &ContainerSpec, context: &Context<'_>) -> Value {
    let (masked, readonly) = if spec.privileged || context.guest {
        (&[][..], &[][..])
    } else {
        (&spec.masked_paths[..], &spec.readonly_paths[..])
    };
    let devices: Vec<Value> = context
        .devices
        .iter()
        .map(|d| {
            json!({
                "path": d.path, "type": d.kind.to_string(), "major": d.major, "minor": d.minor,
                "fileMode": d.mode, "uid": d.uid, "gid": d.gid,
            })
        })
        .collect();
    json!({
        "namespaces": namespaces(context),
        "cgroupsPath": context.cgroup,
        "resources": { "devices": device_rules(spec, context.devices) },
        "devices": devices,
        "maskedPaths": masked,
        "readonlyPaths": readonly,
        "rootfsPropagation": "slave",
    })
}

fn namespaces(context: &Context<'_>) -> Vec<Value> {
    let joined =
        |kind: &str, pid: u32, file: &str| json!({ "type": kind, "path": format!("/proc/{pid}/ns/{file}") });
    let sandbox = context.sandbox;
    let mut all = vec![json!({ "type": "mount" })];
    if context.reaper != 0 {
        all.push(joined("pid", context.reaper, "pid"));
    } else if !sandbox.host_pid {
        all.push(json!({ "type": "pid" }));
    }
    if !sandbox.host_network {
        all.push(joined("network", context.shim, "net"));
        all.push(joined("uts", context.shim, "uts"));
    }
    if !sandbox.host_ipc {
        all.push(joined("ipc", context.shim, "ipc"));
    }
    if context.unified {
        all.push(json!({ "type": "cgroup" }));
    }
    all
}

fn device_rules(spec: &ContainerSpec, devices: &[Device]) -> Vec<Value> {
    if spec.privileged {
        return vec![json!({ "allow": true, "access": "rwm" })];
    }
    // Making a node is harmless while it cannot be opened; libcontainer adds the usual devices itself.
    let mut rules = vec![
        json!({ "allow": false, "access": "rwm" }),
        json!({ "allow": true, "type": "c", "access": "m" }),
        json!({ "allow": true, "type": "b", "access": "m" }),
    ];
    rules.extend(devices.iter().map(|d| {
        json!({ "allow": true, "type": d.kind.to_string(), "major": d.major, "minor": d.minor, "access": d.access })
    }));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_runtime::{Resources, SandboxId};
    use expect_test::expect;

    fn sandbox() -> SandboxSpec {
        SandboxSpec {
            id: SandboxId("uid".into()),
            hostname: "pod".into(),
            host_network: false,
            host_pid: false,
            host_ipc: false,
            share_process_namespace: false,
            cgroup: "burstable/poduid".into(),
            resources: Resources::default(),
            sysctls: [].into(),
            memory_volumes: [("cache".to_owned(), 0)].into(),
            privileged: false,
            tenant: String::new(),
        }
    }

    fn container(text: &str) -> ContainerSpec {
        let mut whole = json!({
            "id": "app-0", "layers": ["/l"], "args": ["sh"], "env": [["A", "b"]], "cwd": "/", "uid": 1, "gid": 2,
            "additionalGids": [3], "readOnlyRootfs": true, "mounts": [], "devices": [], "capabilities": ["CAP_CHOWN"],
            "privileged": false, "noNewPrivileges": true, "seccompDefault": true, "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"], "tty": false, "stdin": false, "stdinOnce": false, "resources": {},
            "logPath": "/log", "logMaxSize": 1, "logMaxFiles": 1,
        });
        let changes: serde_json::Map<String, Value> = serde_json::from_str(text).unwrap();
        changes.into_iter().for_each(|(name, value)| whole[name] = value);
        serde_json::from_value(whole).unwrap()
    }

    /// The parts that a case is about, one line each.
    fn check(
        sandbox: SandboxSpec,
        spec: &str,
        reaper: u32,
        pick: fn(&Value) -> Vec<&Value>,
        expected: expect_test::Expect,
    ) {
        let layout = crate::paths::Layout { data: "/data".into(), run: "/run/x".into() };
        let paths = layout.sandbox(&sandbox.id);
        let context = Context {
            sandbox: &sandbox,
            paths: &paths,
            shim: 12,
            reaper,
            cgroup: "/dunlin-x/burstable/poduid/app-0".into(),
            unified: true,
            capabilities: &["CAP_CHOWN"],
            lend_sys_admin: true,
            devices: &[],
            guest: false,
        };
        let config = config(&container(spec), &context);
        let lines: Vec<String> = pick(&config).iter().map(|v| v.to_string()).collect();
        expected.assert_eq(&lines.join("\n"));
    }

    fn namespaces(config: &Value) -> Vec<&Value> {
        config["linux"]["namespaces"].as_array().unwrap().iter().collect()
    }

    #[test]
    fn a_pod_of_its_own() {
        check(
            sandbox(),
            "{}",
            0,
            namespaces,
            expect![[r#"
            {"type":"mount"}
            {"type":"pid"}
            {"path":"/proc/12/ns/net","type":"network"}
            {"path":"/proc/12/ns/uts","type":"uts"}
            {"path":"/proc/12/ns/ipc","type":"ipc"}
            {"type":"cgroup"}"#]],
        );
    }

    #[test]
    fn a_pod_of_the_host() {
        let host = SandboxSpec { host_network: true, host_pid: true, host_ipc: true, ..sandbox() };
        check(
            host,
            "{}",
            0,
            namespaces,
            expect![[r#"
            {"type":"mount"}
            {"type":"cgroup"}"#]],
        );
        check(
            sandbox(),
            "{}",
            13,
            |c| vec![&c["linux"]["namespaces"][1]],
            expect![[r#"
            {"path":"/proc/13/ns/pid","type":"pid"}"#]],
        );
    }

    #[test]
    fn a_mount_takes_a_defaults_place() {
        let spec = r#"{ "mounts": [
            { "source": "tmpfs:cache", "target": "/dev/shm", "readOnly": false, "propagation": null },
            { "source": "/h", "target": "/m", "readOnly": true, "propagation": "rslave" }] }"#;
        fn pick(config: &Value) -> Vec<&Value> {
            config["mounts"].as_array().unwrap().iter().skip(6).collect()
        }
        check(
            sandbox(),
            spec,
            0,
            pick,
            expect![[r#"
            {"destination":"/dev/shm","options":["rbind","rprivate","rw"],"source":"/run/x/sandboxes/uid/volumes/cache","type":"bind"}
            {"destination":"/m","options":["rbind","rslave","ro"],"source":"/h","type":"bind"}"#]],
        );
    }

    #[test]
    fn privilege() {
        check(
            sandbox(),
            r#"{ "privileged": true }"#,
            0,
            |c| vec![&c["linux"]["resources"], &c["linux"]["maskedPaths"], &c["linux"]["readonlyPaths"]],
            expect![[r#"
            {"devices":[{"access":"rwm","allow":true}]}
            []
            []"#]],
        );
        check(
            sandbox(),
            "{}",
            0,
            |c| vec![&c["process"]["capabilities"], &c["process"]["env"]],
            expect![[r#"
            {"ambient":[],"bounding":["CAP_CHOWN"],"effective":["CAP_CHOWN","CAP_SYS_ADMIN"],"inheritable":[],"permitted":["CAP_CHOWN","CAP_SYS_ADMIN"]}
            ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","A=b"]"#]],
        );
    }
}
