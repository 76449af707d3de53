//! What an agent is told at its start. Every interval and bound that tests need in seconds is here.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dunlin_node::{PodRef, RegistrationOptions};

/// Makes a connection to the home API of the pod.
pub type HomeDial = Arc<dyn Fn(PodRef) -> dunlin_net::relay::Connecting + Send + Sync>;

/// What is different towards a real Kubernetes, where nothing of ours is above the node.
#[derive(Debug, Clone)]
pub struct Foreign {
    /// Where pods find the API: the cluster's Service `default/kubernetes`, which the API server's certificate names.
    pub api: SocketAddrV4,
    /// The port on which the kubelet's API is served; `None` if it is not.
    pub kubelet_port: Option<u16>,
}

/// The agent's configuration.
#[derive(Clone)]
pub struct AgentConfig {
    /// The Node's name.
    pub node_name: String,
    /// Eight hexadecimal digits from which bridge and rules are named; derived from the Node's uid when empty.
    pub node_id: String,
    /// What must survive a reboot.
    pub data_dir: PathBuf,
    /// What must not: tmpfs, for secrets.
    pub run_dir: PathBuf,
    /// Labels to add.
    pub labels: BTreeMap<String, String>,
    /// Annotations to add.
    pub annotations: BTreeMap<String, String>,
    /// Where the node is: a name or `lat,lon`.
    pub area: Option<String>,
    /// The node's address; found by itself when none.
    pub node_ip: Option<IpAddr>,
    /// Pod range instead of what the API assigns.
    pub pod_cidr: Option<String>,
    /// Make the pod network. Without it all pods use the host's.
    pub network: bool,
    /// Cluster domain for search lists.
    pub cluster_domain: String,
    /// DNS servers for `ClusterFirst`; the host's when empty.
    pub cluster_dns: Vec<String>,
    /// Most pods.
    pub max_pods: u32,
    /// Amounts by resource that replace what was measured.
    pub capacity: BTreeMap<String, String>,
    /// The way to the API of pods that were made above this node's server.
    pub home: Option<HomeDial>,
    /// Set towards a real Kubernetes.
    pub foreign: Option<Foreign>,
    /// Lease and status intervals.
    pub registration: RegistrationOptions,
    /// First delay of a crash loop.
    pub crash_backoff_first: Duration,
    /// Longest delay of a crash loop.
    pub crash_backoff_most: Duration,
    /// A container that ran this long is forgiven its crashes.
    pub crash_backoff_reset: Duration,
    /// First delay of image pulls.
    pub pull_backoff_first: Duration,
    /// Longest delay of image pulls.
    pub pull_backoff_most: Duration,
    /// How often a node with fenced pods makes sure that its server hears it.
    pub contact: Duration,
    /// Largest number of processes of a container; 0 is no limit.
    pub pids_limit: u64,
    /// Log files are rotated at this size.
    pub log_max_size: u64,
    /// Rotated files kept.
    pub log_max_files: u32,
    /// Free share of the data disk below which the node has DiskPressure.
    pub disk_pressure_percent: u64,
}

impl AgentConfig {
    /// Where pods find the API.
    pub fn api(&self) -> SocketAddrV4 {
        self.foreign.as_ref().map_or(dunlin_net::network::API, |foreign| foreign.api)
    }

    /// Defaults for a node of this name.
    pub fn new(
        node_name: impl Into<String>,
        data_dir: impl Into<PathBuf>,
        run_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            node_name: node_name.into(),
            node_id: String::new(),
            data_dir: data_dir.into(),
            run_dir: run_dir.into(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            area: None,
            node_ip: None,
            pod_cidr: None,
            network: true,
            cluster_domain: "cluster.local".into(),
            cluster_dns: Vec::new(),
            max_pods: 110,
            capacity: BTreeMap::new(),
            home: None,
            foreign: None,
            registration: RegistrationOptions::default(),
            crash_backoff_first: Duration::from_secs(10),
            crash_backoff_most: Duration::from_secs(300),
            crash_backoff_reset: Duration::from_secs(600),
            pull_backoff_first: Duration::from_secs(10),
            pull_backoff_most: Duration::from_secs(300),
            contact: Duration::from_secs(10),
            pids_limit: 4096,
            log_max_size: 10 << 20,
            log_max_files: 4,
            disk_pressure_percent: 5,
        }
    }
}
