//! What this machine is and has: for the Node object.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use dunlin_node::{NodeInfo, Usage};
use dunlin_runtime::Runtime;
use k8s_openapi::api::core::v1::NodeSystemInfo;

use crate::config::AgentConfig;

/// `USER_HZ` is 100 on every architecture that Linux runs on today.
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

fn line(path: &str) -> String {
    std::fs::read_to_string(path).map(|t| t.trim().to_owned()).unwrap_or_default()
}

/// The architecture as Go names it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// Total and available bytes of the disk under `path`.
pub fn disk(path: &Path) -> Option<(u64, u64)> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: statvfs is plain numbers, for which zero is a value; the call fills it from a path that ends in NUL.
    let mut out: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call.
    let code = unsafe { libc::statvfs(path.as_ptr(), &raw mut out) };
    (code == 0).then_some((out.f_blocks * out.f_frsize, out.f_bavail * out.f_frsize))
}

/// A line of `/proc/meminfo` in bytes.
fn memory(name: &str) -> u64 {
    let text = line("/proc/meminfo");
    let kib = text
        .lines()
        .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// What the whole machine uses.
pub fn usage() -> Usage {
    let stat = line("/proc/stat");
    let ticks: Vec<u64> = stat
        .lines()
        .next()
        .map(|l| l.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect())
        .unwrap_or_default();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user and nice already.
    let busy: u64 =
        ticks.iter().take(8).enumerate().filter(|(n, _)| !matches!(n, 3 | 4)).map(|(_, t)| t).sum();
    Usage {
        cpu_nanoseconds: busy.saturating_mul(NANOSECONDS_PER_TICK),
        memory_working_set: memory("MemTotal").saturating_sub(memory("MemAvailable")),
    }
}

/// The address from which this machine reaches others (towards `endpoint` if that is an address).
pub fn own_address(endpoint: &str) -> Option<IpAddr> {
    let towards = |target: &str| {
        let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.connect(target).ok()?;
        socket.local_addr().ok().map(|a| a.ip()).filter(|ip| !ip.is_unspecified() && !ip.is_loopback())
    };
    // Connecting a datagram socket sends nothing.
    towards(endpoint).or_else(|| towards("192.0.2.1:9")).or(Some(IpAddr::from([127, 0, 0, 1])))
}

/// The labels that every machine's Node has; `architecture` is Go's name for it.
pub fn labels(node_name: &str, architecture: &str, runtimes: &[&str]) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        ("kubernetes.io/hostname".to_owned(), node_name.to_owned()),
        ("kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("kubernetes.io/arch".to_owned(), architecture.to_owned()),
        ("beta.kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("beta.kubernetes.io/arch".to_owned(), architecture.to_owned()),
    ]);
    for runtime in runtimes {
        labels.insert(format!("runtime.dunlin.io/{runtime}"), "true".to_owned());
    }
    labels
}

/// What the labels of runtimes of virtual machines say instead: what speeds them up.
pub fn accelerated(runtimes: &[Arc<dyn Runtime>]) -> BTreeMap<String, String> {
    let label =
        |r: &Arc<dyn Runtime>| Some((format!("runtime.dunlin.io/{}", r.name()), r.accelerator()?.to_owned()));
    runtimes.iter().filter_map(label).collect()
}

/// By which names a RuntimeClass may ask for the default runtime, if that runs OCI containers as these do.
pub const LIKE_OCI: [&str; 2] = ["runc", "crun"];

/// The handlers that a RuntimeClass may name on this machine; the empty one is the default.
fn handlers(runtimes: &[&str]) -> Vec<String> {
    let like = LIKE_OCI.iter().filter(|_| runtimes.first() == Some(&"oci"));
    std::iter::once(&"").chain(runtimes).chain(like).map(|name| (*name).to_owned()).collect()
}

/// What the Node says at the start.
pub fn info(config: &AgentConfig, address: &str, runtimes: &[&str]) -> NodeInfo {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (disk_total, _) = disk(&config.data_dir).unwrap_or((0, 0));
    let mut capacity = BTreeMap::from([
        ("cpu".to_owned(), cores.to_string()),
        ("memory".to_owned(), format!("{}Ki", memory("MemTotal") / 1024)),
        ("ephemeral-storage".to_owned(), format!("{}Ki", disk_total / 1024)),
        ("pods".to_owned(), config.max_pods.to_string()),
    ]);
    capacity.extend(config.capacity.clone());
    let mut labels = labels(&config.node_name, architecture(), runtimes);
    let mut annotations = config.annotations.clone();
    annotations.insert(
        dunlin_api::names::annotation::VOLUMES.to_owned(),
        std::path::absolute(crate::disk::volumes(&config.data_dir)).unwrap_or_default().display().to_string(),
    );
    if let Some(area) = &config.area {
        annotations.insert("dunlin.io/area".to_owned(), area.clone());
        let word = !area.is_empty()
            && area.len() <= 63
            && area.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if word {
            labels.insert("dunlin.io/area".to_owned(), area.clone());
        } else if area.contains(',') {
            annotations.insert(dunlin_api::names::annotation::POSITION.to_owned(), area.clone());
        }
    }
    labels.extend(config.labels.clone());
    let os = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty =
        os.lines().find_map(|l| l.strip_prefix("PRETTY_NAME=")).map(|n| n.trim_matches('"').to_owned());
    let version = concat!("v1.36.0-dunlin.", env!("CARGO_PKG_VERSION"));
    NodeInfo {
        name: config.node_name.clone(),
        labels,
        annotations,
        taints: Vec::new(),
        addresses: vec![
            ("InternalIP".into(), address.to_owned()),
            ("Hostname".into(), config.node_name.clone()),
        ],
        runtime_handlers: handlers(runtimes),
        allocatable: capacity.clone(),
        capacity,
        system: NodeSystemInfo {
            architecture: architecture().into(),
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            container_runtime_version: concat!("dunlin://", env!("CARGO_PKG_VERSION")).into(),
            kernel_version: line("/proc/sys/kernel/osrelease"),
            kube_proxy_version: String::new(),
            kubelet_version: version.into(),
            machine_id: line("/etc/machine-id"),
            operating_system: "linux".into(),
            os_image: pretty.unwrap_or_else(|| "Linux".into()),
            system_uuid: line("/etc/machine-id"),
            ..NodeSystemInfo::default()
        },
        ..NodeInfo::default()
    }
}
