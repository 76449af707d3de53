//! Machines that are network namespaces: each with an address on a bridge of its own world.
//!
//! Names carry the process id and a counter, so that tests that run at the same time never meet.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Runs a system command and fails with what it printed.
///
/// # Errors
/// When it cannot be started or fails.
pub fn system(words: &[&str]) -> Result<String> {
    let output = Command::new(words[0]).args(&words[1..]).output()?;
    if !output.status.success() {
        bail!("{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A network that machines are plugged into: a namespace with a bridge.
#[derive(Debug)]
pub struct Lan {
    name: String,
    hosts: AtomicU32,
}

/// A machine on a [`Lan`].
#[derive(Debug)]
pub struct Host {
    /// Its network namespace.
    pub netns: String,
    /// Its address.
    pub address: String,
    port: String,
    lan: String,
}

impl Lan {
    /// A new network `10.99.0.0/24` that is connected to nothing.
    ///
    /// # Errors
    /// When namespaces cannot be made (needs root).
    pub fn new() -> Result<Self> {
        let name = format!("dnlt{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        system(&["ip", "netns", "add", &name])?;
        let lan = Self { name, hosts: AtomicU32::new(0) };
        system(&["ip", "-n", &lan.name, "link", "add", "br0", "type", "bridge"])?;
        system(&["ip", "-n", &lan.name, "link", "set", "br0", "up"])?;
        Ok(lan)
    }

    /// Plugs a new machine in.
    ///
    /// # Errors
    /// When the namespace or its link cannot be made.
    pub fn host(&self) -> Result<Host> {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed) + 1;
        let netns = format!("{}h{number}", self.name);
        system(&["ip", "netns", "add", &netns])?;
        let host = Host {
            netns,
            address: format!("10.99.0.{number}"),
            port: format!("p{number}"),
            lan: self.name.clone(),
        };
        system(&["ip", "-n", &host.netns, "link", "set", "lo", "up"])?;
        system(&[
            "ip",
            "-n",
            &host.netns,
            "link",
            "add",
            "eth0",
            "type",
            "veth",
            "peer",
            "name",
            &host.port,
            "netns",
            &self.name,
        ])?;
        system(&["ip", "-n", &self.name, "link", "set", &host.port, "master", "br0", "up"])?;
        system(&["ip", "-n", &host.netns, "addr", "add", &format!("{}/24", host.address), "dev", "eth0"])?;
        system(&["ip", "-n", &host.netns, "link", "set", "eth0", "up"])?;
        system(&["ip", "-n", &host.netns, "route", "add", "default", "via", "10.99.0.254"])?;
        Ok(host)
    }
}

impl Host {
    /// Pulls the machine's plug.
    ///
    /// # Errors
    /// When the link cannot be changed.
    pub fn cut(&self) -> Result<()> {
        system(&["ip", "-n", &self.lan, "link", "set", &self.port, "down"]).map(drop)
    }

    /// Plugs it in again.
    ///
    /// # Errors
    /// When the link cannot be changed.
    pub fn mend(&self) -> Result<()> {
        system(&["ip", "-n", &self.lan, "link", "set", &self.port, "up"]).map(drop)
    }

    /// A command that will run on this machine.
    pub fn command(&self, program: &std::path::Path) -> Command {
        // `ip netns exec` would hide the cgroups under a fresh /sys; only the network is to be another.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.netns)).arg(program);
        command
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = system(&["ip", "netns", "del", &self.netns]);
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let _ = system(&["ip", "netns", "del", &self.name]);
    }
}
