//! The pods that are bound to this node: list, then watch, told to the backend in order.
//!
//! Silence of the API is not an event: without an answer the backend keeps what it has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dunlin_base::backoff::Backoff;
use dunlin_base::task::Task;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use tokio::time::Instant;

use crate::backend::{PodBackend, PodEvent, PodRef};
use crate::follow::LIVED;

/// Follows the pods of `node` and tells `backend`.
pub fn start(client: Client, node: &str, backend: Arc<dyn PodBackend>) -> Task {
    let fields = format!("spec.nodeName={node}");
    Task::spawn("pod-watch", async move {
        let api: Api<Pod> = Api::all(client);
        let mut known = Known::default();
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(15));
        loop {
            match api.list(&ListParams::default().fields(&fields)).await {
                Ok(list) => {
                    backoff.reset();
                    let version = list.metadata.resource_version.clone().unwrap_or_default();
                    for event in known.listed(list.items) {
                        backend.pod_event(event);
                    }
                    watch(&api, &fields, version, &mut known, &mut backoff, &*backend).await;
                }
                Err(error) => {
                    tracing::debug!(error = dunlin_base::error::chain(&error), "listing pods failed");
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    })
}

async fn watch(
    api: &Api<Pod>,
    fields: &str,
    mut version: String,
    known: &mut Known,
    backoff: &mut Backoff,
    backend: &dyn PodBackend,
) {
    let params = WatchParams::default().fields(fields).timeout(290);
    loop {
        let stream = match api.watch(&params, &version).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(error = dunlin_base::error::chain(&error), "watching pods failed");
                tokio::time::sleep(backoff.next_delay()).await;
                // What the API refuses needs a new list. Where nobody answered, a watch can go on from here later, also
                // when the server has been restarted meanwhile.
                if matches!(error, kube::Error::Api(_)) {
                    return;
                }
                continue;
            }
        };
        let mut stream = std::pin::pin!(stream);
        let begun = Instant::now();
        let mut progressed = false;
        while let Some(event) = stream.next().await {
            let events = match event {
                Ok(WatchEvent::Added(pod) | WatchEvent::Modified(pod)) => {
                    version = pod.metadata.resource_version.clone().unwrap_or(version);
                    known.applied(pod)
                }
                Ok(WatchEvent::Deleted(pod)) => {
                    version = pod.metadata.resource_version.clone().unwrap_or(version);
                    known.deleted(&pod)
                }
                Ok(WatchEvent::Bookmark(b)) => {
                    version = b.metadata.resource_version;
                    Vec::new()
                }
                Ok(WatchEvent::Error(_)) => return,
                Err(_) => break,
            };
            for event in events {
                backend.pod_event(event);
            }
            progressed = true;
            backoff.reset();
        }
        if begun.elapsed() >= LIVED {
            backoff.reset();
        } else if !progressed {
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
}

/// Which pods were told, by namespace and name.
#[derive(Debug, Default)]
struct Known {
    uids: BTreeMap<(String, String), String>,
}

impl Known {
    fn listed(&mut self, pods: Vec<Pod>) -> Vec<PodEvent> {
        let present: BTreeMap<(String, String), String> =
            pods.iter().map(PodRef::of).map(|r| ((r.namespace, r.name), r.uid)).collect();
        let mut events = Vec::new();
        for ((namespace, name), uid) in &self.uids {
            if !present.values().any(|u| u == uid) {
                events.push(gone(namespace, name, uid));
            }
        }
        self.uids = present;
        events.extend(pods.into_iter().map(slim).map(|p| PodEvent::Applied(Arc::new(p))));
        events.push(PodEvent::Listed(self.uids.values().cloned().collect()));
        events
    }

    fn applied(&mut self, pod: Pod) -> Vec<PodEvent> {
        let pod_ref = PodRef::of(&pod);
        let mut events = Vec::new();
        let key = (pod_ref.namespace.clone(), pod_ref.name.clone());
        if let Some(old) = self.uids.insert(key, pod_ref.uid.clone())
            && old != pod_ref.uid
        {
            events.push(gone(&pod_ref.namespace, &pod_ref.name, &old));
        }
        events.push(PodEvent::Applied(Arc::new(slim(pod))));
        events
    }

    fn deleted(&mut self, pod: &Pod) -> Vec<PodEvent> {
        let pod_ref = PodRef::of(pod);
        let key = (pod_ref.namespace.clone(), pod_ref.name.clone());
        if self.uids.get(&key) == Some(&pod_ref.uid) {
            self.uids.remove(&key);
        }
        vec![PodEvent::Gone(pod_ref)]
    }
}

fn gone(namespace: &str, name: &str, uid: &str) -> PodEvent {
    PodEvent::Gone(PodRef { namespace: namespace.to_owned(), name: name.to_owned(), uid: uid.to_owned() })
}

/// Managed fields are the larger half of a pod and mean nothing to a node.
fn slim(mut pod: Pod) -> Pod {
    pod.metadata.managed_fields = None;
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, uid: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.namespace = Some("default".into());
        pod.metadata.name = Some(name.into());
        pod.metadata.uid = Some(uid.into());
        pod
    }

    fn words(events: &[PodEvent]) -> Vec<String> {
        events
            .iter()
            .map(|e| match e {
                PodEvent::Applied(p) => format!("apply {}", PodRef::of(p).uid),
                PodEvent::Gone(r) => format!("gone {}", r.uid),
                PodEvent::Listed(u) => format!("listed {}", u.iter().cloned().collect::<Vec<_>>().join(",")),
            })
            .collect()
    }

    #[test]
    fn a_new_uid_under_the_same_name_ends_the_old_pod() {
        let mut known = Known::default();
        assert_eq!(
            words(&known.listed(vec![pod("a", "1"), pod("b", "2")])),
            ["apply 1", "apply 2", "listed 1,2"]
        );
        assert_eq!(words(&known.applied(pod("a", "3"))), ["gone 1", "apply 3"]);
        assert_eq!(words(&known.deleted(&pod("a", "1"))), ["gone 1"]);
        assert_eq!(words(&known.listed(vec![pod("a", "3")])), ["gone 2", "apply 3", "listed 3"]);
    }
}
