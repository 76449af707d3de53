//! The network of this node's pods: one bridge, one wire and one address per pod, one table of rules.
//!
//! Every call may be repeated; after a restart of the agent the reservations come from the state file, and pods that
//! still run keep their wires.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use std::os::fd::AsRawFd;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::host;
use crate::netlink::{Netlink, configure, open_namespace};
use crate::plan::ipam::{Cidr, Ipam};
use crate::plan::rules::{HostPort, removal, script};

/// Where the API appears in every pod; the same everywhere, so that it can be in every server's certificate. Only a
/// real Kubernetes, whose certificates name something else, has it elsewhere.
pub const API: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(169, 254, 72, 1), 443);

/// How the network is made.
#[derive(Debug, Clone)]
pub struct NetConfig {
    /// Eight hexadecimal digits that are this node's own.
    pub id: String,
    /// The node's pod range.
    pub range: Cidr,
    /// Where reservations are kept.
    pub state_dir: PathBuf,
    /// Where pods find the API, mostly [`API`]: the bridge has that address, too.
    pub api: SocketAddrV4,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    ipam: Ipam,
    ports: BTreeMap<String, Vec<HostPort>>,
}

/// Removes what a node's network has left on the machine: bridge and rules. Absent is success.
///
/// # Errors
/// When the kernel or `nft` refuses.
pub async fn remove_all(id: &str) -> Result<(), Error> {
    host::nft(&removal(&table_name(id))).await?;
    Netlink::open()?.remove(&bridge_name(id)).await
}

/// The running network.
pub struct Network {
    config: NetConfig,
    netlink: Netlink,
    bridge: u32,
    state: Mutex<State>,
    /// One writer of rules at a time, so that an older table never replaces a newer one.
    rules: tokio::sync::Mutex<()>,
}

impl Network {
    /// Makes the bridge and the rules.
    ///
    /// # Errors
    /// When the kernel or `nft` refuses; the text says what.
    pub async fn start(config: NetConfig) -> Result<Self, Error> {
        std::fs::create_dir_all(&config.state_dir)
            .map_err(|e| Error::io("creating", &config.state_dir, e))?;
        let state = read_state(&config.state_dir.join("network.json"))?;
        let netlink = Netlink::open()?;
        let name = bridge_name(&config.id);
        let addresses = [(config.range.gateway(), config.range.prefix), (*config.api.ip(), 32)];
        let bridge = netlink.bridge(&name, &addresses).await?;
        host::sysctl("net/ipv4/ip_forward", "1")?;
        // Lets a connection to a host port on 127.0.0.1 be led into a pod.
        host::sysctl(&format!("net/ipv4/conf/{name}/route_localnet"), "1")?;
        let network =
            Self { config, netlink, bridge, state: Mutex::new(state), rules: tokio::sync::Mutex::new(()) };
        network.write_rules().await?;
        Ok(network)
    }

    /// The bridge's name.
    pub fn bridge(&self) -> String {
        bridge_name(&self.config.id)
    }

    /// The node's pod range.
    pub fn range(&self) -> Cidr {
        self.config.range
    }

    /// The address reserved for a pod.
    pub fn address(&self, uid: &str) -> Option<Ipv4Addr> {
        self.lock().ipam.reserved.get(uid).copied()
    }

    /// Connects a pod's namespace: address, wire, route, host ports.
    ///
    /// # Errors
    /// When no address is left, the namespace is gone, or the kernel refuses.
    pub async fn attach(&self, uid: &str, netns: &Path, ports: &[HostPort]) -> Result<Ipv4Addr, Error> {
        let (address, changed) = {
            let mut state = self.lock();
            let address = state.ipam.reserve(uid, &self.config.range)?;
            let before = if ports.is_empty() {
                state.ports.remove(uid)
            } else {
                state.ports.insert(uid.to_owned(), ports.to_vec())
            };
            self.save(&state)?;
            (address, before.unwrap_or_default() != ports)
        };
        let namespace = open_namespace(netns)?;
        let host = veth_name(&self.config.id, address);
        self.netlink.veth(&host, self.bridge, namespace.as_raw_fd()).await?;
        configure(namespace, address, self.config.range).await?;
        if changed {
            self.write_rules().await?;
        }
        Ok(address)
    }

    /// Takes back what a pod had. Absent is success.
    ///
    /// # Errors
    /// When the kernel or `nft` refuses.
    pub async fn detach(&self, uid: &str) -> Result<(), Error> {
        let Some(address) = self.address(uid) else { return Ok(()) };
        self.netlink.remove(&veth_name(&self.config.id, address)).await?;
        let had_ports = {
            let mut state = self.lock();
            state.ipam.release(uid);
            let had = state.ports.remove(uid).is_some();
            self.save(&state)?;
            had
        };
        if had_ports {
            self.write_rules().await?;
        }
        Ok(())
    }

    /// Takes back what pods had that are not among `uids`.
    ///
    /// # Errors
    /// As [`Network::detach`].
    pub async fn retain(&self, uids: &std::collections::BTreeSet<String>) -> Result<(), Error> {
        let stale: Vec<String> =
            self.lock().ipam.reserved.keys().filter(|u| !uids.contains(*u)).cloned().collect();
        for uid in stale {
            self.detach(&uid).await?;
        }
        Ok(())
    }

    /// A route to the pods of another node that is reached directly.
    ///
    /// # Errors
    /// When the kernel refuses, as when `via` is not on a connected network.
    pub async fn route_to(&self, range: &Cidr, via: Ipv4Addr) -> Result<(), Error> {
        self.netlink.route(range, via).await
    }

    /// Removes bridge and rules: the node leaves.
    ///
    /// # Errors
    /// When the kernel or `nft` refuses.
    pub async fn remove(&self) -> Result<(), Error> {
        remove_all(&self.config.id).await
    }

    async fn write_rules(&self) -> Result<(), Error> {
        let _one = self.rules.lock().await;
        let text = {
            let state = self.lock();
            let ports: Vec<(Ipv4Addr, HostPort)> = state
                .ports
                .iter()
                .filter_map(|(uid, ports)| state.ipam.reserved.get(uid).map(|a| (*a, ports)))
                .flat_map(|(address, ports)| ports.iter().map(move |p| (address, p.clone())))
                .collect();
            script(&table_name(&self.config.id), &self.bridge(), &self.config.range, &ports)
        };
        host::nft(&text).await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn save(&self, state: &State) -> Result<(), Error> {
        let path = self.config.state_dir.join("network.json");
        let beside = self.config.state_dir.join("network.json.new");
        let bytes = serde_json::to_vec(state).map_err(|e| Error::io("encoding", &path, e.into()))?;
        std::fs::write(&beside, bytes).map_err(|e| Error::io("writing", &beside, e))?;
        std::fs::rename(&beside, &path).map_err(|e| Error::io("renaming", &path, e))
    }
}

/// An unreadable file (power was lost while it was young) costs reservations of pods that are gone as well.
fn read_state(path: &Path) -> Result<State, Error> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(%error, path = %path.display(), "the network's state cannot be read; starting anew");
            State::default()
        })),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(State::default()),
        Err(e) => Err(Error::io("reading", path, e)),
    }
}

fn bridge_name(id: &str) -> String {
    format!("dnl{id}")
}

fn table_name(id: &str) -> String {
    format!("dunlin_{id}")
}

/// At most 15 bytes: the node's first four digits, and the low 24 bits of the address.
fn veth_name(id: &str, address: Ipv4Addr) -> String {
    let short = id.get(..4).unwrap_or(id);
    format!("dv{short}{:06x}", u32::from(address) & 0x00ff_ffff)
}
