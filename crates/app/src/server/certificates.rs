//! The certificates that nodes may use: one small Secret for each node that has joined, and none for others.
//!
//! Deleting a Node deletes its record, and with it every right of its certificates: they are refused from then on, over
//! restarts too, and connections that were made with them are closed. The record is all that is kept; there is no list of
//! revoked certificates that would grow.

pub mod clusters;
pub mod rules;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dunlin_api::names::secret_type::NODE_CERTIFICATE;
use dunlin_api::names::user::{GROUP_CLUSTERS, GROUP_NODES, GROUP_RENEWAL, node_name};
use dunlin_apiserver::{Admitted, Peers, User};
use dunlin_base::error::chain;
use dunlin_pki::Peer;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use tokio::sync::watch;

use crate::error::{Doing, Error};
use rules::{Record, Verdict};

const NAMESPACE: &str = "kube-system";

struct Known {
    record: Record,
    /// The version of its Secret: news of an older one come late, and are none.
    version: u64,
    /// Held by the connections that the node's certificates have opened: dropping this closes them.
    alive: watch::Sender<()>,
}

/// All records, by the node's name.
pub struct Certificates {
    /// The server's own node, which nobody may join as.
    own: Option<String>,
    known: Mutex<BTreeMap<String, Known>>,
}

impl Certificates {
    /// None yet. `own` is the node in this process, if there is one.
    pub fn new(own: Option<String>) -> Self {
        Self { own, known: Mutex::default() }
    }

    /// Reads what earlier runs have kept. To be done before the first connection is taken.
    pub async fn load(&self, client: kube::Client) -> Result<(), Error> {
        let params = ListParams::default().fields(&format!("type={NODE_CERTIFICATE}"));
        let all = secrets(client).list(&params).await.doing("reading the nodes' certificates")?;
        for secret in all {
            let (Some(name), Some(record)) = (field(&secret, "node"), field(&secret, "record")) else {
                continue;
            };
            match serde_json::from_str(&record) {
                Ok(record) => self.put(name, record, version(&secret)),
                Err(error) => tracing::error!(
                    node = name,
                    %error,
                    "the record of a node's certificates is damaged, the node must join again"
                ),
            }
        }
        Ok(())
    }

    /// What is kept of a node.
    pub fn record(&self, name: &str) -> Option<Record> {
        self.lock().get(name).map(|known| known.record.clone())
    }

    /// Whether the name belongs to the server itself.
    pub fn is_own(&self, name: &str) -> bool {
        self.own.as_deref() == Some(name)
    }

    /// Keeps a record durably, and from then on goes by it.
    pub async fn keep(&self, client: &kube::Client, name: &str, record: Record) -> Result<(), Error> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": secret_name(name), "namespace": NAMESPACE},
            "type": NODE_CERTIFICATE,
            "stringData": {
                "node": name,
                "record": serde_json::to_string(&record).doing("writing a node's record")?,
            },
        });
        let params = PatchParams::apply("dunlin-signer").force();
        let kept = secrets(client.clone())
            .patch(&secret_name(name), &params, &Patch::Apply(&secret))
            .await
            .doing(format!("keeping the record of node {name}"))?;
        self.put(name.to_owned(), record, version(&kept));
        Ok(())
    }

    /// A record in memory. One that does not follow from its predecessor ends what that one's certificates have opened.
    fn put(&self, name: String, record: Record, version: u64) {
        let mut known = self.lock();
        match known.get_mut(&name) {
            Some(known) if version < known.version => {}
            Some(known) if record.before.is_some() || record.last == known.record.last => {
                (known.record, known.version) = (record, version);
            }
            _ => {
                known.insert(name, Known { record, version, alive: watch::channel(()).0 });
            }
        }
    }

    /// Follows the records that other servers on the same store keep, for as long as it is polled.
    pub async fn mirror(&self, client: kube::Client) {
        let config = watcher::Config::default().fields(&format!("type={NODE_CERTIFICATE}"));
        let mut events = std::pin::pin!(watcher(secrets(client), config).default_backoff());
        let mut listed = std::collections::BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(secret)) => listed.extend(self.mirror_one(&secret)),
                Ok(Event::Apply(secret)) => drop(self.mirror_one(&secret)),
                Ok(Event::InitDone) => self.lock().retain(|name, _| listed.contains(name)),
                Ok(Event::Delete(secret)) => {
                    let mut known = self.lock();
                    if let Some(name) = field(&secret, "node")
                        && known.get(&name).is_some_and(|known| known.version <= version(&secret))
                    {
                        // What its certificates have opened ends with it.
                        known.remove(&name);
                    }
                }
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        "watching nodes' certificates failed, trying again"
                    );
                }
            }
        }
    }

    fn mirror_one(&self, secret: &Secret) -> Option<String> {
        let (name, record) = (field(secret, "node")?, field(secret, "record")?);
        self.put(name.clone(), serde_json::from_str(&record).ok()?, version(secret));
        Some(name)
    }

    /// Ends every certificate of the node.
    async fn revoke(&self, client: &kube::Client, name: &str) {
        if self.lock().remove(name).is_none() {
            return;
        }
        tracing::warn!(node = name, "node deleted, its certificates are refused from now on");
        let deleted = secrets(client.clone()).delete(&secret_name(name), &DeleteParams::default()).await;
        if let Err(error) = deleted {
            tracing::error!(
                node = name,
                error = chain(&error),
                "the record of a deleted node's certificates is still there; the next start deletes it"
            );
        }
        // The node may have seen the deletion first and have made its Node anew with its last breath.
        let nodes: Api<Node> = Api::all(client.clone());
        if let Ok(Some(node)) = nodes.get_metadata_opt(name).await
            && self.record(name).is_none()
        {
            let preconditions = Preconditions { uid: node.metadata.uid, resource_version: None };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            if let Err(error) = nodes.delete(name, &params).await {
                tracing::warn!(
                    node = name,
                    error = chain(&error),
                    "a node that came back could not be deleted"
                );
            }
        }
    }

    /// Notes that the Node has been seen; a Node in the place of another one means that the first was deleted.
    async fn seen(&self, client: &kube::Client, name: &str, uid: &str) {
        let Some(record) = self.record(name) else { return };
        match record.node.as_deref() {
            Some(known) if known == uid => {}
            Some(_) => self.revoke(client, name).await,
            None => {
                let record = Record { node: Some(uid.to_owned()), ..record };
                if let Err(error) = self.keep(client, name, record).await {
                    tracing::warn!(node = name, error = chain(&error), "noting a node's registration failed");
                }
            }
        }
    }

    /// The nodes that have registered, with the uid of their Node.
    fn registered(&self) -> Vec<(String, String)> {
        let known = self.lock();
        known.iter().filter_map(|(name, k)| Some((name.clone(), k.record.node.clone()?))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        // The map is whole at every point where a panic could happen.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peers for Certificates {
    fn admit(&self, peer: &Peer) -> Option<Admitted> {
        let mut user = User::of(peer);
        let node = node_name(&peer.subject.user).filter(|_| user.in_group(GROUP_NODES));
        let Some(node) = node else {
            let revoked = Box::pin(std::future::pending());
            return peer.expired.is_zero().then_some(Admitted { user, tunnel: true, revoked });
        };
        let known = self.lock();
        let found = known.get(node).filter(|_| !self.is_own(node));
        let tunnel = match rules::admit(found.map(|k| &k.record), peer) {
            Verdict::Good => true,
            Verdict::Renewal(expired) => {
                tracing::warn!(
                    node,
                    expired_seconds = expired.as_secs(),
                    "expired certificate accepted for renewal only"
                );
                user.groups.retain(|g| g == GROUP_CLUSTERS);
                user.groups.push(GROUP_RENEWAL.to_owned());
                false
            }
            Verdict::Refused(why) => {
                tracing::debug!(node, why, "a node's certificate was refused");
                return None;
            }
        };
        let mut alive = found?.alive.subscribe();
        let revoked = Box::pin(async move { while alive.changed().await.is_ok() {} });
        Some(Admitted { user, tunnel, revoked })
    }
}

/// Follows the Nodes: who has registered, and whose rights end.
pub async fn follow(client: kube::Client, certificates: &Certificates) {
    let api: Api<PartialObjectMeta<Node>> = Api::all(client.clone());
    let mut nodes = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    let mut present = BTreeMap::new();
    while let Some(event) = nodes.next().await {
        match event {
            Ok(Event::Init) => present.clear(),
            Ok(Event::InitApply(node)) | Ok(Event::Apply(node)) => {
                let (name, uid) =
                    (node.metadata.name.unwrap_or_default(), node.metadata.uid.unwrap_or_default());
                certificates.seen(&client, &name, &uid).await;
                present.insert(name, uid);
            }
            Ok(Event::InitDone) => {
                for (name, uid) in certificates.registered() {
                    if present.get(&name) != Some(&uid) {
                        certificates.revoke(&client, &name).await;
                    }
                }
            }
            Ok(Event::Delete(node)) => {
                let (name, uid) = (node.metadata.name.unwrap_or_default(), node.metadata.uid);
                present.remove(&name);
                if certificates.record(&name).is_some_and(|r| r.node == uid) {
                    certificates.revoke(&client, &name).await;
                }
            }
            Err(error) => tracing::warn!(error = chain(&error), "watching nodes failed, trying again"),
        }
    }
}

fn secrets(client: kube::Client) -> Api<Secret> {
    Api::namespaced(client, NAMESPACE)
}

fn version(secret: &Secret) -> u64 {
    secret.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

fn secret_name(node: &str) -> String {
    format!("node-certificate-{node}")
}

fn field(secret: &Secret, name: &str) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get(name)?.0.clone()).ok()
}
