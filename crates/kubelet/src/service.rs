//! Where pods find the API: the cluster's Service `default/kubernetes`, whose address the API server's certificate names.
//!
//! Kept on disk, because pods that are started while the API server is away need it as well. It never changes in the
//! life of a cluster.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use dunlin_base::backoff::Backoff;
use dunlin_base::error::chain;
use k8s_openapi::api::core::v1::Service;
use kube::Client;
use kube::api::Api;

use crate::csr::write;
use crate::error::Error;

/// How long the API server is waited for where an earlier answer is on disk.
const PATIENCE: Duration = Duration::from_secs(3);

/// The Service's address and port.
///
/// # Errors
/// When the Service has no IPv4 address, or the answer cannot be kept.
pub async fn find(client: &Client, folder: &Path) -> Result<SocketAddrV4, Error> {
    let file = folder.join("api-service");
    let kept = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
    let asking = ask(client);
    let found = match kept {
        None => asking.await?,
        Some(kept) => match tokio::time::timeout(PATIENCE, asking).await {
            Ok(found) => found?,
            Err(_) => return Ok(kept),
        },
    };
    if kept != Some(found) {
        write(&file, found.to_string().as_bytes())?;
    }
    Ok(found)
}

async fn ask(client: &Client) -> Result<SocketAddrV4, Error> {
    let api: Api<Service> = Api::namespaced(client.clone(), "default");
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    loop {
        match api.get("kubernetes").await {
            Ok(service) => {
                return address(&service).ok_or_else(|| {
                    Error::Input(
                        "the Service default/kubernetes has no IPv4 address: clusters of IPv6 alone are not supported"
                            .to_owned(),
                    )
                });
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, "the Service default/kubernetes cannot be read yet, trying again");
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}

fn address(service: &Service) -> Option<SocketAddrV4> {
    let spec = service.spec.as_ref()?;
    let mut all = spec.cluster_ip.iter().chain(spec.cluster_ips.iter().flatten());
    let ip: Ipv4Addr = all.find_map(|ip| ip.parse().ok())?;
    let ports = spec.ports.as_deref().unwrap_or_default();
    let port = ports.iter().find(|p| p.name.as_deref() == Some("https")).or(ports.first())?;
    Some(SocketAddrV4::new(ip, u16::try_from(port.port).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_ipv4_address_and_the_https_port() {
        let check = |spec: serde_json::Value, expect: Option<&str>| {
            let service = serde_json::from_value(json!({"metadata": {"name": "kubernetes"}, "spec": spec}));
            let found = address(&service.expect("a service")).map(|a| a.to_string());
            assert_eq!(found.as_deref(), expect);
        };
        let ports = json!([{"name": "other", "port": 1}, {"name": "https", "port": 443}]);
        check(json!({"clusterIP": "10.96.0.1", "ports": ports}), Some("10.96.0.1:443"));
        check(
            json!({"clusterIP": "fd00::1", "clusterIPs": ["fd00::1", "10.0.0.1"], "ports": ports}),
            Some("10.0.0.1:443"),
        );
        check(json!({"clusterIP": "fd00::1", "ports": ports}), None);
    }
}
