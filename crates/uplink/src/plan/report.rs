//! What the parent is told of the whole cluster: the Node that stands for it, and the `Cluster` with its summary.

use std::collections::BTreeMap;

use dunlin_api::names::{annotation, label};
use dunlin_control::model::Quantities;
use dunlin_control::summary::Summary;
use dunlin_node::NodeInfo;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::NodeSystemInfo;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::mirror::Level;

/// The Node that stands for the cluster; `version` is that of this program.
pub fn info(level: &Level, version: &str, summary: &Summary) -> NodeInfo {
    let mut labels: BTreeMap<String, String> =
        summary.common.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    labels.insert(label::VIRTUAL_NODE.into(), "cluster".into());
    labels.insert(label::CLUSTER.into(), level.node.clone());
    labels.insert(label::HOSTNAME.into(), level.node.clone());
    let mut annotations = BTreeMap::new();
    match &level.area {
        Some(area) if area.contains(',') => {
            annotations.insert(annotation::POSITION.into(), area.clone());
        }
        Some(area) => {
            labels.insert(label::AREA.into(), area.clone());
        }
        None => {}
    }
    let architecture = labels.get(label::ARCH).cloned().unwrap_or_default();
    let amounts = amounts(&summary.allocatable);
    NodeInfo {
        name: level.node.clone(),
        labels,
        annotations,
        addresses: vec![("Hostname".into(), level.node.clone())],
        capacity: amounts.clone(),
        allocatable: amounts,
        system: NodeSystemInfo {
            architecture,
            operating_system: "linux".into(),
            os_image: "a cluster".into(),
            kubelet_version: format!("v{}", version),
            container_runtime_version: format!("dunlin://{}", version),
            ..NodeSystemInfo::default()
        },
        not_ready: (summary.status.ready_machines == 0)
            .then(|| "no machine of the cluster is ready".to_owned()),
        ..NodeInfo::default()
    }
}

pub fn amounts(quantities: &Quantities) -> BTreeMap<String, String> {
    let value = serde_json::to_value(quantities).unwrap_or_default();
    serde_json::from_value(value).unwrap_or_default()
}

/// The merge patch of the `Cluster` object's status.
pub fn cluster(level: &Level, version: &str, summary: &Summary, now: Timestamp) -> Value {
    let mut status = serde_json::to_value(&summary.status).unwrap_or_default();
    status["version"] = json!(version);
    status["area"] = json!(level.area.clone().unwrap_or_default());
    status["observedTime"] = json!(Time(now));
    json!({"status": status})
}
