//! What a role can be told: by flags, and under them by the configuration file, which uses the same names.
//!
//! Raw values come in as [`Choices`] from each source, are laid over each other, and become options that are valid.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Doing, Error};

pub mod access;
pub mod authentication;
pub mod machines;
pub mod oidc;
pub mod times;

use access::Access;
use machines::Machines;
use times::Times;

/// Where data lies unless told otherwise.
pub const DATA_DIR: &str = "/var/lib/dunlin";
/// Where the configuration file lies.
pub const CONFIG_FILE: &str = "/etc/dunlin/config.yaml";
/// The largest configuration file that is read, bytes.
const CONFIG_LIMIT: u64 = 1 << 20;

/// What one source says; everything may be left open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Choices {
    /// Name of the cluster.
    pub name: Option<String>,
    /// Data directory.
    pub data_dir: Option<PathBuf>,
    /// `ADDRESS:PORT` of the API.
    pub listen: Option<String>,
    /// Names and addresses under which clients reach the server.
    pub advertise: Vec<String>,
    /// Requests that run at once.
    pub max_requests_inflight: Option<u32>,
    /// Run a server without an agent.
    pub no_agent: Option<bool>,
    /// Name of this machine's node.
    pub node_name: Option<String>,
    /// Scheduling policy.
    pub scheduler: Option<String>,
    /// Where this machine is.
    pub area: Option<String>,
    /// Where objects live: `sqlite`, or `etcd://HOST:PORT,...`.
    pub store: Option<String>,
    /// CA of etcd.
    pub store_ca: Option<PathBuf>,
    /// Our certificate for etcd.
    pub store_cert: Option<PathBuf>,
    /// Its key.
    pub store_key: Option<PathBuf>,
    /// Our user in etcd.
    pub store_user: Option<String>,
    /// File with its password.
    pub store_password_file: Option<PathBuf>,
    /// What all keys in etcd begin with.
    pub store_prefix: Option<String>,
    /// URL of the server above this one.
    pub parent: Option<String>,
    /// What the parent sees of this cluster.
    pub expose: Option<String>,
    /// URL of the server to join.
    pub server: Option<String>,
    /// Join token.
    pub token: Option<String>,
    /// Kubeconfig of the Kubernetes cluster to be a node of.
    pub kubeconfig: Option<PathBuf>,
    /// Port of the kubelet's API there; 0 is none.
    pub kubelet_port: Option<u16>,
    /// CA of the client certificates of its callers.
    pub client_ca_file: Option<PathBuf>,
    /// Range of pods' addresses, if the cluster assigns none.
    pub pod_cidr: Option<String>,
    /// Labels of this machine's node, `NAME=VALUE`.
    pub label: Vec<String>,
    /// Whether pods may run programs of this machine.
    pub native_processes: Option<bool>,
    /// What pods' virtual machines are booted with.
    #[serde(flatten)]
    pub machines: Machines,
    /// Socket of a container runtime that speaks CRI.
    pub cri_socket: Option<PathBuf>,
    /// Its handlers that are offered beside its default.
    pub cri_handlers: Vec<String>,
    /// Log filter.
    pub log: Option<String>,
    /// Graces, tolerances and intervals.
    pub times: Times,
    /// Who is let in besides, and what is noted of everybody.
    #[serde(flatten)]
    pub access: Access,
}

impl Choices {
    /// Reads a configuration file; an absent one says nothing.
    ///
    /// # Errors
    /// When it cannot be read, or has unknown or wrong fields.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let shown = file.display();
        match std::fs::metadata(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Ok(meta) if meta.len() > CONFIG_LIMIT => {
                return Err(Error::Input(format!("{shown} is larger than {CONFIG_LIMIT} bytes")));
            }
            _ => {}
        }
        let text = std::fs::read_to_string(file).doing(format!("reading {shown}"))?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(&text).map_err(|e| Error::Input(format!("{shown} is wrong: {e}")))
    }

    /// These choices, and those of `below` where these leave something open.
    pub fn over(self, below: Self) -> Self {
        let list = |above: Vec<String>, below: Vec<String>| if above.is_empty() { below } else { above };
        Self {
            name: self.name.or(below.name),
            data_dir: self.data_dir.or(below.data_dir),
            listen: self.listen.or(below.listen),
            advertise: list(self.advertise, below.advertise),
            max_requests_inflight: self.max_requests_inflight.or(below.max_requests_inflight),
            no_agent: self.no_agent.or(below.no_agent),
            node_name: self.node_name.or(below.node_name),
            scheduler: self.scheduler.or(below.scheduler),
            area: self.area.or(below.area),
            store: self.store.or(below.store),
            store_ca: self.store_ca.or(below.store_ca),
            store_cert: self.store_cert.or(below.store_cert),
            store_key: self.store_key.or(below.store_key),
            store_user: self.store_user.or(below.store_user),
            store_password_file: self.store_password_file.or(below.store_password_file),
            store_prefix: self.store_prefix.or(below.store_prefix),
            parent: self.parent.or(below.parent),
            expose: self.expose.or(below.expose),
            server: self.server.or(below.server),
            token: self.token.or(below.token),
            kubeconfig: self.kubeconfig.or(below.kubeconfig),
            kubelet_port: self.kubelet_port.or(below.kubelet_port),
            client_ca_file: self.client_ca_file.or(below.client_ca_file),
            pod_cidr: self.pod_cidr.or(below.pod_cidr),
            label: list(self.label, below.label),
            native_processes: self.native_processes.or(below.native_processes),
            machines: self.machines.over(below.machines),
            cri_socket: self.cri_socket.or(below.cri_socket),
            cri_handlers: list(self.cri_handlers, below.cri_handlers),
            log: self.log.or(below.log),
            times: self.times.over(below.times),
            access: self.access.over(below.access),
        }
    }

    /// The data directory that these choices mean.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| PathBuf::from(DATA_DIR))
    }
}

/// The files for TLS with etcd.
#[derive(Debug, Clone, Default)]
pub struct StoreTls {
    /// The CA that signed etcd's certificate.
    pub ca: Option<PathBuf>,
    /// The certificate that is shown to etcd.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// What a server is told.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Name of the cluster.
    pub name: Option<String>,
    /// Data directory.
    pub data_dir: PathBuf,
    /// `ADDRESS:PORT` of the API.
    pub listen: String,
    /// Names and addresses under which clients reach it; the first stands in the kubeconfig.
    pub advertise: Vec<String>,
    /// Requests that run at once, those of administrators aside.
    pub max_requests_inflight: Option<u32>,
    /// Without an agent.
    pub no_agent: bool,
    /// Name of the own node; the host's name if absent.
    pub node_name: Option<String>,
    /// Scheduling policy.
    pub scheduler: Option<String>,
    /// Where this machine is.
    pub area: Option<String>,
    /// Labels of the own node.
    pub label: Vec<String>,
    /// Whether pods may run programs of this machine.
    pub native_processes: bool,
    /// What pods' virtual machines are booted with.
    pub machines: Machines,
    /// Socket of a container runtime that speaks CRI.
    pub cri_socket: Option<PathBuf>,
    /// Its handlers that are offered beside its default.
    pub cri_handlers: Vec<String>,
    /// Where objects live: `sqlite`, or `etcd://HOST:PORT,...`.
    pub store: Option<String>,
    /// How connections to etcd are secured.
    pub store_tls: StoreTls,
    /// User in etcd, and the file with its password.
    pub store_user: Option<String>,
    /// See above.
    pub store_password_file: Option<PathBuf>,
    /// What all keys in etcd begin with.
    pub store_prefix: Option<String>,
    /// URL of the server above this one.
    pub parent: Option<String>,
    /// What the parent sees of this cluster: `cluster` or `nodes`.
    pub expose: Option<String>,
    /// Join token of the parent; needed once.
    pub token: Option<String>,
    /// Graces, tolerances and intervals.
    pub times: Times,
    /// Who is let in besides, and what is noted of everybody.
    pub access: Access,
}

impl From<Choices> for ServerOptions {
    fn from(choices: Choices) -> Self {
        Self {
            data_dir: choices.data_dir(),
            name: choices.name,
            listen: choices.listen.unwrap_or_else(|| "0.0.0.0:6443".to_owned()),
            advertise: choices.advertise,
            max_requests_inflight: choices.max_requests_inflight,
            no_agent: choices.no_agent.unwrap_or(false),
            node_name: choices.node_name,
            scheduler: choices.scheduler,
            area: choices.area,
            label: choices.label,
            native_processes: choices.native_processes.unwrap_or(false),
            machines: choices.machines,
            cri_socket: choices.cri_socket,
            cri_handlers: choices.cri_handlers,
            store: choices.store,
            store_tls: StoreTls { ca: choices.store_ca, cert: choices.store_cert, key: choices.store_key },
            store_user: choices.store_user,
            store_password_file: choices.store_password_file,
            store_prefix: choices.store_prefix,
            parent: choices.parent,
            expose: choices.expose,
            token: choices.token,
            times: choices.times,
            access: choices.access,
        }
    }
}

/// What an agent is told.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// URL of the server.
    pub server: Option<String>,
    /// Join token; needed once.
    pub token: Option<String>,
    /// Kubeconfig of the Kubernetes cluster to be a node of, instead of a server.
    pub kubeconfig: Option<PathBuf>,
    /// Port of the kubelet's API there; 0 is none.
    pub kubelet_port: Option<u16>,
    /// CA of the client certificates of its callers.
    pub client_ca_file: Option<PathBuf>,
    /// Range of pods' addresses, if the cluster assigns none.
    pub pod_cidr: Option<String>,
    /// Data directory.
    pub data_dir: PathBuf,
    /// Name of the node; the host's name if absent.
    pub node_name: Option<String>,
    /// Labels of the node.
    pub label: Vec<String>,
    /// Whether pods may run programs of this machine.
    pub native_processes: bool,
    /// What pods' virtual machines are booted with.
    pub machines: Machines,
    /// Socket of a container runtime that speaks CRI.
    pub cri_socket: Option<PathBuf>,
    /// Its handlers that are offered beside its default.
    pub cri_handlers: Vec<String>,
    /// Where this machine is.
    pub area: Option<String>,
    /// Graces, tolerances and intervals.
    pub times: Times,
}

impl From<Choices> for AgentOptions {
    fn from(choices: Choices) -> Self {
        Self {
            data_dir: choices.data_dir(),
            server: choices.server,
            token: choices.token,
            kubeconfig: choices.kubeconfig,
            kubelet_port: choices.kubelet_port,
            client_ca_file: choices.client_ca_file,
            pod_cidr: choices.pod_cidr,
            node_name: choices.node_name,
            label: choices.label,
            native_processes: choices.native_processes.unwrap_or(false),
            machines: choices.machines,
            cri_socket: choices.cri_socket,
            cri_handlers: choices.cri_handlers,
            area: choices.area,
            times: choices.times,
        }
    }
}

impl AgentOptions {
    /// Refuses what contradicts itself.
    ///
    /// # Errors
    /// When there is nobody to join, or two; or a choice means nothing beside the others. The text says what to do.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |text: &str| Err(Error::Input(text.to_owned()));
        let only = [
            ("kubelet-port", self.kubelet_port.is_some()),
            ("client-ca-file", self.client_ca_file.is_some()),
            ("pod-cidr", self.pod_cidr.is_some()),
        ];
        if self.kubeconfig.is_none() {
            if let Some((name, _)) = only.iter().find(|(_, given)| *given) {
                return Err(Error::Input(format!(
                    "{name} is for a node of a Kubernetes cluster: it needs --kubeconfig FILE"
                )));
            }
            return match self.server {
                Some(_) => Ok(()),
                None => wrong(
                    "an agent needs its server: --server https://host:6443 --token TOKEN, or the Kubernetes cluster that \
                     it is to be a node of: --kubeconfig FILE",
                ),
            };
        }
        if self.server.is_some() || self.token.is_some() {
            return wrong(
                "an agent joins either a Dunlin server (--server, --token) or a Kubernetes cluster (--kubeconfig), not \
                 both: leave one out (the configuration file counts as well)",
            );
        }
        match self.pod_cidr.as_ref().map(|range| range.parse::<dunlin_net::Cidr>()) {
            Some(Err(why)) => {
                Err(Error::Input(format!("pod-cidr is wrong: {}", dunlin_base::error::chain(&why))))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_joins_one_of_two_kinds() {
        let check = |choices: Choices| AgentOptions::from(choices).check().map_err(|e| e.to_string());
        let (server, kubeconfig) = (Some("https://a".to_owned()), Some(PathBuf::from("k")));
        assert!(check(Choices { server: server.clone(), ..Choices::default() }).is_ok());
        assert!(check(Choices { kubeconfig: kubeconfig.clone(), ..Choices::default() }).is_ok());
        assert!(check(Choices::default()).unwrap_err().contains("--kubeconfig"));
        let both = Choices { server: server.clone(), kubeconfig: kubeconfig.clone(), ..Choices::default() };
        assert!(check(both).unwrap_err().contains("not both"));
        let stray = Choices { server, kubelet_port: Some(1), ..Choices::default() };
        assert!(check(stray).unwrap_err().contains("kubelet-port"));
        let range = Choices { kubeconfig, pod_cidr: Some("10.0.0.0/99".to_owned()), ..Choices::default() };
        assert!(check(range).unwrap_err().contains("pod-cidr"));
    }

    #[test]
    fn flags_lie_over_the_file_and_unknown_fields_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        assert_eq!(Choices::read(&file).unwrap(), Choices::default());
        std::fs::write(&file, "node-name: gate\nlabel: [a=b]\nlisten: 127.0.0.1:1\n").unwrap();
        let flags = Choices { listen: Some("127.0.0.1:2".to_owned()), ..Choices::default() };
        let options = ServerOptions::from(flags.over(Choices::read(&file).unwrap()));
        assert_eq!((options.listen.as_str(), options.node_name.as_deref()), ("127.0.0.1:2", Some("gate")));
        assert_eq!(options.label, ["a=b"]);
        std::fs::write(&file, "times: {certificate-life: 90d, ping: 5s}\n").unwrap();
        let options = ServerOptions::from(Choices::default().over(Choices::read(&file).unwrap()));
        assert_eq!(options.times.certificate_life().as_secs(), 90 * 86_400);
        assert_eq!(options.times.ping().as_secs(), 5);
        std::fs::write(&file, "times: {certificate-life: soon}\n").unwrap();
        assert!(Choices::read(&file).unwrap_err().to_string().contains("soon"));
        std::fs::write(&file, "node-nam: gate\n").unwrap();
        let error = Choices::read(&file).unwrap_err().to_string();
        assert!(error.contains("node-nam") && error.contains("config.yaml"), "{error}");
    }
}
