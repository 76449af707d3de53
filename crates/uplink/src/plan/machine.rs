//! A machine of this cluster as a node of the parent (`--expose nodes`): what is told of it, and how a pod that the
//! parent has bound to it is made here.

use std::collections::BTreeMap;

use dunlin_api::names::{annotation, label, taint};
use dunlin_control::model::Quantities;
use dunlin_node::NodeInfo;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};

use super::mirror::{Level, short};

/// The longest value of a label.
const LONGEST_LABEL: usize = 63;
/// Taints that the parent puts on by itself, by the conditions that it is told.
const JUDGED: [&str; 2] = [taint::NOT_READY, taint::UNREACHABLE];

/// What the machine is called above.
pub fn name(level: &Level, machine: &str) -> String {
    format!("{}-{machine}", level.node)
}

/// The node above. `left` is what the machine has, less what this cluster's own pods use.
pub fn info(level: &Level, machine: &Node, left: &Quantities, version: &str) -> NodeInfo {
    let name = name(level, machine.metadata.name.as_deref().unwrap_or_default());
    let mut labels = machine.metadata.labels.clone().unwrap_or_default();
    // The rest is its administrators' business, here and there.
    labels.retain(|key, _| label::is_of_nodes(key));
    let hostname = match name.len() > LONGEST_LABEL {
        true => format!("{}-{}", level.node.get(..LONGEST_LABEL - 17).unwrap_or(&level.node), short(&name)),
        false => name.clone(),
    };
    labels.insert(label::HOSTNAME.into(), hostname);
    labels.insert(label::CLUSTER.into(), level.node.clone());
    if let Some(area) = level.area.as_ref().filter(|area| !area.contains(',')) {
        labels.entry(label::AREA.into()).or_insert_with(|| area.clone());
    }
    let own = machine.metadata.annotations.as_ref();
    let mut annotations = BTreeMap::from([(annotation::EXPOSED_BY.to_owned(), level.node.clone())]);
    for key in [annotation::POSITION, annotation::LATENCY] {
        if let Some(value) = own.and_then(|all| all.get(key)) {
            annotations.insert(key.to_owned(), value.clone());
        }
    }
    let status = machine.status.clone().unwrap_or_default();
    let condition = |kind: &str| status.conditions.iter().flatten().find(|c| c.type_ == kind);
    let is = |kind: &str| condition(kind).is_some_and(|c| c.status == "True");
    let not_ready = match condition("Ready") {
        Some(ready) if ready.status == "True" => None,
        Some(ready) => Some(ready.message.clone().unwrap_or_default()),
        None => Some("the machine has not reported yet".to_owned()),
    };
    let mut system = status.node_info.unwrap_or_default();
    system.container_runtime_version = format!("{} (dunlin {version})", system.container_runtime_version);
    let amounts = |all: Option<BTreeMap<_, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>| {
        all.unwrap_or_default().into_iter().map(|(name, amount)| (name, amount.0)).collect()
    };
    NodeInfo {
        addresses: vec![("Hostname".into(), name.clone())],
        name,
        labels,
        annotations,
        taints: taints(machine),
        follows_taints: true,
        capacity: amounts(status.capacity),
        allocatable: super::report::amounts(left),
        runtime_handlers: status
            .runtime_handlers
            .iter()
            .flatten()
            .map(|handler| handler.name.clone().unwrap_or_default())
            .collect(),
        system,
        unheard: condition("Ready").is_some_and(|ready| ready.status == "Unknown"),
        not_ready,
        memory_pressure: is("MemoryPressure"),
        disk_pressure: is("DiskPressure"),
        pid_pressure: is("PIDPressure"),
        ..NodeInfo::default()
    }
}

/// What keeps pods off the machine here keeps them off above, too.
fn taints(machine: &Node) -> Vec<Taint> {
    let spec = machine.spec.clone().unwrap_or_default();
    let mut all = spec.taints.unwrap_or_default();
    all.retain(|taint| !JUDGED.contains(&taint.key.as_str()) && taint.key != taint::UNSCHEDULABLE);
    if spec.unschedulable == Some(true) {
        let key = taint::UNSCHEDULABLE.to_owned();
        all.push(Taint { key, effect: "NoSchedule".into(), ..Taint::default() });
    }
    all
}

/// Binds the mirror to `machine`, which the parent has chosen; whether it can take the pod is the machine's to say. One
/// that stands for a cluster chooses a machine itself, by what the pod asks for.
pub fn bind(mirror: &mut Pod, upper: &Pod, machine: &str, stands_for_cluster: bool) {
    let Some(spec) = &mut mirror.spec else { return };
    spec.node_name = Some(machine.to_owned());
    let annotations = mirror.metadata.annotations.get_or_insert_default();
    annotations.remove(annotation::MACHINE);
    if !stands_for_cluster {
        spec.node_selector = None;
        if let Some(affinity) = &mut spec.affinity {
            affinity.node_affinity = None;
        }
        return;
    }
    let pinned = upper.metadata.annotations.as_ref().and_then(|all| all.get(annotation::MACHINE));
    if let Some((_, rest)) = pinned.and_then(|path| path.split_once('/')) {
        annotations.insert(annotation::MACHINE.into(), format!("{machine}/{rest}"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::mirror::Expose;
    use super::*;
    use serde_json::{Value, json};

    fn level() -> Level {
        Level { parent: "root".into(), node: "site".into(), area: Some("roof".into()), expose: Expose::Nodes }
    }

    fn shown(machine: Value) -> NodeInfo {
        let machine: Node = serde_json::from_value(machine).expect("a node");
        let mut left = Quantities::default();
        left.set("pods", 3);
        info(&level(), &machine, &left, "1")
    }

    #[test]
    fn a_machine_is_told_with_what_matters_above() {
        let told = shown(
            json!({"metadata": {"name": "board", "labels": {"disk": "ssd", "kubernetes.io/hostname": "board",
            "kubernetes.io/arch": "arm64", "node-role.kubernetes.io/control-plane": "", "dunlin.io/cluster": "x"}},
            "spec": {"unschedulable": true, "taints": [{"key": "gpu", "effect": "NoSchedule"},
                {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]},
            "status": {"capacity": {"pods": "110"}, "conditions": [
                {"type": "Ready", "status": "Unknown"}, {"type": "DiskPressure", "status": "True"}]}}),
        );
        assert_eq!(told.name, "site-board");
        let labels = serde_json::to_value(&told.labels).expect("json");
        assert_eq!(
            labels,
            json!({"disk": "ssd", "kubernetes.io/hostname": "site-board", "kubernetes.io/arch": "arm64",
                "dunlin.io/cluster": "site", "dunlin.io/area": "roof"})
        );
        assert_eq!(told.annotations[annotation::EXPOSED_BY], "site");
        let taints: Vec<&str> = told.taints.iter().map(|t| t.key.as_str()).collect();
        assert_eq!(taints, ["gpu", "node.kubernetes.io/unschedulable"]);
        assert_eq!((told.allocatable["pods"].as_str(), told.capacity["pods"].as_str()), ("3", "110"));
        assert!(told.unheard && told.disk_pressure && !told.memory_pressure && told.not_ready.is_some());
    }

    #[test]
    fn the_parents_choice_is_not_made_again_except_by_a_cluster() {
        let upper: Pod =
            serde_json::from_value(json!({"metadata": {"annotations": {"dunlin.io/machine": "site-sub/m"}},
            "spec": {"containers": []}}))
            .expect("a pod");
        let made = |cluster: bool| {
            let mut mirror: Pod =
                serde_json::from_value(json!({"metadata": {"annotations": {"dunlin.io/machine": "m"}},
                "spec": {"nodeSelector": {"disk": "ssd"}, "containers": []}}))
                .expect("a pod");
            bind(&mut mirror, &upper, "sub", cluster);
            serde_json::to_value(mirror).expect("json")
        };
        let (on_machine, on_cluster) = (made(false), made(true));
        assert_eq!(on_machine["spec"], json!({"nodeName": "sub", "containers": []}));
        assert_eq!(on_machine["metadata"]["annotations"], json!({}));
        assert_eq!(on_cluster["spec"]["nodeSelector"]["disk"], "ssd");
        assert_eq!(on_cluster["metadata"]["annotations"]["dunlin.io/machine"], "sub/m");
    }

    #[test]
    fn a_long_name_still_has_a_label() {
        let told = shown(json!({"metadata": {"name": "m".repeat(80)}}));
        assert!(told.labels[label::HOSTNAME].len() <= LONGEST_LABEL && told.name.len() > 80);
    }
}
