//! Where a Migration wants its pod: what of the template's placement gives way, and what comes instead.

use std::fmt;
use std::sync::Arc;

use dunlin_api::names::{annotation, condition, label};
use serde_json::{Value, json};

use super::Refusal;
use crate::model::{Migration, Node, Pod};
use crate::view::View;

/// A place that exists.
#[derive(Debug, Default)]
pub struct Target {
    cluster: Option<Arc<str>>,
    /// Its path below the node of its cluster, or its node's name.
    machine: Option<Arc<str>>,
    /// `kubernetes.io/hostname` of the machine, if its node is one of ours.
    hostname: Option<Arc<str>>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<&str> =
            [&self.cluster, &self.machine].into_iter().flatten().map(|part| &**part).collect();
        write!(f, "{}", parts.join("/"))
    }
}

impl Target {
    /// Finds it among the nodes; refused if it is not there, or the pod is there already.
    pub fn find(view: &View, migration: &Migration, pod: &Pod) -> Result<Self, Refusal> {
        let given = |text: &Arc<str>| Some(text.clone()).filter(|text| !text.is_empty());
        let (cluster, machine) = (given(&migration.spec.cluster), given(&migration.spec.machine));
        let of_cluster = |node: &Node| {
            cluster.as_ref().is_none_or(|wanted| node.metadata.labels.get(label::CLUSTER) == Some(wanted))
        };
        let current = view.nodes.get("", &pod.spec.node_name).cloned();
        let Some(machine) = machine else {
            let Some(name) = cluster.clone() else {
                return Err(Refusal::new("NoTarget", "the Migration names neither a cluster nor a machine"));
            };
            if !view.nodes.all().iter().any(|node| of_cluster(node)) {
                return Err(Refusal::new("NoSuchTarget", format!("no node stands for the cluster {name}")));
            }
            if current.is_some_and(|node| of_cluster(&node)) {
                return Err(already(pod, &name));
            }
            return Ok(Self { cluster, ..Self::default() });
        };
        // A machine of this cluster is a node; one of a child is known to the child only.
        let is_machine = |node: &Node| {
            of_cluster(node)
                && !node.metadata.labels.contains_key(label::VIRTUAL_NODE)
                && (node.metadata.name == machine
                    || node.machine_below() == Some(&*machine)
                    || node.metadata.labels.get(label::HOSTNAME) == Some(&machine))
        };
        let node = view.nodes.all().into_iter().find(|node| is_machine(node));
        let hostname = match (&node, &cluster) {
            (Some(node), _) => {
                if current.is_some_and(|current| current.metadata.uid == node.metadata.uid) {
                    return Err(already(pod, &machine));
                }
                let label = node.metadata.labels.get(label::HOSTNAME);
                Some(label.unwrap_or(&node.metadata.name).clone())
            }
            (None, Some(cluster)) => {
                let stands = |node: &Arc<Node>| {
                    of_cluster(node) && node.metadata.labels.contains_key(label::VIRTUAL_NODE)
                };
                if !view.nodes.all().iter().any(stands) {
                    let message = format!("there is no machine {machine} in the cluster {cluster}");
                    return Err(Refusal::new("NoSuchTarget", message));
                }
                let placed = pod.condition(condition::PLACED).filter(|c| &*c.status == "True");
                let there = placed.is_some_and(|placed| placed.message == machine);
                if there && current.is_some_and(|node| of_cluster(&node)) {
                    return Err(already(pod, &machine));
                }
                None
            }
            (None, None) => {
                return Err(Refusal::new("NoSuchTarget", format!("there is no node {machine}")));
            }
        };
        Ok(Self { cluster, machine: Some(machine), hostname })
    }

    /// Puts the place into a pod, instead of the one that its template names.
    pub fn put(&self, pod: &mut Value) {
        if let Some(annotations) = pod["metadata"]["annotations"].as_object_mut() {
            annotations.remove(annotation::MACHINE);
        }
        if let Some(spec) = pod["spec"].as_object_mut() {
            spec.remove("nodeName");
            if let Some(selector) = spec.get_mut("nodeSelector").and_then(Value::as_object_mut) {
                selector.remove(label::HOSTNAME);
                selector.remove(label::CLUSTER);
            }
        }
        if let Some(machine) = &self.machine {
            pod["metadata"]["annotations"][annotation::MACHINE] = json!(machine);
        }
        for (name, value) in [(label::CLUSTER, &self.cluster), (label::HOSTNAME, &self.hostname)] {
            if let Some(value) = value {
                pod["spec"]["nodeSelector"][name] = json!(value);
            }
        }
    }
}

fn already(pod: &Pod, place: &str) -> Refusal {
    Refusal::new("AlreadyThere", format!("the pod {} is on {place} already", pod.metadata.name))
}
