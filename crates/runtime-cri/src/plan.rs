//! From our specifications to CRI's messages. Numbers of fields: `runtime/v1/api.proto` of `k8s.io/cri-api`.

use std::path::{Path, PathBuf};

use dunlin_grpc::wire::Message;
use dunlin_runtime::{ContainerSpec, Error, Mount, Resources, SandboxId, SandboxSpec};
use dunlin_runtime_oci::{CAPABILITIES, validate};
use serde::{Deserialize, Serialize};

use crate::message::Map;

/// Label: the node whose sandbox or container it is.
pub const OWNER: &str = "dunlin.io/node";
/// Label: the runtime of that node, by its name.
pub const RUNTIME: &str = "dunlin.io/runtime";
/// Label: our id of the sandbox.
pub const SANDBOX: &str = "dunlin.io/sandbox";
/// Label: our id of the container.
pub const CONTAINER: &str = "dunlin.io/container";
/// Annotation of a sandbox: its specification as JSON.
const SPEC: &str = "dunlin.io/spec";
/// Annotation of a container: what has to be known of it as long as it exists, as JSON.
const NOTES: &str = "dunlin.io/notes";

/// Logs lie where the agent wants them; paths below this are those of the machine.
const LOG_DIRECTORY: &str = "/";
/// The length of a period of the CPU limit, microseconds.
const PERIOD: u64 = 100_000;

/// CRI's numbers of namespace modes: the pod's own, the container's own, the node's.
const POD: i64 = 0;
const OWN: i64 = 1;
const NODE: i64 = 2;
/// CRI's numbers of seccomp profiles.
const RUNTIME_DEFAULT: i64 = 0;
const UNCONFINED: i64 = 1;

/// Whose sandboxes these are.
#[derive(Debug, Clone)]
pub struct Owner {
    /// The node's identity.
    pub node: String,
    /// The runtime's name.
    pub runtime: String,
}

impl Owner {
    /// The labels by which all that is ours is found.
    pub fn labels(&self) -> [(&str, &str); 2] {
        [(OWNER, &self.node), (RUNTIME, &self.runtime)]
    }
}

/// What has to be known of a container as long as it exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notes {
    /// Its log file.
    pub log: PathBuf,
    /// The log is set aside above so many bytes.
    pub log_max_size: u64,
    /// So many logs that were set aside are kept.
    pub log_max_files: u32,
    /// It has a terminal.
    pub tty: bool,
    /// Its standard input is open.
    pub stdin: bool,
}

/// The specification that a sandbox was made from.
pub fn spec_of(annotations: &Map) -> Option<SandboxSpec> {
    serde_json::from_str(annotations.get(SPEC)?).ok()
}

/// The notes of a container.
pub fn notes_of(annotations: &Map) -> Option<Notes> {
    serde_json::from_str(annotations.get(NOTES)?).ok()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("maps have names as keys")
}

fn wrong(field: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::Spec { field: field.into(), reason: reason.into() }
}

/// A `PodSandboxConfig`. `cgroup` is the pod's, from the hierarchy's root.
pub fn sandbox(owner: &Owner, cgroup: &str, spec: &SandboxSpec) -> Message {
    let id = spec.id.0.as_str();
    let metadata = Message::default().text(1, id).text(2, id).text(3, &format!("dunlin-{}", owner.node));
    let hostname = if spec.host_network { "" } else { &spec.hostname };
    let seccomp = if spec.privileged { UNCONFINED } else { RUNTIME_DEFAULT };
    let security = Message::default()
        .message(1, namespaces(spec))
        .int(6, spec.privileged.into())
        .message(9, Message::default().int(1, seccomp));
    let linux = Message::default()
        .text(1, cgroup)
        .message(2, security)
        .map(3, &spec.sysctls)
        .message(5, resources(&spec.resources));
    Message::default()
        .message(1, metadata)
        .text(2, hostname)
        .text(3, LOG_DIRECTORY)
        .map(6, owner.labels().into_iter().chain([(SANDBOX, id)]))
        .map(7, [(SPEC, json(spec))])
        .message(8, linux)
}

fn namespaces(spec: &SandboxSpec) -> Message {
    let pid = match (spec.host_pid, spec.share_process_namespace) {
        (true, _) => NODE,
        (_, true) => POD,
        _ => OWN,
    };
    let of = |host: bool| if host { NODE } else { POD };
    Message::default().int(1, of(spec.host_network)).int(2, pid).int(3, of(spec.host_ipc))
}

fn resources(resources: &Resources) -> Message {
    let signed = |n: Option<u64>| i64::try_from(n.unwrap_or(0)).unwrap_or(i64::MAX);
    let quota = resources.cpu_limit_milli.map(|milli| (milli.saturating_mul(PERIOD) / 1000).max(1000));
    let mut message = Message::default()
        .int(1, if quota.is_some() { PERIOD.cast_signed() } else { 0 })
        .int(2, signed(quota))
        .int(3, signed(resources.cpu_shares))
        .int(4, signed(resources.memory_limit))
        .int(5, resources.oom_score_adj.unwrap_or(0).into());
    for (size, limit) in &resources.hugepages {
        // The kernel's names for sizes have no `i`.
        let size = format!("{}B", size.trim_end_matches(['B', 'i']));
        message = message.message(8, Message::default().text(1, &size).int(2, limit.cast_signed()));
    }
    message
}

/// What is wrong with a container, before anything is made.
pub fn check(sandbox: &SandboxSpec, spec: &ContainerSpec) -> Result<(), Error> {
    validate::any_container(sandbox, spec)?;
    if spec.image.as_ref().is_none_or(String::is_empty) {
        return Err(wrong("image", "there is no image"));
    }
    for (n, mount) in spec.mounts.iter().enumerate() {
        // The daemon would make a directory in its place.
        if mount.memory_volume().is_none() && !Path::new(&mount.source).exists() {
            return Err(wrong(format!("mounts[{n}]"), format!("{} does not exist", mount.source)));
        }
    }
    if let Some(unknown) = spec.capabilities.iter().find(|name| !CAPABILITIES.contains(&name.as_str())) {
        return Err(wrong("capabilities", format!("{unknown:?} is not a capability")));
    }
    for (n, (host, _, _)) in spec.devices.iter().enumerate() {
        use std::os::unix::fs::FileTypeExt;
        let kind = std::fs::metadata(host).map(|m| m.file_type());
        if !kind.is_ok_and(|kind| kind.is_char_device() || kind.is_block_device()) {
            return Err(wrong(format!("devices[{n}]"), format!("{} is not a device", host.display())));
        }
    }
    Ok(())
}

/// A `ContainerConfig`. `source` says where a mount's files are, `travels` whether what is mounted there later could travel.
pub fn container(
    owner: &Owner,
    sandbox: &SandboxSpec,
    spec: &ContainerSpec,
    source: impl Fn(&Mount) -> PathBuf,
    travels: impl Fn(&Path) -> bool,
) -> Message {
    let image = spec.image.as_deref().unwrap_or_default();
    let notes = Notes {
        log: spec.log_path.clone(),
        log_max_size: spec.log_max_size,
        log_max_files: spec.log_max_files,
        tty: spec.tty,
        stdin: spec.stdin,
    };
    let ids = [(SANDBOX, sandbox.id.0.as_str()), (CONTAINER, spec.id.0.as_str())];
    let mut message = Message::default()
        .message(1, Message::default().text(1, &spec.id.0))
        .message(2, Message::default().text(1, image))
        .texts(3, &spec.args)
        .text(5, &spec.cwd.to_string_lossy());
    for (name, value) in &spec.env {
        message = message.message(6, Message::default().text(1, name).text(2, value));
    }
    for mount in &spec.mounts {
        let host = source(mount);
        // Daemons refuse what would change nothing: a copy of what others never see is alone anyway.
        let slave = mount.propagation.as_deref() == Some("rslave") && travels(&host);
        let inside = Message::default()
            .text(1, &mount.target.to_string_lossy())
            .text(2, &host.to_string_lossy())
            .int(3, mount.read_only.into())
            .int(5, slave.into());
        message = message.message(7, inside);
    }
    for (host, inside, access) in &spec.devices {
        let device = Message::default()
            .text(1, &inside.to_string_lossy())
            .text(2, &host.to_string_lossy())
            .text(3, access);
        message = message.message(8, device);
    }
    let linux = Message::default().message(1, resources(&spec.resources)).message(2, security(sandbox, spec));
    message
        .map(9, owner.labels().into_iter().chain(ids))
        .map(10, [(NOTES, json(&notes))])
        .text(11, spec.log_path.to_string_lossy().trim_start_matches('/'))
        .int(12, spec.stdin.into())
        .int(13, spec.stdin_once.into())
        .int(14, spec.tty.into())
        .message(15, linux)
}

fn security(sandbox: &SandboxSpec, spec: &ContainerSpec) -> Message {
    let bare = |name: &String| name.trim_start_matches("CAP_").to_owned();
    // Exactly those that are asked for: all are dropped before.
    let capabilities = Message::default().texts(1, spec.capabilities.iter().map(bare)).texts(2, ["ALL"]);
    let seccomp = if spec.seccomp_default && !spec.privileged { RUNTIME_DEFAULT } else { UNCONFINED };
    let number = |n: u32| Message::default().int(1, n.into());
    let mut message = Message::default();
    if spec.privileged {
        message = message.int(2, 1);
    } else {
        message = message.message(1, capabilities);
    }
    message = message.message(3, namespaces(sandbox));
    match &spec.image_user {
        // The image says which group, too; that is kept unless another is asked for.
        Some(_) if spec.gid == 0 => {}
        Some(user) => {
            let name = user.split(':').next().unwrap_or(user);
            message = message.text(6, name).message(12, number(spec.gid));
        }
        None => {
            message = message.message(5, number(spec.uid));
            // Group 0 is what a user has whose group nobody knows; the daemon may know it from the image.
            if spec.gid != 0 {
                message = message.message(12, number(spec.gid));
            }
        }
    }
    for gid in &spec.additional_gids {
        // Written one by one, and not left out when it is 0.
        message = message.element(8, (*gid).into());
    }
    message
        .int(7, spec.read_only_rootfs.into())
        .int(11, spec.no_new_privileges.into())
        .texts(13, &spec.masked_paths)
        .texts(14, &spec.readonly_paths)
        .message(15, Message::default().int(1, seccomp))
}

/// Why a command cannot be executed, out of what a daemon and the runtimes below it say of a start that failed.
pub fn refusal(command: &str, text: &str) -> Option<Error> {
    let reason = if text.contains("executable file not found in $PATH") {
        "executable file not found in $PATH"
    } else if !text.contains("exec") {
        return None;
    } else if text.contains("is a directory") {
        "permission denied: it is a directory"
    } else if text.contains("permission denied") {
        "permission denied"
    } else if text.contains(&format!("{command}: no such file or directory"))
        || text.contains(&format!("{command}\": no such file or directory"))
    {
        "no such file or directory in the image"
    } else {
        return None;
    };
    Some(Error::Command { command: command.to_owned(), reason: reason.to_owned() })
}

/// The label of a sandbox of this id, beside those of [`Owner::labels`].
pub fn sandbox_label(id: &SandboxId) -> (&str, &str) {
    (SANDBOX, &id.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_found_in_what_runtimes_say() {
        let reason = |command: &str, text: &str| match refusal(command, text) {
            Some(Error::Command { reason, .. }) => reason,
            other => format!("{other:?}"),
        };
        let runc = "failed to create containerd task: OCI runtime create failed: runc create failed: unable to start \
                    container process: exec: \"nope\": executable file not found in $PATH: unknown";
        assert_eq!(reason("nope", runc), "executable file not found in $PATH");
        let stat =
            "unable to start container process: exec: \"/no\": stat /no: no such file or directory: unknown";
        assert_eq!(reason("/no", stat), "no such file or directory in the image");
        assert_eq!(reason("/x", "exec: \"/x\": permission denied: unknown"), "permission denied");
        // Other files that are missing are not the command.
        assert!(refusal("/x", "exec failed: open /run/y: no such file or directory").is_none());
        assert!(refusal("/x", "mounting /x: permission denied").is_none());
    }

    #[test]
    fn limits_in_the_units_of_cri() {
        use dunlin_grpc::wire::fields;
        let mut asked = Resources { cpu_limit_milli: Some(250), ..Resources::default() };
        asked.hugepages.insert("2Mi".into(), 4 << 20);
        let mut seen = Vec::new();
        fields(resources(&asked).done(), |field, value| {
            seen.push((field, format!("{value:?}")));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen[0], (1, "Int(100000)".to_owned()));
        assert_eq!(seen[1], (2, "Int(25000)".to_owned()));
        assert!(seen[2].1.contains("2MB"), "{seen:?}");
    }
}
