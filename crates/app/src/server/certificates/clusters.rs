//! The certificates of clusters that show their machines as nodes: such a cluster has no Node of its own, so its rights
//! end when its `Cluster` is deleted, and the nodes of its machines go with them.

use dunlin_api::names::{annotation, label};
use dunlin_base::error::chain;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, watcher};

use super::Certificates;

fn clusters(client: kube::Client) -> Api<PartialObjectMeta<DynamicObject>> {
    let kind = GroupVersionKind::gvk("dunlin.io", "v1alpha1", "Cluster");
    Api::all_with(client, &ApiResource::from_gvk_with_plural(&kind, "clusters"))
}

/// Whether there is a `Cluster` of this name.
pub async fn exists(client: &kube::Client, name: &str) -> Result<bool, kube::Error> {
    Ok(clusters(client.clone()).get_metadata_opt(name).await?.is_some())
}

/// Follows the clusters for as long as it is polled.
pub async fn follow(client: kube::Client, certificates: &Certificates) {
    let api = clusters(client.clone());
    let mut events = std::pin::pin!(watcher(api.clone(), Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Delete(cluster)) => {
                let name = cluster.metadata.name.unwrap_or_default();
                if !certificates.record(&name).is_some_and(|record| record.shows_machines()) {
                    continue;
                }
                certificates.revoke(&client, &name).await;
                // It may have told its summary once more with its last breath.
                let _ = api.delete(&name, &DeleteParams::default()).await;
                if let Err(error) = remove_machines(&client, &name).await {
                    tracing::warn!(
                        cluster = name,
                        error = chain(&error),
                        "the nodes of a deleted cluster's machines could not all be deleted"
                    );
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(error = chain(&error), "watching clusters failed, trying again"),
        }
    }
}

async fn remove_machines(client: &kube::Client, cluster: &str) -> Result<(), kube::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let of = ListParams::default().labels(&format!("{}={cluster}", label::CLUSTER));
    for node in nodes.list_metadata(&of).await? {
        let by = node.metadata.annotations.as_ref().and_then(|all| all.get(annotation::EXPOSED_BY));
        if let (Some(name), true) = (&node.metadata.name, by.is_some_and(|by| by == cluster)) {
            nodes.delete(name, &DeleteParams::default()).await?;
        }
    }
    Ok(())
}
