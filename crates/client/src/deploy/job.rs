//! What EdgeIO's and PiCasso's descriptors have in common, and the Kubernetes objects that it becomes.

use dunlin_api::names::{annotation, label};
use serde_json::{Value, json};

/// Where something must run. What is absent is left to the scheduler.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    /// A child cluster by name.
    pub cluster: Option<String>,
    /// A machine: its node's name, or its path below the cluster's node.
    pub machine: Option<String>,
    /// An area by name.
    pub area: Option<String>,
}

impl Pins {
    /// These, and where they are silent the others.
    pub(super) fn or(&self, other: &Self) -> Self {
        let first = |a: &Option<String>, b: &Option<String>| a.clone().or_else(|| b.clone());
        Self {
            cluster: first(&self.cluster, &other.cluster),
            machine: first(&self.machine, &other.machine),
            area: first(&self.area, &other.area),
        }
    }

    /// Puts them into a pod template.
    pub(super) fn put(&self, template: &mut Value) {
        let selector = [(label::CLUSTER, &self.cluster), (label::AREA, &self.area)];
        for (name, value) in selector {
            if let Some(value) = value {
                template["spec"]["nodeSelector"][name] = json!(value);
            }
        }
        if let Some(machine) = &self.machine {
            template["metadata"]["annotations"][annotation::MACHINE] = json!(machine);
            // Of a child's machines only the child knows; here a machine is a node.
            if self.cluster.is_none() {
                template["spec"]["nodeSelector"][label::HOSTNAME] = json!(machine);
            }
        }
    }
}

/// A port of the machine that leads to one of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) host: Option<i64>,
    pub(super) container: i64,
    pub(super) protocol: &'static str,
}

/// One job.
#[derive(Debug, Clone, Default)]
pub(super) struct Job {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) runtime_class: Option<String>,
    pub(super) architecture: Option<String>,
    /// Amounts as Kubernetes writes them.
    pub(super) cpu: Option<String>,
    pub(super) memory: Option<String>,
    pub(super) replicas: i64,
    pub(super) command: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) ports: Vec<Port>,
    pub(super) pins: Pins,
}

impl Job {
    /// The same with other pins, where those say something.
    pub(super) fn over(mut self, pins: &Pins) -> Self {
        self.pins = pins.or(&self.pins);
        self
    }

    /// A Deployment, and a Service if there are ports.
    pub(super) fn objects(&self) -> Vec<Value> {
        let labels = json!({label::JOB: self.name});
        let mut template =
            json!({"metadata": {"labels": labels}, "spec": {"containers": [self.container()]}});
        if let Some(class) = &self.runtime_class {
            template["spec"]["runtimeClassName"] = json!(class);
        }
        if let Some(architecture) = &self.architecture {
            template["spec"]["nodeSelector"][label::ARCH] = json!(architecture);
        }
        self.pins.put(&mut template);
        let mut deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": self.name, "labels": labels},
            "spec": {"replicas": self.replicas, "selector": {"matchLabels": labels}, "template": template},
        });
        if self.ports.iter().any(|port| port.host.is_some()) {
            // Two pods cannot have the same port of one machine, so the old one goes first.
            deployment["spec"]["strategy"] =
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}});
        }
        let mut objects = vec![deployment];
        if !self.ports.is_empty() {
            objects.push(json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": self.name, "labels": labels},
                "spec": {"selector": labels, "ports": self.ports.iter().map(service_port).collect::<Vec<_>>()},
            }));
        }
        objects
    }

    fn container(&self) -> Value {
        let mut container = json!({"name": self.name, "image": self.image});
        if !self.command.is_empty() {
            container["command"] = json!(self.command);
        }
        if !self.environment.is_empty() {
            let variable = |(name, value): &(String, String)| json!({"name": name, "value": value});
            container["env"] = self.environment.iter().map(variable).collect();
        }
        for (resource, amount) in [("cpu", &self.cpu), ("memory", &self.memory)] {
            if let Some(amount) = amount {
                container["resources"]["requests"][resource] = json!(amount);
            }
        }
        if !self.ports.is_empty() {
            container["ports"] = self.ports.iter().map(container_port).collect();
        }
        container
    }
}

fn port_name(port: &Port) -> String {
    format!("{}-{}", port.protocol.to_lowercase(), port.host.unwrap_or(port.container))
}

fn container_port(port: &Port) -> Value {
    let mut json =
        json!({"name": port_name(port), "containerPort": port.container, "protocol": port.protocol});
    if let Some(host) = port.host {
        json["hostPort"] = json!(host);
    }
    json
}

fn service_port(port: &Port) -> Value {
    json!({
        "name": port_name(port), "port": port.host.unwrap_or(port.container), "targetPort": port.container,
        "protocol": port.protocol,
    })
}
