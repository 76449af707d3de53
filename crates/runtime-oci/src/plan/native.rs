//! How a native process belongs to its pod. Pure.
//!
//! It has the host's files, devices and process ids, and the pod's network, host name and IPC unless the pod asks for the
//! host's.

use std::path::PathBuf;

use dunlin_runtime::{ContainerSpec, Mount, SandboxSpec};

use crate::bundle::{Bind, Native};
use crate::paths::Sandbox;

/// The plan; `shim` keeps the pod's namespaces.
pub fn native(
    spec: &ContainerSpec,
    sandbox: &SandboxSpec,
    paths: &Sandbox,
    shim: u32,
    cgroups: Vec<PathBuf>,
) -> Native {
    let mut namespaces = Vec::new();
    let mut join = |name: &str| namespaces.push(PathBuf::from(format!("/proc/{shim}/ns/{name}")));
    if !sandbox.host_network {
        join("net");
        join("uts");
    }
    if !sandbox.host_ipc {
        join("ipc");
    }
    let mounts = spec.mounts.iter().map(|m| bind(m, paths)).collect();
    Native { cgroups, namespaces, mounts, read_only: spec.read_only_rootfs }
}

fn bind(mount: &Mount, paths: &Sandbox) -> Bind {
    Bind {
        source: paths.source(mount),
        target: mount.target.clone(),
        read_only: mount.read_only,
        follows: mount.propagation.as_deref() == Some("rslave"),
    }
}
