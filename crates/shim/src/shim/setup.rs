//! What happens once, when the sandbox begins: cgroup, namespaces, memory file systems, socket.
//!
//! Runs with the sandbox's directory as working directory; every path of the sandbox is relative, because the socket's
//! path must fit into 108 bytes.

use std::fs::Permissions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use dunlin_shim::message::Config;
use dunlin_shim::{CONFIG, SOCKET};

use crate::sys;

/// A sandbox that is set up.
pub struct Ready {
    /// Where agents connect.
    pub listener: UnixListener,
    /// Tells of ended children.
    pub signals: OwnedFd,
    /// Process 1 of the shared PID namespace; 0 for none.
    pub reaper: i32,
}

/// Sets the sandbox up. The text of an error names what failed.
pub fn setup() -> Result<Ready, String> {
    sys::close_inherited();
    let bytes = std::fs::read(CONFIG).map_err(|e| format!("reading {CONFIG}: {e}"))?;
    let config = Config::decode(&bytes).map_err(|e| format!("reading {CONFIG}: {e}"))?;
    step("starting a session", sys::setsid())?;
    for procs in &config.cgroups {
        std::fs::write(procs, "0").map_err(|e| format!("joining {procs}: {e}"))?;
    }
    // Lowering needs CAP_SYS_RESOURCE, which is not everywhere; without it the shim is as killable as others.
    let _ = std::fs::write("/proc/self/oom_score_adj", config.oom_score_adj.to_string());
    step("becoming a subreaper", sys::become_subreaper())?;
    let signals = step("blocking signals", sys::child_signals())?;
    namespaces(&config)?;
    for (name, value) in &config.sysctls {
        let path = format!("/proc/sys/{name}");
        std::fs::write(&path, value).map_err(|e| format!("setting sysctl {name}={value}: {e}"))?;
    }
    for tmpfs in &config.tmpfs {
        step(&tmpfs.path, sys::mount_tmpfs(&tmpfs.path, &tmpfs.options))?;
    }
    let reaper = if config.shared_pids { step("starting process 1", sys::start_reaper())? } else { 0 };
    Ok(Ready { listener: listen()?, signals, reaper })
}

fn namespaces(config: &Config) -> Result<(), String> {
    let mut flags = libc::CLONE_NEWNS;
    if config.own_network {
        flags |= libc::CLONE_NEWNET;
    }
    if config.own_ipc {
        flags |= libc::CLONE_NEWIPC;
    }
    if !config.hostname.is_empty() {
        flags |= libc::CLONE_NEWUTS;
    }
    step("making namespaces", sys::unshare(flags))?;
    step("making mounts private", sys::make_root_slave())?;
    if !config.hostname.is_empty() {
        step("setting the host name", sys::set_hostname(&config.hostname))?;
    }
    if config.own_network {
        step("bringing the loopback interface up", sys::loopback_up())?;
    }
    Ok(())
}

fn listen() -> Result<UnixListener, String> {
    // A socket left by a shim that died: the runtime starts a second shim only when the first is gone.
    let _ = std::fs::remove_file(SOCKET);
    let listener = step("binding the socket", UnixListener::bind(SOCKET))?;
    step("protecting the socket", std::fs::set_permissions(SOCKET, Permissions::from_mode(0o600)))?;
    step("preparing the socket", listener.set_nonblocking(true))?;
    Ok(listener)
}

fn step<T>(what: &str, result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|e| format!("{what}: {e}"))
}
