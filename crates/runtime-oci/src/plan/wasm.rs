//! What a WebAssembly guest may take of what its container has. Pure.

use std::path::PathBuf;

use dunlin_runtime::{ContainerSpec, SandboxSpec};

use crate::bundle::Wasm;

/// What the engine needs beside the guest's memory, bytes: measured 8 to 10 MiB with a small component.
const ENGINE: u64 = 16 << 20;

/// The plan; `cache` is where compiled code is kept.
pub fn wasm(spec: &ContainerSpec, sandbox: &SandboxSpec, cache: PathBuf) -> Wasm {
    // A guest that asks for more gets a refusal it can handle, before the kernel ends the process.
    let memory = spec.resources.memory_limit.map(|limit| limit - ENGINE.min(limit / 2));
    Wasm { cache, memory, ports: spec.ports.clone(), host_network: sandbox.host_network }
}
