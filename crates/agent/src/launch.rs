//! From a container in a pod to a running process: image, environment, specification, start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dunlin_node::admit::{milli, whole};
use dunlin_node::{PodRef, events::container_field};
use dunlin_runtime::image::{Image, ImageConfig, PullPolicy};
use dunlin_runtime::{
    ContainerId, ContainerSpec, ContainerStatus, Images, Mount, OwnImages, Resources, Runtime, SandboxId,
    SandboxSpec,
};
use k8s_openapi::api::core::v1::{Container, ContainerPort, Pod};

use crate::agent::Shared;
use crate::env::{NodeFacts, expand};
use crate::model::spec;
use crate::podstatus::qos;
use crate::sources::{Kind, Missing};
use crate::{claims, security, volumes};

/// A container that was started.
pub struct Launched {
    pub status: ContainerStatus,
    pub image_id: String,
    pub stop_signal: Option<String>,
    pub remark: Option<String>,
}

/// Why none was.
pub struct Failure {
    pub reason: String,
    pub message: String,
    /// The process could not be executed: it counts as having ended with this code.
    pub exit_code: Option<i32>,
    /// The image is at fault.
    pub image: bool,
}

/// The reason of a container whose environment or specification refers to what is not there.
pub const CONFIG_ERROR: &str = "CreateContainerConfigError";

fn config_error(message: impl Into<String>) -> Failure {
    Failure { reason: CONFIG_ERROR.into(), message: message.into(), exit_code: None, image: false }
}

/// The sandbox's specification.
pub fn sandbox(pod: &Pod) -> SandboxSpec {
    let s = spec(pod);
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let class = qos(pod);
    let cgroup = if class == "Guaranteed" {
        format!("pod{uid}")
    } else {
        format!("{}/pod{uid}", class.to_lowercase())
    };
    let memory_volumes = s.volumes.iter().flatten().filter_map(|v| {
        let empty = v.empty_dir.as_ref().filter(|e| e.medium.as_deref() == Some("Memory"))?;
        let limit = empty.size_limit.as_ref().map(whole).and_then(|l| u64::try_from(l).ok()).unwrap_or(0);
        Some((v.name.clone(), limit))
    });
    SandboxSpec {
        id: SandboxId(uid),
        hostname: hostname(pod),
        host_network: s.host_network == Some(true),
        host_pid: s.host_pid == Some(true),
        host_ipc: s.host_ipc == Some(true),
        share_process_namespace: s.share_process_namespace == Some(true),
        cgroup,
        resources: pod_resources(pod),
        sysctls: s
            .security_context
            .iter()
            .filter_map(|c| c.sysctls.as_ref())
            .flatten()
            .map(|v| (v.name.clone(), v.value.clone()))
            .collect(),
        memory_volumes: memory_volumes.collect(),
        privileged: crate::model::inits(pod).iter().chain(&s.containers).any(privileged),
        tenant: format!(
            "{}/{}",
            pod.metadata.namespace.as_deref().unwrap_or_default(),
            s.service_account_name.as_deref().unwrap_or("default")
        ),
    }
}

fn privileged(container: &Container) -> bool {
    container.security_context.as_ref().is_some_and(|context| context.privileged == Some(true))
}

/// The host name inside the pod.
fn hostname(pod: &Pod) -> String {
    let s = spec(pod);
    if s.host_network == Some(true) {
        return std::fs::read_to_string("/proc/sys/kernel/hostname")
            .map(|h| h.trim().to_owned())
            .unwrap_or_default();
    }
    let mut name =
        s.hostname.clone().filter(|h| !h.is_empty()).or(pod.metadata.name.clone()).unwrap_or_default();
    name.truncate(63);
    name.trim_end_matches(['-', '.']).to_owned()
}

fn pod_resources(pod: &Pod) -> Resources {
    let requests = dunlin_node::admit::requests(pod);
    let cpu = requests.get("cpu").copied().unwrap_or(0);
    let all_limited = |name: &str| -> Option<i128> {
        spec(pod)
            .containers
            .iter()
            .map(|c| {
                c.resources.as_ref().and_then(|r| r.limits.as_ref()).and_then(|l| l.get(name)).map(milli)
            })
            .sum()
    };
    Resources {
        cpu_shares: Some(shares(cpu)),
        cpu_limit_milli: all_limited("cpu")
            .and_then(|v| u64::try_from(v).ok())
            .filter(|v| *v > 0 && crate::model::inits(pod).is_empty()),
        memory_limit: all_limited("memory")
            .and_then(|v| u64::try_from(v / 1000).ok())
            .filter(|v| *v > 0 && crate::model::inits(pod).is_empty()),
        ..Resources::default()
    }
}

fn shares(milli: i128) -> u64 {
    u64::try_from(milli * 1024 / 1000).unwrap_or(2).clamp(2, 262_144)
}

fn resources(shared: &Shared, pod: &Pod, container: &Container) -> Resources {
    let asked = container.resources.clone().unwrap_or_default();
    let (requests, limits) = (asked.requests.unwrap_or_default(), asked.limits.unwrap_or_default());
    let cpu = requests.get("cpu").or(limits.get("cpu")).map(milli).unwrap_or(0);
    let positive = |v: i128| u64::try_from(v).ok().filter(|v| *v > 0);
    let memory_request = requests.get("memory").map(whole).unwrap_or(0);
    let machine = shared.allocatable().get("memory").copied().unwrap_or(0) / 1000;
    let oom = match qos(pod) {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ if machine > 0 => {
            i32::try_from((1000 - 1000 * memory_request / machine).clamp(3, 999)).unwrap_or(999)
        }
        _ => 999,
    };
    let hugepages: BTreeMap<String, u64> = limits
        .iter()
        .filter_map(|(k, v)| Some((k.strip_prefix("hugepages-")?.to_owned(), positive(whole(v))?)))
        .collect();
    Resources {
        cpu_shares: Some(shares(cpu)),
        cpu_limit_milli: limits.get("cpu").map(milli).and_then(positive),
        memory_limit: limits.get("memory").map(whole).and_then(positive),
        pids_limit: Some(shared.config.pids_limit).filter(|p| *p > 0),
        oom_score_adj: Some(oom),
        hugepages,
    }
}

/// Brings the image, builds the specification and starts the container.
pub async fn launch(
    shared: &Shared,
    runtime: &Arc<dyn Runtime>,
    pod: &Pod,
    container: &Container,
    launches: u32,
    ip: &str,
) -> Result<Launched, Failure> {
    let image = match runtime.images() {
        Images::Store => image(shared, pod, container, None).await?,
        Images::Own(own) => image(shared, pod, container, Some(own)).await?,
        Images::Programs => host_program(container),
    };
    let own = matches!(runtime.images(), Images::Own(_));
    let pod_ref = PodRef::of(pod);
    let field = container_field(pod, &container.name);
    let failed = |message: &str| {
        shared.recorder.warning(&pod_ref, Some(&field), "Failed", format!("Error: {message}"));
    };
    let built = build(shared, pod, container, &image, own, launches, ip).await;
    let built = built.inspect_err(|failure| failed(&failure.message))?;
    let sandbox = SandboxId(pod_ref.uid.clone());
    match runtime.start_container(&sandbox, built).await {
        Ok(status) => {
            shared.recorder.normal(
                &pod_ref,
                Some(&field),
                "Created",
                format!("Container created: {}", container.name),
            );
            shared.recorder.normal(
                &pod_ref,
                Some(&field),
                "Started",
                format!("Container started: {}", container.name),
            );
            if runtime.accelerator() == Some("tcg") {
                let text = "The virtual machine's processor is emulated (tcg): everything in it runs many times slower";
                shared.recorder.normal(&pod_ref, Some(&field), "Emulated", text.to_owned());
            }
            let stop_signal = container
                .lifecycle
                .as_ref()
                .and_then(|l| l.stop_signal.clone())
                .or(image.config.stop_signal.clone());
            // An image that came from no registry has no digest there.
            let image_id = if image.digest.is_empty() { image.id.clone() } else { image.repo_digest() };
            let remark = runtime.remark(&sandbox, &status.id);
            Ok(Launched { status, image_id, stop_signal, remark })
        }
        Err(error) => {
            use dunlin_runtime::Error as E;
            let message = dunlin_base::error::chain(&error);
            failed(&message);
            let (reason, exit_code) = match &error {
                E::Command { reason, .. } => {
                    ("StartError", Some(if reason.contains("permission") { 126 } else { 127 }))
                }
                E::Spec { .. } => (CONFIG_ERROR, None),
                E::Create { .. } => ("StartError", Some(128)),
                _ => ("CreateContainerError", None),
            };
            Err(Failure { reason: reason.into(), message, exit_code, image: false })
        }
    }
}

/// What a native process runs, as if it were an image: this machine's files, and the program that the image's name is the
/// path of. Any other name stands for no program, and the container has to name its command.
fn host_program(container: &Container) -> Image {
    let reference = container.image.clone().unwrap_or_default();
    let program = reference.starts_with('/').then(|| reference.clone());
    Image {
        id: String::new(),
        digest: String::new(),
        reference,
        config: ImageConfig { entrypoint: program.into_iter().collect(), ..ImageConfig::default() },
        // Users are looked up here.
        layers: vec![PathBuf::from("/")],
        size: 0,
    }
}

/// The image, of the node's store or of a runtime's `own`.
async fn image(
    shared: &Shared,
    pod: &Pod,
    container: &Container,
    own: Option<&dyn OwnImages>,
) -> Result<Image, Failure> {
    let reference = container.image.clone().unwrap_or_default();
    let pod_ref = PodRef::of(pod);
    let field = container_field(pod, &container.name);
    let policy = container
        .image_pull_policy
        .as_deref()
        .and_then(PullPolicy::parse)
        .unwrap_or(PullPolicy::IfNotPresent);
    let present = match own {
        _ if policy == PullPolicy::Always => None,
        Some(own) => own.get(&reference).await.ok().flatten(),
        None => shared.images.get(&reference).await.ok().flatten(),
    };
    let here = present.is_some();
    if !here && policy != PullPolicy::Never {
        shared.recorder.normal(&pod_ref, Some(&field), "Pulling", format!("Pulling image \"{reference}\""));
    }
    let credentials = if here || policy == PullPolicy::Never {
        None
    } else {
        crate::pull::credentials(shared, pod, &reference).await
    };
    let begun = std::time::Instant::now();
    let answer = match (present, own) {
        (Some(image), _) => Ok(image),
        (None, Some(own)) => own.ensure(&reference, policy, credentials).await,
        // On a thread of its own: unpacking layers must not hold up the pods that run.
        (None, None) => {
            let (images, name) = (shared.images.clone(), reference.clone());
            let handle = tokio::runtime::Handle::current();
            tokio::task::spawn_blocking(move || handle.block_on(images.ensure(&name, policy, credentials)))
                .await
                .unwrap_or_else(|e| {
                    Err(dunlin_runtime::image::PullError::Failed(format!("pulling ended: {e}")))
                })
        }
    };
    match answer {
        Ok(image) => {
            let text = if here || policy == PullPolicy::Never {
                format!(
                    "Container image \"{reference}\" already present on machine and can be accessed by the pod"
                )
            } else {
                let ms = begun.elapsed().as_millis();
                format!(
                    "Successfully pulled image \"{reference}\" in {ms}ms ({ms}ms including waiting). Image size: {} bytes.",
                    image.size
                )
            };
            shared.recorder.normal(&pod_ref, Some(&field), "Pulled", text);
            Ok(image)
        }
        Err(error) => {
            let (reason, message) = (error.reason().to_owned(), error.to_string());
            shared.recorder.warning(
                &pod_ref,
                Some(&field),
                "Failed",
                format!("Failed to pull image \"{reference}\": {message}"),
            );
            shared.recorder.warning(&pod_ref, Some(&field), "Failed", format!("Error: {reason}"));
            Err(Failure { reason, message, exit_code: None, image: true })
        }
    }
}

async fn build(
    shared: &Shared,
    pod: &Pod,
    container: &Container,
    image: &Image,
    own_image: bool,
    launches: u32,
    ip: &str,
) -> Result<ContainerSpec, Failure> {
    let layers = (!own_image).then_some(image.layers.as_slice());
    let user = security::user(pod, container, &image.config.user, layers).map_err(config_error)?;
    let own = container.security_context.clone().unwrap_or_default();
    let privileged = privileged(container);
    // Only who has the image's files knows the user's home.
    let home = if own_image { None } else { Some(user.home.as_deref().unwrap_or("/")) };
    let env = environment(shared, pod, container, image, ip, home).await?;
    let lookup = |name: &str| env.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let expanded =
        |words: &Option<Vec<String>>| words.iter().flatten().map(|w| expand(w, &lookup)).collect::<Vec<_>>();
    let (command, arguments) = (expanded(&container.command), expanded(&container.args));
    let args = match (command.is_empty(), arguments.is_empty()) {
        (true, true) => [image.config.entrypoint.clone(), image.config.cmd.clone()].concat(),
        (true, false) => [image.config.entrypoint.clone(), arguments].concat(),
        (false, _) => [command, arguments].concat(),
    };
    if args.is_empty() {
        return Err(Failure {
            reason: "CreateContainerError".into(),
            message: "no command specified: neither the container nor its image names one".into(),
            exit_code: None,
            image: false,
        });
    }
    let mounts = mounts(shared, pod, container, launches, ip, &lookup)?;
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked") || privileged;
    let profile = own
        .seccomp_profile
        .or_else(|| spec(pod).security_context.as_ref().and_then(|c| c.seccomp_profile.clone()));
    let list =
        |paths: &[&str]| if unmasked { Vec::new() } else { paths.iter().map(|p| (*p).to_owned()).collect() };
    let cwd = container
        .working_dir
        .clone()
        .filter(|w| !w.is_empty())
        .unwrap_or_else(|| image.config.working_dir.clone());
    let log_path = shared.disk.log(pod, &container.name, launches + 1);
    if let Some(parent) = log_path.parent() {
        std::fs::create_dir_all(parent)
            .map_err(|e| config_error(format!("creating {}: {e}", parent.display())))?;
    }
    Ok(ContainerSpec {
        id: ContainerId(format!("{}-{launches}", container.name)),
        layers: image.layers.clone(),
        image: own_image.then(|| image.id.clone()),
        image_user: user.name,
        args,
        env,
        cwd: PathBuf::from(if cwd.is_empty() { "/".to_owned() } else { cwd }),
        uid: user.uid,
        gid: user.gid,
        additional_gids: user.groups,
        read_only_rootfs: own.read_only_root_filesystem == Some(true),
        mounts,
        devices: Vec::new(),
        capabilities: security::capabilities(container),
        privileged,
        no_new_privileges: own.allow_privilege_escalation == Some(false),
        seccomp_default: !privileged && profile.is_some_and(|p| p.type_ == "RuntimeDefault"),
        masked_paths: list(&security::MASKED),
        readonly_paths: list(&security::READONLY),
        ports: ports(container),
        tty: container.tty == Some(true),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        resources: resources(shared, pod, container),
        log_path,
        log_max_size: shared.config.log_max_size,
        log_max_files: shared.config.log_max_files,
    })
}

/// The TCP ports that a container declares.
fn ports(container: &Container) -> Vec<u16> {
    let tcp = |p: &&ContainerPort| p.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    let ports = container.ports.iter().flatten().filter(tcp);
    ports.filter_map(|p| u16::try_from(p.container_port).ok()).collect()
}

async fn environment(
    shared: &Shared,
    pod: &Pod,
    container: &Container,
    image: &Image,
    ip: &str,
    home: Option<&str>,
) -> Result<Vec<(String, String)>, Failure> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
    let uid = pod.metadata.uid.as_deref().unwrap_or("");
    let mut env: Vec<(String, String)> = Vec::new();
    for (name, value) in &image.config.env {
        set(&mut env, name.clone(), value.clone());
    }
    if !env.iter().any(|(n, _)| n == "PATH") {
        set(&mut env, "PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    }
    if let Some(home) = home.filter(|_| !env.iter().any(|(n, _)| n == "HOME")) {
        set(&mut env, "HOME".into(), home.to_owned());
    }
    set(&mut env, "HOSTNAME".into(), hostname(pod));
    if container.tty == Some(true) {
        set(&mut env, "TERM".into(), "xterm".into());
    }
    let (host, port) = shared.api_address(pod);
    for (name, value) in crate::env::api(&host, port) {
        set(&mut env, name, value);
    }
    if spec(pod).enable_service_links != Some(false) {
        for (name, value) in crate::env::services(&shared.sources.services(namespace).await) {
            set(&mut env, name, value);
        }
    }
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.clone().unwrap_or_default();
        let (kind, name, optional) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(r), _) => (Kind::ConfigMap, &r.name, r.optional),
            (_, Some(r)) => (Kind::Secret, &r.name, r.optional),
            _ => continue,
        };
        match shared.sources.get(kind, namespace, name, uid).await {
            Ok(data) => {
                for (key, value) in &data.values {
                    set(&mut env, format!("{prefix}{key}"), String::from_utf8_lossy(value).into_owned());
                }
            }
            Err(Missing::Absent(_)) if optional == Some(true) => {}
            Err(missing) => return Err(config_error(missing.text())),
        }
    }
    let allocatable = shared.allocatable();
    let host_ip = shared.node_ip();
    let node = NodeFacts {
        name: &shared.config.node_name,
        host_ip: &host_ip,
        pod_ip: ip,
        allocatable: &allocatable,
    };
    for var in container.env.iter().flatten() {
        let value = match &var.value_from {
            None => {
                let text = var.value.clone().unwrap_or_default();
                Some(expand(&text, &|name| env.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())))
            }
            Some(from) => {
                if let Some(field) = &from.field_ref {
                    Some(crate::env::field(pod, &field.field_path, &node).ok_or_else(|| {
                        config_error(format!("fieldRef {:?} is not supported", field.field_path))
                    })?)
                } else if let Some(resource) = &from.resource_field_ref {
                    Some(crate::env::resource(pod, Some(container), resource, &node).ok_or_else(|| {
                        config_error(format!("resourceFieldRef {:?} is not supported", resource.resource))
                    })?)
                } else {
                    let (kind, name, key, optional) = match (&from.config_map_key_ref, &from.secret_key_ref) {
                        (Some(r), _) => (Kind::ConfigMap, &r.name, &r.key, r.optional == Some(true)),
                        (_, Some(r)) => (Kind::Secret, &r.name, &r.key, r.optional == Some(true)),
                        _ => {
                            return Err(config_error(format!(
                                "the source of variable {} is not supported",
                                var.name
                            )));
                        }
                    };
                    match shared.sources.get(kind, namespace, name, uid).await {
                        Ok(data) => match data.values.get(key) {
                            Some(value) => Some(String::from_utf8_lossy(value).into_owned()),
                            None if optional => None,
                            None => {
                                let word = if kind == Kind::Secret { "Secret" } else { "ConfigMap" };
                                return Err(config_error(format!(
                                    "couldn't find key {key} in {word} {namespace}/{name}"
                                )));
                            }
                        },
                        Err(Missing::Absent(_)) if optional => None,
                        Err(missing) => return Err(config_error(missing.text())),
                    }
                }
            }
        };
        if let Some(value) = value {
            set(&mut env, var.name.clone(), value);
        }
    }
    Ok(env)
}

fn set(env: &mut Vec<(String, String)>, name: String, value: String) {
    match env.iter_mut().find(|(n, _)| *n == name) {
        Some(pair) => pair.1 = value,
        None => env.push((name, value)),
    }
}

/// The termination message file of a container.
pub fn termination_file(shared: &Shared, pod: &Pod, container: &str, launches: u32) -> PathBuf {
    let uid = pod.metadata.uid.as_deref().unwrap_or("");
    shared.disk.pod(uid).join("termination").join(format!("{container}-{launches}"))
}

fn mounts(
    shared: &Shared,
    pod: &Pod,
    container: &Container,
    launches: u32,
    ip: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Mount>, Failure> {
    let mut out = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let Some(volume) = spec(pod).volumes.iter().flatten().find(|v| v.name == mount.name) else {
            return Err(config_error(format!(
                "cannot find volume \"{}\" to mount into container \"{}\"",
                mount.name, container.name
            )));
        };
        let mut source = volumes::source(shared, pod, volume);
        let sub = match (&mount.sub_path_expr, &mount.sub_path) {
            (Some(text), _) if !text.is_empty() => Some(expand(text, lookup)),
            (_, Some(text)) if !text.is_empty() => Some(text.clone()),
            _ => None,
        };
        if let Some(sub) = sub {
            let sub = volumes::safe(&sub).map_err(|e| {
                config_error(format!(
                    "failed to prepare subPath for volumeMount \"{}\" of container \"{}\": {e}",
                    mount.name, container.name
                ))
            })?;
            if source.starts_with("tmpfs:") {
                source = format!("{source}/{sub}");
            } else {
                let base = std::fs::canonicalize(&source)
                    .map_err(|e| config_error(format!("subPath {sub:?}: {e}")))?;
                let path = base.join(&sub);
                if !path.exists() {
                    std::fs::create_dir_all(&path)
                        .map_err(|e| config_error(format!("subPath {sub:?}: {e}")))?;
                }
                // A link inside the volume must not lead out of it.
                let real = std::fs::canonicalize(&path)
                    .map_err(|e| config_error(format!("subPath {sub:?}: {e}")))?;
                if !real.starts_with(&base) {
                    return Err(config_error(format!("subPath {sub:?} leaves its volume")));
                }
                source = real.display().to_string();
            }
        }
        let on_claim = claims::claim(pod, volume).is_some();
        let from_api = volume.empty_dir.is_none() && volume.host_path.is_none() && !on_claim;
        let propagation = match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => Some("rslave".to_owned()),
            Some("Bidirectional") => Some("rshared".to_owned()),
            _ => None,
        };
        out.push(Mount {
            source,
            target: PathBuf::from(&mount.mount_path),
            read_only: mount.read_only == Some(true) || from_api || claims::read_only(volume),
            propagation,
        });
    }
    let taken = |out: &[Mount], path: &str| out.iter().any(|m| m.target == Path::new(path));
    let failed = |e: std::io::Error| config_error(format!("writing the pod's files: {e}"));
    let uid = pod.metadata.uid.as_deref().unwrap_or("");
    let etc = shared.disk.pod(uid).join("etc");
    for (name, text) in [
        ("hosts", hosts(shared, pod, ip)),
        ("hostname", format!("{}\n", hostname(pod))),
        ("resolv.conf", resolv(shared, pod)),
    ] {
        let target = format!("/etc/{name}");
        if taken(&out, &target) {
            continue;
        }
        let file = etc.join(name);
        if std::fs::read(&file).ok().as_deref() != Some(text.as_bytes()) {
            // Written in place: containers that run have this very file mounted.
            std::fs::create_dir_all(&etc).and_then(|()| std::fs::write(&file, &text)).map_err(failed)?;
        }
        out.push(Mount {
            source: file.display().to_string(),
            target: PathBuf::from(target),
            read_only: false,
            propagation: None,
        });
    }
    let message = container
        .termination_message_path
        .clone()
        .filter(|p| !p.is_empty())
        .unwrap_or_else(|| "/dev/termination-log".into());
    if !taken(&out, &message) {
        let file = termination_file(shared, pod, &container.name, launches);
        crate::disk::write(&file, b"", 0o666, false).map_err(failed)?;
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .map_err(failed)?;
        out.push(Mount {
            source: file.display().to_string(),
            target: PathBuf::from(message),
            read_only: false,
            propagation: None,
        });
    }
    Ok(out)
}

fn hosts(shared: &Shared, pod: &Pod, ip: &str) -> String {
    let s = spec(pod);
    let mut text = if s.host_network == Some(true) {
        std::fs::read_to_string("/etc/hosts").unwrap_or_default()
    } else {
        let name = hostname(pod);
        let own = match s.subdomain.as_deref().filter(|d| !d.is_empty()) {
            Some(sub) => format!(
                "{name}.{sub}.{}.svc.{}\t{name}",
                pod.metadata.namespace.as_deref().unwrap_or(""),
                shared.config.cluster_domain
            ),
            None => name,
        };
        format!(
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n{ip}\t{own}\n"
        )
    };
    if let Some(aliases) = s.host_aliases.as_ref().filter(|a| !a.is_empty()) {
        text.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            text.push_str(&format!(
                "{}\t{}\n",
                alias.ip,
                alias.hostnames.clone().unwrap_or_default().join("\t")
            ));
        }
    }
    text
}

fn resolv(shared: &Shared, pod: &Pod) -> String {
    let s = spec(pod);
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let words = |key: &str| {
        host.lines()
            .filter_map(|l| l.trim().strip_prefix(key))
            .flat_map(|l| l.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    let (mut servers, mut search, mut options) = (words("nameserver "), words("search "), words("options "));
    let policy = s.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster =
        policy == "ClusterFirstWithHostNet" || (policy == "ClusterFirst" && s.host_network != Some(true));
    if policy == "None" {
        (servers, search, options) = (Vec::new(), Vec::new(), Vec::new());
    } else if cluster {
        let (namespace, domain) =
            (pod.metadata.namespace.as_deref().unwrap_or("default"), &shared.config.cluster_domain);
        let mut own = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
        own.extend(search);
        search = own;
        if !shared.config.cluster_dns.is_empty() {
            servers.clone_from(&shared.config.cluster_dns);
        }
        options = vec!["ndots:5".into()];
    }
    if let Some(config) = &s.dns_config {
        servers.extend(config.nameservers.clone().unwrap_or_default());
        search.extend(config.searches.clone().unwrap_or_default());
        for option in config.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            options.retain(|o| o.split(':').next() != Some(&name));
            options.push(option.value.as_ref().map_or(name.clone(), |v| format!("{name}:{v}")));
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    search.retain(|d| seen.insert(d.clone()));
    let mut text = String::new();
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    for server in servers.iter().take(3) {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}
