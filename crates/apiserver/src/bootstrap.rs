//! What every cluster has from its first moment. Idempotent: what exists is left as it is.

mod roles;

use dunlin_api::flowcontrol;
use dunlin_api::names::{annotation, storage as storage_names};
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use crate::admission::{ip_address, namespace};
use crate::aggregate;
use crate::failure::Result;
use crate::flow;
use crate::handlers::{decode, prepare};
use crate::model;
use crate::resources::{Resource, known};
use crate::server::Inner;
use crate::time;

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Makes what is missing.
pub async fn run(server: &Inner) -> Result<()> {
    for name in NAMESPACES {
        let mut value = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        prepare::new_object(known("", "namespaces"), &mut value);
        namespace::dress(&mut value);
        put(server, known("", "namespaces"), value).await?;
        namespace::furnish(server, name).await?;
    }
    // Together, so that the store writes them together.
    let roles = roles::all().into_iter();
    let roles = roles.map(|(plural, value)| make(server, known("rbac.authorization.k8s.io", plural), value));
    try_join_all(roles).await?;
    for (name, value, description) in [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ] {
        let class = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "description": description,
        });
        make(server, known("scheduling.k8s.io", "priorityclasses"), class).await?;
    }
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": storage_names::LOCAL_PATH_CLASS, "annotations": {annotation::DEFAULT_STORAGE_CLASS: "true"}},
        "provisioner": storage_names::LOCAL_PATH, "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer",
    });
    make(server, known("storage.k8s.io", "storageclasses"), class).await?;
    let levels = flowcontrol::levels().into_iter().map(|level| ("prioritylevelconfigurations", level));
    let schemas = flowcontrol::schemas().into_iter().map(|schema| ("flowschemas", schema));
    try_join_all(levels.chain(schemas).map(|(plural, value)| flow::make(server, plural, value))).await?;
    let mut range = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes", "finalizers": ["networking.k8s.io/service-cidr-finalizer"]},
        "spec": {"cidrs": [server.addresses.range()]},
    });
    let ranges = known("networking.k8s.io", "servicecidrs");
    prepare::new_object(ranges, &mut range);
    range["status"] = json!({"conditions": [{"type": "Ready", "status": "True", "reason": "",
        "lastTransitionTime": time::now(), "message": "Kubernetes Service CIDR is ready"}]});
    put(server, ranges, range).await?;
    aggregate::local::built_in(server).await?;
    aggregate::publish(server).await?;
    let ip = server.addresses.api().to_string();
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": server.config.api_port}],
        },
        "status": {"loadBalancer": {}},
    });
    let mut service_value = service;
    let status = service_value["status"].take();
    prepare::new_object(known("", "services"), &mut service_value);
    service_value["status"] = status;
    put(server, known("", "services"), service_value).await?;
    server.addresses.rebuild(server).await?;
    ip_address::settle(server).await
}

async fn make(server: &Inner, resource: &Resource, mut value: Value) -> Result<()> {
    prepare::new_object(resource, &mut value);
    model::defaults(resource, &mut value);
    put(server, resource, value).await
}

async fn put(server: &Inner, resource: &Resource, value: Value) -> Result<()> {
    server.ensure(resource, decode::typed(resource, value)?).await
}
