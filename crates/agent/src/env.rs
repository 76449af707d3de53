//! A container's environment: `$(VAR)` expansion, fields of the pod, resources, service variables. Pure.

use std::collections::BTreeMap;

use dunlin_api::names::annotation;
use dunlin_node::admit::milli;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector, Service};

/// Replaces `$(NAME)` by values; `$$(NAME)` and unknown names stay as Kubernetes leaves them.
pub fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some(tail) = after.strip_prefix('(') {
            match tail.find(')') {
                Some(end) => {
                    let name = &tail[..end];
                    match lookup(name) {
                        Some(value) => out.push_str(&value),
                        None => out.push_str(&format!("$({name})")),
                    }
                    rest = &tail[end + 1..];
                }
                None => {
                    out.push_str("$(");
                    rest = tail;
                }
            }
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// What the downward API says of the node.
pub struct NodeFacts<'a> {
    pub name: &'a str,
    pub host_ip: &'a str,
    pub pod_ip: &'a str,
    /// Allocatable amounts in thousandths.
    pub allocatable: &'a BTreeMap<String, i128>,
}

/// The value of a `fieldRef`.
pub fn field(pod: &Pod, path: &str, node: &NodeFacts<'_>) -> Option<String> {
    let m = &pod.metadata;
    let spec = crate::model::spec(pod);
    let keyed = |map: &Option<BTreeMap<String, String>>, prefix: &str| {
        let key = path.strip_prefix(prefix)?.strip_suffix("']")?;
        Some(map.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default())
    };
    let lines = |map: &Option<BTreeMap<String, String>>| {
        map.iter().flatten().map(|(k, v)| format!("{k}={v:?}")).collect::<Vec<_>>().join("\n")
    };
    // A mirror is at home above, and its program is to see what it would see there.
    let home = |name: &str| m.annotations.as_ref().and_then(|all| all.get(name)).cloned();
    Some(match path {
        "metadata.name" => m.name.clone().unwrap_or_default(),
        "metadata.namespace" => {
            home(annotation::HOME_NAMESPACE).or_else(|| m.namespace.clone()).unwrap_or_default()
        }
        "metadata.uid" => home(annotation::HOME_UID).or_else(|| m.uid.clone()).unwrap_or_default(),
        "metadata.labels" => lines(&m.labels),
        "metadata.annotations" => lines(&m.annotations),
        "spec.nodeName" => home(annotation::HOME_NODE)
            .or_else(|| spec.node_name.clone())
            .unwrap_or_else(|| node.name.to_owned()),
        "spec.serviceAccountName" => spec.service_account_name.clone().unwrap_or_else(|| "default".into()),
        "status.hostIP" | "status.hostIPs" => node.host_ip.to_owned(),
        "status.podIP" | "status.podIPs" => node.pod_ip.to_owned(),
        _ => {
            return keyed(&m.labels, "metadata.labels['")
                .or_else(|| keyed(&m.annotations, "metadata.annotations['"));
        }
    })
}

/// The value of a `resourceFieldRef`.
pub fn resource(
    pod: &Pod,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
    node: &NodeFacts<'_>,
) -> Option<String> {
    let container = match selector.container_name.as_deref().filter(|n| !n.is_empty()) {
        Some(name) => crate::model::find(pod, name)?,
        None => own?,
    };
    let (kind, name) = selector.resource.split_once('.')?;
    let resources = container.resources.clone().unwrap_or_default();
    let value = match kind {
        "limits" => resources
            .limits
            .as_ref()
            .and_then(|l| l.get(name))
            .map(milli)
            .or_else(|| node.allocatable.get(name).copied()),
        "requests" => resources.requests.as_ref().and_then(|l| l.get(name)).map(milli).or(Some(0)),
        _ => None,
    }?;
    let divisor = selector.divisor.as_ref().map(milli).filter(|d| *d > 0).unwrap_or(1000);
    Some(((value + divisor - 1) / divisor).to_string())
}

/// The variables of the services that a pod sees.
pub fn services(services: &[Service]) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for service in services {
        let (Some(name), Some(spec)) = (&service.metadata.name, &service.spec) else { continue };
        let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else {
            continue;
        };
        let Some(ports) = spec.ports.as_deref().filter(|p| !p.is_empty()) else { continue };
        let prefix = name.to_uppercase().replace('-', "_");
        if name == "kubernetes" {
            continue;
        }
        out.push((format!("{prefix}_SERVICE_HOST"), ip.to_owned()));
        out.push((format!("{prefix}_SERVICE_PORT"), ports[0].port.to_string()));
        for port in ports {
            if let Some(port_name) = port.name.as_deref().filter(|n| !n.is_empty()) {
                let port_name = port_name.to_uppercase().replace('-', "_");
                out.push((format!("{prefix}_SERVICE_PORT_{port_name}"), port.port.to_string()));
            }
        }
        for (index, port) in ports.iter().enumerate() {
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
            links(&mut out, &prefix, ip, port.port, &protocol, index == 0);
        }
    }
    out
}

/// The variables by which clients find the API.
pub fn api(host: &str, port: u16) -> Vec<(String, String)> {
    let mut out = vec![
        ("KUBERNETES_SERVICE_HOST".to_owned(), host.to_owned()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), port.to_string()),
        ("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), port.to_string()),
    ];
    links(&mut out, "KUBERNETES", host, i32::from(port), "TCP", true);
    out
}

fn links(out: &mut Vec<(String, String)>, prefix: &str, ip: &str, port: i32, protocol: &str, first: bool) {
    let lower = protocol.to_lowercase();
    let url = format!("{lower}://{ip}:{port}");
    if first {
        out.push((format!("{prefix}_PORT"), url.clone()));
    }
    let base = format!("{prefix}_PORT_{port}_{protocol}");
    out.push((base.clone(), url));
    out.push((format!("{base}_PROTO"), lower));
    out.push((format!("{base}_PORT"), port.to_string()));
    out.push((format!("{base}_ADDR"), ip.to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expansion() {
        let lookup = |name: &str| (name == "A").then(|| "1".to_owned());
        for (text, want) in [
            ("$(A)-$(B)", "1-$(B)"),
            ("$$(A)", "$(A)"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
            ("x$(A)$(A)", "x11"),
        ] {
            assert_eq!(expand(text, &lookup), want, "{text}");
        }
    }

    #[test]
    fn fields_and_resources() {
        let pod: Pod = serde_json::from_value(json!({"metadata":{"name":"p","labels":{"a":"b"}},
            "spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"1500m"}}}]}}))
        .expect("pod");
        let allocatable = BTreeMap::from([("memory".to_owned(), 4_000_000)]);
        let node =
            NodeFacts { name: "n", host_ip: "192.0.2.1", pod_ip: "10.0.0.2", allocatable: &allocatable };
        assert_eq!(field(&pod, "metadata.labels['a']", &node).as_deref(), Some("b"));
        assert_eq!(field(&pod, "status.podIP", &node).as_deref(), Some("10.0.0.2"));
        assert_eq!(field(&pod, "spec.nothing", &node), None);
        let mirror: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "a--root", "uid": "m",
            "annotations": {"dunlin.io/home-uid": "u", "dunlin.io/home-namespace": "a", "dunlin.io/home-node": "site"}}}))
        .expect("pod");
        for (path, want) in [("metadata.uid", "u"), ("metadata.namespace", "a"), ("spec.nodeName", "site")] {
            assert_eq!(field(&mirror, path, &node).as_deref(), Some(want), "{path}");
        }
        let selector = |r: &str| ResourceFieldSelector { resource: r.into(), ..Default::default() };
        let own = Some(&crate::model::spec(&pod).containers[0]);
        assert_eq!(resource(&pod, own, &selector("limits.cpu"), &node).as_deref(), Some("2"));
        assert_eq!(resource(&pod, own, &selector("limits.memory"), &node).as_deref(), Some("4000"));
    }
}
