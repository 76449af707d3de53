//! The addresses that services hold, as `IPAddress` objects, so that everybody can see which are taken.
//!
//! What is given out is decided by the bitmaps of `admission::service`; these objects follow the services and are made
//! right again at every start.

use serde_json::{Value, json};

use crate::failure::Result;
use crate::handlers::prepare;
use crate::object::{self, at, list, text};
use crate::resources::known;
use crate::server::Inner;

const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const ALLOCATOR: &str = "ipallocator.k8s.io";

fn held(service: Option<&Value>) -> Vec<&str> {
    let all = service.map(|s| list(s, &["spec", "clusterIPs"])).unwrap_or_default();
    all.iter().filter_map(Value::as_str).filter(|ip| *ip != "None").collect()
}

/// A service was made, changed or removed.
pub async fn follow(server: &Inner, old: Option<&Value>, new: Option<&Value>) -> Result<()> {
    let (before, now) = (held(old), held(new));
    for address in before.iter().filter(|a| !now.contains(a)) {
        remove(server, address).await?;
    }
    let Some(service) = new else { return Ok(()) };
    for address in now.iter().filter(|a| !before.contains(a)) {
        make(server, address, service).await?;
    }
    Ok(())
}

/// Makes what is missing of all services, and removes what belongs to none.
pub async fn settle(server: &Inner) -> Result<()> {
    let services = server.all(known("", "services"), None).await?;
    let addresses = server.all(known("networking.k8s.io", "ipaddresses"), None).await?;
    let wanted: Vec<&str> = services.iter().flat_map(|service| held(Some(service))).collect();
    for address in &addresses {
        let ours = at(address, &["metadata", "labels", MANAGED_BY]) == Some(&json!(ALLOCATOR));
        if ours && !wanted.contains(&object::name(address)) {
            remove(server, object::name(address)).await?;
        }
    }
    for service in &services {
        for address in held(Some(service)) {
            if !addresses.iter().any(|a| object::name(a) == address) {
                make(server, address, service).await?;
            }
        }
    }
    Ok(())
}

async fn make(server: &Inner, address: &str, service: &Value) -> Result<()> {
    let resource = known("networking.k8s.io", "ipaddresses");
    let family = if address.contains(':') { "IPv6" } else { "IPv4" };
    let mut value = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {"name": address, "labels": {FAMILY: family, MANAGED_BY: ALLOCATOR}},
        "spec": {"parentRef": {"resource": "services", "name": object::name(service),
            "namespace": text(service, &["metadata", "namespace"])}},
    });
    prepare::new_object(resource, &mut value);
    // One that somebody made by hand stays his.
    server.ensure(resource, value).await
}

async fn remove(server: &Inner, address: &str) -> Result<()> {
    server.discard(known("networking.k8s.io", "ipaddresses"), address).await
}
