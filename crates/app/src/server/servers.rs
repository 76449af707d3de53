//! The servers that share a store: where each is, that it lives, and which node is its own.
//!
//! As with Kubernetes' API servers each has a Lease `apiserver-<id>` in `kube-system`. Each also keeps an EndpointSlice of
//! the service `kubernetes` with its address, from which agents learn where else to go. What a server leaves behind that
//! does not come back is removed by the one that runs the controllers.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use dunlin_base::error::chain;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::agent;

/// Which server holds a node's tunnel: an annotation of the node's Lease.
pub const HELD_BY: &str = "dunlin.io/held-by";
/// Where a server is: an annotation of its Lease.
const ADDRESS: &str = "dunlin.io/address";
/// The node in a server's own process: an annotation of its Lease.
const OWN_NODE: &str = "dunlin.io/own-node";
/// As Kubernetes labels the Leases of its API servers.
const LABEL: (&str, &str) = ("apiserver.kubernetes.io/identity", "kube-apiserver");
/// How often a server says that it lives.
const EVERY: Duration = Duration::from_secs(5);
/// How long a server may be silent before it is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(20);

/// This server among the others.
#[derive(Clone)]
pub struct Servers {
    pub client: kube::Client,
    /// This server's.
    pub id: String,
    /// `HOST:PORT` where other servers and agents reach this one.
    pub address: String,
    pub own_node: Option<String>,
}

impl Servers {
    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), "kube-system")
    }

    fn slices(&self) -> Api<EndpointSlice> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Says that this server lives, for as long as it is polled.
    pub async fn announce(self) {
        loop {
            if let Err(error) = self.sign().await {
                tracing::debug!(error = chain(&error), "this server could not say that it lives");
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn sign(&self) -> Result<(), kube::Error> {
        let now = format!("{:.6}", k8s_openapi::jiff::Timestamp::now());
        let name = format!("apiserver-{}", self.id);
        let mut annotations = json!({ADDRESS: self.address});
        if let Some(node) = &self.own_node {
            annotations[OWN_NODE] = json!(node);
        }
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": name, "labels": {LABEL.0: LABEL.1}, "annotations": annotations},
            "spec": {"holderIdentity": self.id, "leaseDurationSeconds": FORGOTTEN.as_secs(), "renewTime": now},
        });
        let params = PatchParams::apply("dunlin-server").force();
        self.leases().patch(&name, &params, &Patch::Apply(&lease)).await?;
        let Ok(address) = self.address.parse::<SocketAddr>() else {
            // A name is nothing that an EndpointSlice of addresses can hold.
            return Ok(());
        };
        let name = format!("kubernetes-{}", self.id);
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {
                "kubernetes.io/service-name": "kubernetes",
                "endpointslice.kubernetes.io/managed-by": "dunlin-server",
            }},
            "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
            "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}],
        });
        // An apply that changes nothing writes nothing.
        self.slices().patch(&name, &params, &Patch::Apply(&slice)).await.map(drop)
    }

    /// Where the server `id` is.
    pub async fn address_of(&self, id: &str) -> Result<Option<String>, kube::Error> {
        let lease = self.leases().get_opt(&format!("apiserver-{id}")).await?;
        Ok(lease.and_then(|lease| lease.metadata.annotations?.remove(ADDRESS)))
    }

    /// Whether a server of this cluster runs the node `name` itself.
    pub async fn is_own_node(&self, name: &str) -> Result<bool, kube::Error> {
        let all = self.all().await?;
        Ok(all.iter().any(|lease| {
            lease
                .metadata
                .annotations
                .as_ref()
                .and_then(|all| all.get(OWN_NODE))
                .is_some_and(|own| own == name)
        }))
    }

    async fn all(&self) -> Result<Vec<Lease>, kube::Error> {
        let params = ListParams::default().labels(&format!("{}={}", LABEL.0, LABEL.1));
        Ok(self.leases().list(&params).await?.items)
    }

    /// Forgets servers that say nothing any more, for as long as it is polled. No clocks are compared: what counts is how
    /// long a Lease has not changed here.
    pub async fn forget(self) {
        let mut seen: BTreeMap<String, (Option<String>, Instant)> = BTreeMap::new();
        loop {
            match self.all().await {
                Ok(all) => {
                    for lease in all {
                        let version = lease.metadata.resource_version;
                        let name = lease.metadata.name.unwrap_or_default();
                        let known =
                            seen.entry(name.clone()).or_insert_with(|| (version.clone(), Instant::now()));
                        if known.0 != version {
                            *known = (version, Instant::now());
                        } else if known.1.elapsed() > FORGOTTEN {
                            self.remove(&name).await;
                            seen.remove(&name);
                        }
                    }
                }
                Err(error) => tracing::debug!(error = chain(&error), "looking at the other servers failed"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn remove(&self, lease: &str) {
        let id = lease.trim_start_matches("apiserver-");
        tracing::warn!(server = id, "a server has been silent for long and is forgotten");
        let params = DeleteParams::default();
        for (what, outcome) in [
            ("EndpointSlice", self.slices().delete(&format!("kubernetes-{id}"), &params).await.map(drop)),
            ("Lease", self.leases().delete(lease, &params).await.map(drop)),
        ] {
            match outcome {
                Ok(()) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => tracing::warn!(what, error = chain(&error), "it could not be removed"),
            }
        }
    }
}

/// Where others reach a server that listens on `listen`.
pub fn address(listen: SocketAddr, advertise: &[String]) -> String {
    let host = match advertise.first() {
        Some(host) => host.clone(),
        None if listen.ip().is_unspecified() => agent::addresses()
            .into_iter()
            .find(|address| address.parse::<IpAddr>().is_ok_and(|ip| !ip.is_loopback()))
            .unwrap_or_else(|| "127.0.0.1".to_owned()),
        None => listen.ip().to_string(),
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    format!("{host}:{}", listen.port())
}
