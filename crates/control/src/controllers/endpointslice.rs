//! Which pods stand behind a Service: its EndpointSlices, at most a hundred endpoints each. A pod whose successor is
//! ready has left.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{common, succession};
use crate::labels;
use crate::model::{EndpointSlice, Held, Key, Pod, Service};
use crate::plan::{Action, Plan, Precondition, Report};
use crate::view::View;

const SERVICE: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const US: &str = "endpointslice-controller.k8s.io";
/// Endpoints in one slice.
const MOST: usize = 100;

/// Plans the slices of the Service `key`.
pub fn plan(view: &View, key: &Key, _now: i64, _seed: u64) -> (Plan, Report) {
    let (mut plan, report) = (Plan::default(), Report::default());
    let mut ours: Vec<Arc<EndpointSlice>> = view
        .endpoint_slices
        .in_namespace(&key.namespace)
        .into_iter()
        .filter(|slice| slice.metadata.labels.get(SERVICE) == Some(&key.name))
        .filter(|slice| slice.metadata.labels.get(MANAGED_BY).is_some_and(|by| &**by == US))
        .collect();
    ours.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let service = view.services.by_key(key).filter(|service| !service.metadata.is_deleting());
    let selector = service.and_then(|service| service.spec.selector.clone().filter(|s| !s.is_empty()));
    let (Some(service), Some(selector)) = (service.cloned(), selector) else {
        // Without a selector the slices are somebody else's to write; ours go.
        plan.actions.extend(ours.iter().map(|slice| common::delete(slice.key(), &slice.metadata)));
        return (plan, report);
    };
    let all = view.pods.in_namespace(&key.namespace);
    let relieved = succession::relieved(&all);
    let mut pods: Vec<Arc<Pod>> = all
        .into_iter()
        .filter(|pod| !relieved.contains(&pod.metadata.uid))
        .filter(|pod| labels::contains(&pod.metadata.labels, &selector))
        .filter(|pod| !pod.is_finished() && !pod.status.pod_ip.is_empty())
        .collect();
    pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));

    // Pods whose named ports have different numbers cannot share a slice.
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for pod in pods {
        let ports = ports(&service, &pod);
        let endpoint = endpoint(&service, &pod);
        match groups.iter_mut().find(|(p, all)| *p == ports && all.len() < MOST) {
            Some((_, all)) => all.push(endpoint),
            None => groups.push((ports, vec![endpoint])),
        }
    }
    if groups.is_empty() {
        groups.push((json!([]), Vec::new()));
    }
    let mut left = ours.into_iter();
    for (number, (ports, endpoints)) in groups.into_iter().enumerate() {
        let endpoints = Value::Array(endpoints);
        match left.next() {
            Some(slice) if *slice.endpoints == endpoints && *slice.ports == ports => {}
            Some(slice) => plan.push(Action::Patch {
                target: slice.key(),
                subresource: None,
                patch: json!({"endpoints": endpoints, "ports": ports}),
                only_if: Precondition::unchanged(&slice.metadata),
            }),
            None => plan.push(Action::Create {
                resource: "endpointslices.discovery.k8s.io".into(),
                namespace: key.namespace.clone(),
                object: object(&service, key, number, endpoints, ports),
            }),
        }
    }
    plan.actions.extend(left.map(|slice| common::delete(slice.key(), &slice.metadata)));
    (plan, report)
}

fn object(service: &Service, key: &Key, number: usize, endpoints: Value, ports: Value) -> Value {
    let suffix = common::hash(&json!([service.metadata.uid, number]), 0);
    let mut labels = json!({SERVICE: key.name, MANAGED_BY: US});
    if &*service.spec.cluster_ip == "None" {
        labels["service.kubernetes.io/headless"] = json!("");
    }
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{}-{}", key.name, &suffix[..suffix.len().min(5)]), "namespace": key.namespace, "labels": labels,
            "ownerReferences": [common::owner_reference(&service.metadata, "v1", "Service")],
        },
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    })
}

fn endpoint(service: &Service, pod: &Pod) -> Value {
    let terminating = pod.metadata.is_deleting();
    let serving = pod.is_ready();
    let ready = (serving && !terminating) || service.spec.publish_not_ready_addresses;
    let mut endpoint = json!({
        "addresses": [pod.status.pod_ip],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "nodeName": pod.spec.node_name,
        "targetRef": {"kind": "Pod", "name": pod.metadata.name, "namespace": pod.metadata.namespace, "uid": pod.metadata.uid},
    });
    if !pod.spec.hostname.is_empty() && pod.spec.subdomain == service.metadata.name {
        endpoint["hostname"] = json!(pod.spec.hostname);
    }
    endpoint
}

fn ports(service: &Service, pod: &Pod) -> Value {
    let port = |port: &crate::model::ServicePort| -> Option<Value> {
        let number = match &port.target_port {
            Value::Number(number) => number.as_u64()?,
            Value::String(name) => match name.parse::<u64>() {
                Ok(number) => number,
                Err(_) => {
                    let named =
                        |p: &&crate::model::ContainerPort| *p.name == **name && p.protocol == port.protocol;
                    u64::from(pod.spec.ports.iter().find(named)?.container_port)
                }
            },
            _ => u64::try_from(port.port).ok()?,
        };
        let protocol = if port.protocol.is_empty() { "TCP" } else { &port.protocol };
        let mut json = json!({"name": port.name, "port": number, "protocol": protocol});
        if let Some(application) = &port.app_protocol {
            json["appProtocol"] = json!(application);
        }
        Some(json)
    };
    Value::Array(service.spec.ports.iter().filter_map(port).collect())
}
