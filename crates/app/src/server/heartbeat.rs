//! The tunnel is the heartbeat: while a node's tunnel answers pings, the server renews the node's `Lease` itself.
//!
//! So an idle node sends nothing but a ping now and then, and everything that reads Leases works as in Kubernetes.

use std::sync::Arc;
use std::time::Duration;

use dunlin_base::error::chain;
use dunlin_tunnel::accept::Tunnels;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::exposed::Exposed;
use super::servers::HELD_BY;

/// How often Leases are renewed, and how long one is good for.
#[derive(Debug, Clone, Copy)]
pub struct Beat {
    pub interval: Duration,
    pub lease: Duration,
}

/// Renews for as long as it is polled. `local` is the node in this process, if it has one; `server` is this server's name
/// among several.
pub async fn run(
    client: kube::Client,
    tunnels: Arc<Tunnels>,
    exposed: Arc<Exposed>,
    local: Option<String>,
    server: Option<String>,
    beat: Beat,
) {
    let api: Api<Lease> = Api::namespaced(client, "kube-node-lease");
    let mut events = tunnels.events();
    let mut machines = exposed.changes();
    let mut timer = tokio::time::interval(beat.interval);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            changed = machines.changed() => if changed.is_err() { return },
            // A node that has just connected must not wait for its first beat. A lagged listener looks, too.
            event = events.recv() => if matches!(event, Err(tokio::sync::broadcast::error::RecvError::Closed)) { return },
        }
        let connected = tunnels.connected();
        // The machines last: whoever sees that its cluster's Lease was renewed was heard no later than they.
        let machines = connected.iter().flat_map(|cluster| exposed.heard_by(cluster)).collect::<Vec<_>>();
        for node in connected.into_iter().chain(local.clone()).chain(machines) {
            if let Err(error) = renew(&api, &node, server.as_deref(), beat.lease).await {
                tracing::debug!(node, error = chain(&error), "renewing a node's lease failed");
            }
        }
    }
}

async fn renew(
    api: &Api<Lease>,
    node: &str,
    server: Option<&str>,
    lease: Duration,
) -> Result<(), kube::Error> {
    let now = format!("{:.6}", k8s_openapi::jiff::Timestamp::now());
    let mut patch = json!({"spec": {"holderIdentity": node, "leaseDurationSeconds": lease.as_secs().max(1), "renewTime": now}});
    if let Some(server) = server {
        patch["metadata"] = json!({"annotations": {HELD_BY: server}});
    }
    match api.patch(node, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            let mut lease = patch;
            lease["metadata"]["name"] = json!(node);
            let lease = serde_json::from_value(lease).map_err(kube::Error::SerdeError)?;
            api.create(&PostParams::default(), &lease).await.map(drop)
        }
        other => other.map(drop),
    }
}
