//! Being a node above: the Node with what the whole cluster has, and the `Cluster` object with its summary. Both are
//! written when the summary has changed, and not otherwise. Where machines are shown instead (`machines`), there is no such
//! Node.

use std::sync::Arc;
use std::time::Duration;

use dunlin_base::backoff::Backoff;
use dunlin_base::error::chain;
use dunlin_base::task::Task;
use dunlin_control::summary::Summary;
use dunlin_node::{Registration, RegistrationOptions};
use jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::watch;

use crate::plan::mirror::Expose;
use crate::plan::report;
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
    let (info_to, info_told) =
        watch::channel(report::info(&shared.config.level, &shared.config.version, &first));
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
        let now = report::info(&shared.config.level, &shared.config.version, &summary);
        info_to.send_if_modified(|old| std::mem::replace(old, now.clone()) != now);
        summary_to.send_if_modified(|old| std::mem::replace(old, summary.clone()) != summary);
    }
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
    let patch = report::cluster(&config.level, &config.version, summary, Timestamp::now());
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
