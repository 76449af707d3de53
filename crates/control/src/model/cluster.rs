//! Nodes, namespaces, services and what belongs to them.

use std::sync::Arc;

use dunlin_api::names::{annotation, label};
use serde_json::Value;

use super::base::held;
use super::{Condition, Labels, Meta, Quantities, Time, projection};

projection! {
    pub struct Node {
        pub metadata: Arc<Meta>,
        pub spec: NodeSpec,
        pub status: NodeStatus,
    }

    pub struct NodeSpec {
        #[serde(rename = "podCIDR")]
        pub pod_cidr: Arc<str>,
        #[serde(rename = "podCIDRs")]
        pub pod_cidrs: Vec<Arc<str>>,
        pub unschedulable: bool,
        pub taints: Vec<Taint>,
    }

    pub struct Taint {
        pub key: Arc<str>,
        pub value: Arc<str>,
        pub effect: Arc<str>,
        pub time_added: Option<Time>,
    }

    pub struct NodeStatus {
        pub allocatable: Quantities,
        pub conditions: Vec<Condition>,
        pub addresses: Vec<NodeAddress>,
        pub images: Vec<NodeImage>,
        pub runtime_handlers: Vec<NodeRuntimeHandler>,
    }

    pub struct NodeRuntimeHandler {
        /// Empty: that of pods without a class.
        pub name: Arc<str>,
    }

    pub struct RuntimeClass {
        pub metadata: Arc<Meta>,
        pub handler: Arc<str>,
        pub scheduling: RuntimeScheduling,
    }

    pub struct RuntimeScheduling {
        pub node_selector: Labels,
    }

    pub struct NodeAddress {
        #[serde(rename = "type")]
        pub kind: Arc<str>,
        pub address: Arc<str>,
    }

    pub struct NodeImage {
        pub names: Vec<Arc<str>>,
        pub size_bytes: i64,
    }

    pub struct Namespace {
        pub metadata: Arc<Meta>,
        pub spec: NamespaceSpec,
        pub status: NamespaceStatus,
    }

    pub struct NamespaceSpec {
        pub finalizers: Vec<Arc<str>>,
    }

    pub struct NamespaceStatus {
        pub phase: Arc<str>,
        pub conditions: Vec<Condition>,
    }

    pub struct Service {
        pub metadata: Arc<Meta>,
        pub spec: ServiceSpec,
    }

    pub struct ServiceSpec {
        #[serde(rename = "type")]
        pub kind: Arc<str>,
        pub selector: Option<Labels>,
        pub ports: Vec<ServicePort>,
        #[serde(rename = "clusterIP")]
        pub cluster_ip: Arc<str>,
        pub ip_families: Vec<Arc<str>>,
        pub publish_not_ready_addresses: bool,
        pub traffic_distribution: Arc<str>,
    }

    pub struct ServicePort {
        pub name: Arc<str>,
        pub port: i32,
        pub target_port: Value,
        pub protocol: Arc<str>,
        pub app_protocol: Option<Arc<str>>,
        pub node_port: i32,
    }

    /// Endpoints and ports stay JSON, to be compared with what they should be.
    pub struct EndpointSlice {
        pub metadata: Arc<Meta>,
        pub address_type: Arc<str>,
        pub endpoints: Arc<Value>,
        pub ports: Arc<Value>,
    }

    pub struct ServiceAccount {
        pub metadata: Arc<Meta>,
    }

    /// Only those named `kube-root-ca.crt` are held.
    pub struct ConfigMap {
        pub metadata: Arc<Meta>,
        pub data: Labels,
    }

    /// Only those of nodes are held.
    pub struct Lease {
        pub metadata: Arc<Meta>,
        pub spec: LeaseSpec,
    }

    pub struct LeaseSpec {
        pub holder_identity: Arc<str>,
        pub lease_duration_seconds: i64,
        pub renew_time: Option<Time>,
    }
}

impl Node {
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| &*c.kind == kind)
    }

    /// Whether it stands for a child cluster, or is a machine of one: a claim there becomes a claim of that cluster.
    pub fn is_below(&self) -> bool {
        self.metadata.labels.contains_key(label::VIRTUAL_NODE) || self.exposed_by().is_some()
    }

    /// The child cluster whose machine this is, if it is shown as a node here.
    pub fn exposed_by(&self) -> Option<&Arc<str>> {
        self.metadata.annotations.get(annotation::EXPOSED_BY)
    }

    /// Whether pods of this class run here, as far as the node says. Kubelets that name no handlers are believed.
    pub fn runs(&self, class: &RuntimeClass) -> bool {
        let handlers = &self.status.runtime_handlers;
        let labels = &self.metadata.labels;
        (handlers.is_empty() || handlers.iter().any(|handler| handler.name == class.handler))
            && class.scheduling.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// The name in its own cluster of a machine that is shown as a node here.
    pub fn machine_below(&self) -> Option<&str> {
        self.metadata.name.strip_prefix(&**self.exposed_by()?)?.strip_prefix('-')
    }

    pub fn is_ready(&self) -> bool {
        self.condition("Ready").is_some_and(|c| &*c.status == "True")
    }
}

held! {
    Node = "nodes",
    Namespace = "namespaces",
    Service = "services",
    EndpointSlice = "endpointslices.discovery.k8s.io",
    ServiceAccount = "serviceaccounts",
    ConfigMap = "configmaps",
    RuntimeClass = "runtimeclasses.node.k8s.io",
    Lease = "leases.coordination.k8s.io",
}
