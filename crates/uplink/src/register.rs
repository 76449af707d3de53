//! Being a node above: the Node with what the whole cluster has, and the `Cluster` object with its summary. Both are
//! written when the summary has changed, and not otherwise. Where machines are shown instead (`machines`), there is no such
//! Node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dunlin_api::names::{annotation, label};
use dunlin_base::backoff::Backoff;
use dunlin_base::error::chain;
use dunlin_base::task::Task;
use dunlin_control::model::Quantities;
use dunlin_control::summary::Summary;
use dunlin_node::{NodeInfo, Registration, RegistrationOptions};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::NodeSystemInfo;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::plan::mirror::Expose;
use crate::uplink::{Config, Shared};

/// Registers and keeps both objects current.
pub fn start(shared: &Arc<Shared>) -> Task {
    Task::spawn("summary", follow(shared.clone()))
}

async fn follow(shared: Arc<Shared>) {
    let mut changes = shared.scheduler.changes();
    let parent = &shared.config.level.parent;
    // The parent hears nothing before there is something to say: an empty cluster would be drained at once.
    let Some(first) = shared.scheduler.summary(parent).await else { return };
    let (info_to, info_told) = watch::channel(info(&shared.config, &first));
    let shows_itself = shared.config.level.expose == Expose::Cluster;
    let (summary_to, summary) = watch::channel(first);
    // The parent renews our Lease from the tunnel.
    let options = RegistrationOptions { renew_lease: false, status_interval: None, ..Default::default() };
    let _registration = shows_itself.then(|| Registration::start(shared.parent.clone(), info_told, options));
    let _cluster = Task::spawn("cluster", tell(shared.clone(), summary));
    while changes.changed().await.is_ok() {
        // A burst of changes is one summary.
        tokio::time::sleep(shared.config.settle).await;
        changes.borrow_and_update();
        let Some(summary) = shared.scheduler.summary(parent).await else { return };
        let now = info(&shared.config, &summary);
        info_to.send_if_modified(|old| std::mem::replace(old, now.clone()) != now);
        summary_to.send_if_modified(|old| std::mem::replace(old, summary.clone()) != summary);
    }
}

/// The Node that stands for the cluster.
fn info(config: &Config, summary: &Summary) -> NodeInfo {
    let mut labels: BTreeMap<String, String> =
        summary.common.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    labels.insert(label::VIRTUAL_NODE.into(), "cluster".into());
    labels.insert(label::CLUSTER.into(), config.level.node.clone());
    labels.insert(label::HOSTNAME.into(), config.level.node.clone());
    let mut annotations = BTreeMap::new();
    match &config.level.area {
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
        name: config.level.node.clone(),
        labels,
        annotations,
        addresses: vec![("Hostname".into(), config.level.node.clone())],
        capacity: amounts.clone(),
        allocatable: amounts,
        system: NodeSystemInfo {
            architecture,
            operating_system: "linux".into(),
            os_image: "a cluster".into(),
            kubelet_version: format!("v{}", config.version),
            container_runtime_version: format!("dunlin://{}", config.version),
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

/// Writes the `Cluster` object.
async fn tell(shared: Arc<Shared>, mut summary: watch::Receiver<Summary>) {
    let kind = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("dunlin.io", "v1alpha1", "Cluster"),
        "clusters",
    );
    let api: Api<DynamicObject> = Api::all_with(shared.parent.clone(), &kind);
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    loop {
        let now = summary.borrow_and_update().clone();
        match write(&api, &shared.config, &now).await {
            Ok(()) => {
                backoff.reset();
                if summary.changed().await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(error = chain(&error), "telling the cluster's summary failed, trying again");
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}

async fn write(api: &Api<DynamicObject>, config: &Config, summary: &Summary) -> Result<(), kube::Error> {
    let name = &config.level.node;
    let mut status = serde_json::to_value(&summary.status).unwrap_or_default();
    status["version"] = json!(config.version);
    status["area"] = json!(config.level.area.clone().unwrap_or_default());
    status["observedTime"] = json!(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::now()));
    let patch: Value = json!({"status": status});
    let params = PatchParams::default();
    match api.patch_status(name, &params, &Patch::Merge(&patch)).await {
        Err(kube::Error::Api(why)) if why.code == 404 => {
            let object: DynamicObject = serde_json::from_value(json!({
                "apiVersion": "dunlin.io/v1alpha1", "kind": "Cluster", "metadata": {"name": name}, "spec": {}}))
            .map_err(kube::Error::SerdeError)?;
            api.create(&PostParams::default(), &object).await?;
            api.patch_status(name, &params, &Patch::Merge(&patch)).await.map(drop)
        }
        other => other.map(drop),
    }
}
