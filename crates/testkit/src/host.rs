//! Machines that are network namespaces, plugged into networks.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;

use crate::cable::{Cable, End};
use crate::namespace::Namespace;

/// Whatever machines can be plugged into.
pub trait Network {
    /// Plugs a new machine in.
    ///
    /// # Errors
    /// When the namespace or its cable cannot be made.
    fn host(&self) -> Result<Host>;
}

/// A switch: a namespace with a bridge, and a range of addresses of which it gives away one after the other.
#[derive(Debug)]
pub struct Lan {
    pub(crate) namespace: Namespace,
    /// The first three bytes of every address.
    prefix: &'static str,
    hosts: AtomicU32,
}

/// A machine on a network.
#[derive(Debug)]
pub struct Host {
    /// Its address.
    pub address: String,
    // Before the namespace, so that the cable is unplugged first.
    cable: Mutex<Cable>,
    namespace: Namespace,
}

impl Lan {
    /// A network `10.99.0.0/24` that is connected to nothing.
    ///
    /// # Errors
    /// When namespaces cannot be made (needs root).
    pub fn new() -> Result<Self> {
        Self::with_prefix("10.99.0")
    }

    pub(crate) fn with_prefix(prefix: &'static str) -> Result<Self> {
        let lan = Self { namespace: Namespace::new()?, prefix, hosts: AtomicU32::new(0) };
        lan.namespace.ip("link add name br0 type bridge")?;
        lan.namespace.ip("link set dev br0 up")?;
        Ok(lan)
    }

    /// The address that a router on this network has, and that every machine sends to what is elsewhere.
    pub(crate) fn gateway(&self) -> String {
        format!("{}.254", self.prefix)
    }

    /// Plugs `namespace` in with `device` and gives it the next address.
    pub(crate) fn plug(&self, namespace: &Namespace, device: &str) -> Result<(String, Cable)> {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed) + 1;
        let (address, port) = (format!("{}.{number}", self.prefix), format!("port{number}"));
        let near = End { namespace, device };
        let cable = Cable::new(near, End { namespace: &self.namespace, device: &port })?;
        self.namespace.ip(&format!("link set dev {port} master br0"))?;
        namespace.ip(&format!("addr add {address}/24 dev {device}"))?;
        Ok((address, cable))
    }
}

impl Network for Lan {
    fn host(&self) -> Result<Host> {
        let namespace = Namespace::new()?;
        let (address, cable) = self.plug(&namespace, "eth0")?;
        namespace.ip(&format!("route add default via {}", self.gateway()))?;
        Ok(Host { address, cable: Mutex::new(cable), namespace })
    }
}

impl Host {
    /// The cable between the machine and its network.
    pub fn cable(&self) -> MutexGuard<'_, Cable> {
        self.cable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its network namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// A command that will run on this machine.
    pub fn command(&self, program: &Path) -> Command {
        self.namespace.command(program)
    }
}
