//! What keeps a pod from a node, in kube-scheduler's order: the first plugin that refuses gives the reasons.

use serde_json::Value;

use dunlin_api::names::{annotation, label};

use crate::labels::requirement;
use crate::model::{Cluster, ContainerPort, Labels, Node, Pod, Quantities, Taint, Toleration};

use super::affinity::InterPod;
use super::child;
use super::snapshot::{Host, Snapshot};
use super::spread::Spread;
use super::volumes::Volumes;

/// All rules for one pod, with what they need to know of the whole cluster computed once.
pub(super) struct Rules<'a> {
    pod: &'a Pod,
    snapshot: &'a Snapshot,
    spread: Spread<'a>,
    inter_pod: InterPod<'a>,
    volumes: Result<Volumes<'a>, String>,
}

impl<'a> Rules<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, pod: &'a Pod) -> Self {
        Self {
            pod,
            snapshot,
            spread: Spread::required(snapshot, pod),
            inter_pod: InterPod::required(snapshot, pod),
            volumes: Volumes::of(snapshot, pod),
        }
    }

    /// Why no host can take the pod, whatever it is like.
    pub(super) fn everywhere(&self) -> Option<&str> {
        self.volumes.as_ref().err().map(String::as_str)
    }

    /// Whether the machine runs the pod's runtime class. Of a class that is not known (any more) the machine knows best.
    fn runs(&self, node: &Node) -> bool {
        let class = self.snapshot.runtime_classes().get(&self.pod.spec.runtime_class_name);
        class.is_none_or(|class| node.runs(class))
    }

    /// Why `host` cannot take the pod; empty if it can.
    pub(super) fn refusals(&self, host: &Host) -> Vec<String> {
        let (pod, node) = (self.pod, host.node());
        if node.spec.unschedulable && !tolerates(&pod.spec.tolerations, &unschedulable_taint()) {
            return vec!["node(s) were unschedulable".to_owned()];
        }
        if let Some(taint) = untolerated(node, pod) {
            return vec![format!("node(s) had untolerated taint {{{}: {}}}", taint.key, taint.value)];
        }
        if !selects(pod, node, host.child()) {
            return vec!["node(s) didn't match Pod's node affinity/selector".to_owned()];
        }
        if let Some(why) = self.snapshot.refusal(pod, host.name()) {
            return vec![format!("cluster {} refused: {why}", host.name())];
        }
        if host.child().is_none() && !self.runs(node) {
            return vec![format!(
                "node(s) didn't run the pod's runtime class {:?}",
                pod.spec.runtime_class_name
            )];
        }
        if let Some(child) = host.child() {
            let lacking = child::too_large(pod, child);
            if !lacking.is_empty() {
                return lacking;
            }
        } else if host.pods.values().any(|other| ports_collide(pod, other)) {
            return vec!["node(s) didn't have free ports for the requested pod ports".to_owned()];
        }
        let lacking = lacking(&pod.spec.requests, host);
        if !lacking.is_empty() {
            return lacking;
        }
        let volumes = match &self.volumes {
            Ok(volumes) => volumes.refusal(host),
            Err(why) => return vec![why.clone()],
        };
        let more = volumes.or_else(|| self.spread.refusal(host)).or_else(|| self.inter_pod.refusal(host));
        more.map(str::to_owned).into_iter().collect()
    }
}

fn unschedulable_taint() -> Taint {
    let key = "node.kubernetes.io/unschedulable".into();
    Taint { key, effect: "NoSchedule".into(), ..Taint::default() }
}

/// The first taint that keeps the pod off the node.
pub(crate) fn untolerated<'n>(node: &'n Node, pod: &Pod) -> Option<&'n Taint> {
    let keeps_off = |taint: &&Taint| matches!(&*taint.effect, "NoSchedule" | "NoExecute");
    node.spec.taints.iter().filter(keeps_off).find(|taint| !tolerates(&pod.spec.tolerations, taint))
}

/// Whether one of the tolerations covers the taint.
pub fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|t| {
        (t.effect.is_empty() || t.effect == taint.effect)
            && (t.key.is_empty() || t.key == taint.key)
            && match &*t.operator {
                "Exists" => true,
                "" | "Equal" => !t.key.is_empty() && t.value == taint.value,
                "Gt" => numbers(taint, t).is_some_and(|(taint, limit)| taint > limit),
                "Lt" => numbers(taint, t).is_some_and(|(taint, limit)| taint < limit),
                _ => false,
            }
    })
}

fn numbers(taint: &Taint, toleration: &Toleration) -> Option<(i64, i64)> {
    Some((taint.value.parse().ok()?, toleration.value.parse().ok()?))
}

/// Whether `spec.nodeSelector`, the required node affinity and a pinned machine choose the node, or may choose a machine
/// below it if it stands for the cluster `child`.
pub(crate) fn selects(pod: &Pod, node: &Node, child: Option<&Cluster>) -> bool {
    let selected = pod.spec.node_selector.iter().all(|(key, value)| {
        let wanted = serde_json::json!({"key": key, "operator": "In", "values": [value]});
        node.metadata.labels.get(key) == Some(value)
            || child.is_some_and(|child| child::may_meet(&wanted, &node.metadata.labels, child))
    });
    if !selected || !is_pinned_to(pod, node) {
        return false;
    }
    let Some(affinity) = &pod.spec.affinity else { return true };
    let required = &affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    // Terms are alternatives; a selector without terms chooses nothing.
    required.is_null()
        || required["nodeSelectorTerms"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|t| term_selects(t, node, child))
}

/// The path of a pinned machine begins below the cluster that the pod selects, else with a node's name.
fn is_pinned_to(pod: &Pod, node: &Node) -> bool {
    let Some(machine) = pod.metadata.annotations.get(annotation::MACHINE) else { return true };
    let first = machine.split('/').next();
    match (pod.spec.node_selector.contains_key(label::CLUSTER), node.machine_below()) {
        (true, None) => true,
        (true, Some(below)) => first == Some(below),
        (false, _) => first == Some(&*node.metadata.name),
    }
}

/// One term of a node selector: all expressions hold; a term without any chooses nothing.
pub(crate) fn term_selects(term: &Value, node: &Node, child: Option<&Cluster>) -> bool {
    let list = |name: &str| term[name].as_array().map_or(&[][..], Vec::as_slice);
    let (expressions, fields) = (list("matchExpressions"), list("matchFields"));
    let name: Labels = [("metadata.name".into(), node.metadata.name.clone())].into();
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|e| match child {
            Some(child) => child::may_meet(e, &node.metadata.labels, child),
            None => requirement(e, &node.metadata.labels),
        })
        && fields.iter().all(|e| requirement(e, &name))
}

fn ports_collide(one: &Pod, other: &Pod) -> bool {
    one.host_ports().any(|a| other.host_ports().any(|b| port_collides(a, b)))
}

fn port_collides(a: &ContainerPort, b: &ContainerPort) -> bool {
    let protocol = |p: &ContainerPort| if p.protocol.is_empty() { "TCP".into() } else { p.protocol.clone() };
    let any = |p: &ContainerPort| matches!(&*p.host_ip, "" | "0.0.0.0");
    a.host_port == b.host_port && protocol(a) == protocol(b) && (any(a) || any(b) || a.host_ip == b.host_ip)
}

/// Resources of which the node has too little left, as reasons.
fn lacking(wanted: &Quantities, host: &Host) -> Vec<String> {
    if host.room.plainly_takes(wanted) {
        return Vec::new();
    }
    let has = &host.node().status.allocatable;
    let mut reasons = Vec::new();
    if i64::try_from(host.pods.len()).unwrap_or(i64::MAX) >= has.get("pods") {
        reasons.push("Too many pods".to_owned());
    }
    for (name, amount) in wanted.iter() {
        if amount > 0 && amount > has.get(name).saturating_sub(host.used.get(name)) {
            reasons.push(format!("Insufficient {name}"));
        }
    }
    reasons
}
