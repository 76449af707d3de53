//! What a WebAssembly guest may take of what its container has. Pure.

use std::path::PathBuf;

use dunlin_runtime::{ContainerSpec, SandboxSpec};

use crate::bundle::{Share, Wasm};

/// What the engine needs beside the guest's memory, bytes: measured 8 to 10 MiB with a small component.
const ENGINE: u64 = 16 << 20;

/// Where the processes are that several guests share.
#[derive(Debug)]
pub struct Hosts {
    /// The directory of all of them.
    pub directory: PathBuf,
    /// The `cgroup.procs` files of their cgroup.
    pub cgroups: Vec<PathBuf>,
    /// The program that stands for a guest in its container.
    pub holder: PathBuf,
}

/// The plan; `cache` is where compiled code is kept.
pub fn wasm(spec: &ContainerSpec, sandbox: &SandboxSpec, cache: PathBuf, hosts: Hosts) -> Wasm {
    // A guest that asks for more gets a refusal it can handle, before the kernel ends the process.
    let memory = spec.resources.memory_limit.map(|limit| limit - ENGINE.min(limit / 2));
    let share = shares(spec, sandbox).then(|| Share {
        hosts: hosts.directory,
        tenant: sandbox.tenant.clone(),
        cgroups: hosts.cgroups,
        holder: hosts.holder,
        memory: spec.resources.memory_limit,
        cpu: spec.resources.cpu_limit_milli,
        groups: spec.additional_gids.clone(),
    });
    Wasm { cache, memory, ports: spec.ports.clone(), host_network: sandbox.host_network, share }
}

/// Whether a guest may run with others: not with the machine's network, a terminal or somebody who writes to it, for those are
/// a process's own.
fn shares(spec: &ContainerSpec, sandbox: &SandboxSpec) -> bool {
    let alone = sandbox.host_network || spec.privileged || spec.tty || spec.stdin;
    !sandbox.tenant.is_empty() && !alone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_processs_own_keeps_a_guest_alone() {
        let tenant = SandboxSpec { tenant: "default/web".into(), ..SandboxSpec::default() };
        let spec = ContainerSpec::default();
        assert!(shares(&spec, &tenant));
        assert!(!shares(&spec, &SandboxSpec::default()));
        assert!(!shares(&spec, &SandboxSpec { host_network: true, ..tenant.clone() }));
        for spec in [
            ContainerSpec { tty: true, ..spec.clone() },
            ContainerSpec { stdin: true, ..spec.clone() },
            ContainerSpec { privileged: true, ..spec.clone() },
        ] {
            assert!(!shares(&spec, &tenant));
        }
    }
}
