//! Nodes that are machines of a child cluster (`--expose nodes`): they share the tunnel of their cluster, and with it
//! the heartbeat, for as long as the cluster itself hears them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dunlin_api::names::{annotation, label, reason};
use dunlin_base::error::chain;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;

/// One such node.
#[derive(Debug, PartialEq)]
struct Machine {
    cluster: String,
    /// Its cluster has not heard it.
    lost: bool,
}

/// All such nodes, by name.
#[derive(Default)]
pub struct Exposed {
    known: Mutex<BTreeMap<String, Machine>>,
    changed: watch::Sender<()>,
}

impl Exposed {
    /// The node that has the tunnel to the node `name`, if that is a machine of a cluster.
    pub fn cluster_of(&self, name: &str) -> Option<String> {
        self.lock().get(name).map(|machine| machine.cluster.clone())
    }

    /// The machines that the cluster hears, while it is heard itself.
    pub fn heard_by(&self, cluster: &str) -> Vec<String> {
        let known = self.lock();
        let heard = known.iter().filter(|(_, machine)| machine.cluster == cluster && !machine.lost);
        heard.map(|(name, _)| name.clone()).collect()
    }

    /// Ticks when a machine came, went, or was lost or found.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Machine>> {
        // Each change is one insertion or removal.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, node: &Node) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let machine = machine(node);
        let mut known = self.lock();
        let same = known.get(&name) == machine.as_ref();
        match machine {
            Some(machine) => known.insert(name, machine),
            None => known.remove(&name),
        };
        drop(known);
        if !same {
            self.changed.send_replace(());
        }
    }

    /// Follows the nodes for as long as it is polled.
    pub async fn follow(&self, client: kube::Client) {
        let config = Config::default().labels(label::CLUSTER);
        let mut nodes = std::pin::pin!(watcher(Api::<Node>::all(client), config).default_backoff());
        let mut listed = BTreeMap::new();
        while let Some(event) = nodes.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(node)) => {
                    if let (Some(name), Some(machine)) = (node.metadata.name.clone(), machine(&node)) {
                        listed.insert(name, machine);
                    }
                }
                Ok(Event::InitDone) => {
                    *self.lock() = std::mem::take(&mut listed);
                    self.changed.send_replace(());
                }
                Ok(Event::Apply(node)) => self.put(&node),
                Ok(Event::Delete(node)) => {
                    self.lock().remove(node.metadata.name.as_deref().unwrap_or_default());
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "watching clusters' machines failed, trying again")
                }
            }
        }
    }
}

fn machine(node: &Node) -> Option<Machine> {
    let cluster = node.metadata.annotations.as_ref()?.get(annotation::EXPOSED_BY)?.clone();
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let lost = conditions
        .filter(|condition| condition.type_ == "Ready" && condition.status == "Unknown")
        .any(|condition| condition.reason.as_deref() == Some(reason::MACHINE_UNREACHABLE));
    Some(Machine { cluster, lost })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_machine_counts_as_heard_unless_its_cluster_says_otherwise() {
        let exposed = Exposed::default();
        let node = |name: &str, annotations: Value, reason: &str| -> Node {
            let ready = json!({"type": "Ready", "status": "Unknown", "reason": reason});
            serde_json::from_value(json!({"metadata": {"name": name, "annotations": annotations},
                "status": {"conditions": [ready]}}))
            .expect("a node")
        };
        let by = json!({"dunlin.io/exposed-by": "site"});
        exposed.put(&node("site-a", by.clone(), "NodeStatusUnknown"));
        exposed.put(&node("site-b", by, "MachineUnreachable"));
        exposed.put(&node("site-c", json!({}), "NodeStatusUnknown"));
        assert_eq!(exposed.heard_by("site"), ["site-a"], "the server's own doubt ends with the next word");
        assert_eq!(exposed.cluster_of("site-b").as_deref(), Some("site"));
        assert_eq!(exposed.cluster_of("site-c"), None);
    }
}
