//! Events about pods, as a kubelet words them: the same event again raises a count instead of making a new object.
//!
//! Events are advice: they are dropped when too many wait, and they wait a moment, so that they never stand before a
//! pod's first status on a slow link.

use std::collections::HashMap;
use std::time::Duration;

use dunlin_base::task::Task;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;

use crate::backend::PodRef;

/// Events that may wait; the bound keeps a crash loop from filling memory.
const WAITING: usize = 256;
/// Events remembered for counting.
const REMEMBERED: usize = 256;
/// How long an event stands back behind statuses.
const STAND_BACK: Duration = Duration::from_millis(60);

/// A handle for recording events; cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Occurrence>,
}

#[derive(Debug, Clone)]
struct Occurrence {
    about: ObjectReference,
    warning: bool,
    reason: &'static str,
    message: String,
    at: Timestamp,
}

type Key = (String, String, &'static str, String);

struct Known {
    name: String,
    namespace: String,
    count: i32,
    last: Timestamp,
}

impl Recorder {
    /// Starts the recorder; `node` is named as the source.
    pub fn start(client: Client, node: &str) -> (Self, Task) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let task = Task::spawn("events", run(client, node.to_owned(), receiver));
        (Self { sender }, task)
    }

    /// Something normal happened to a pod, or to one of its containers (`field`: `spec.containers{name}`).
    pub fn normal(
        &self,
        pod: &PodRef,
        field: Option<&str>,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        self.record(pod, field, false, reason, message.into());
    }

    /// Something went wrong with a pod or container.
    pub fn warning(
        &self,
        pod: &PodRef,
        field: Option<&str>,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        self.record(pod, field, true, reason, message.into());
    }

    fn record(
        &self,
        pod: &PodRef,
        field: Option<&str>,
        warning: bool,
        reason: &'static str,
        message: String,
    ) {
        let about = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(pod.namespace.clone()),
            name: Some(pod.name.clone()),
            uid: Some(pod.uid.clone()),
            field_path: field.map(str::to_owned),
            ..ObjectReference::default()
        };
        let mut message = message;
        if message.len() > 1000 {
            let cut = (0..=1000).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0);
            message.truncate(cut);
        }
        // A full queue means that the API is slow or away; losing an event is better than waiting.
        let _ = self.sender.try_send(Occurrence { about, warning, reason, message, at: Timestamp::now() });
    }
}

/// The field path of a container, as a kubelet writes it.
pub fn container_field(pod: &Pod, container: &str) -> String {
    let spec = pod.spec.as_ref();
    let init =
        spec.and_then(|s| s.init_containers.as_ref()).is_some_and(|c| c.iter().any(|c| c.name == container));
    let kind = if init { "initContainers" } else { "containers" };
    format!("spec.{kind}{{{container}}}")
}

async fn run(client: Client, node: String, mut receiver: mpsc::Receiver<Occurrence>) {
    let mut known: HashMap<Key, Known> = HashMap::new();
    while let Some(occurrence) = receiver.recv().await {
        tokio::time::sleep(STAND_BACK).await;
        post(&client, &node, &mut known, occurrence).await;
        while let Ok(next) = receiver.try_recv() {
            post(&client, &node, &mut known, next).await;
        }
    }
}

async fn post(client: &Client, node: &str, known: &mut HashMap<Key, Known>, what: Occurrence) {
    let key: Key = (
        what.about.uid.clone().unwrap_or_default(),
        what.about.field_path.clone().unwrap_or_default(),
        what.reason,
        what.message.clone(),
    );
    let result = tokio::time::timeout(Duration::from_secs(10), send(client, node, known, &key, &what)).await;
    match result {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(
            error = dunlin_base::error::chain(&error),
            reason = what.reason,
            "an event was lost"
        ),
        Err(_) => tracing::debug!(reason = what.reason, "an event was lost: no answer"),
    }
    if known.len() > REMEMBERED
        && let Some(oldest) = known.iter().min_by_key(|(_, k)| k.last).map(|(k, _)| k.clone())
    {
        known.remove(&oldest);
    }
}

async fn send(
    client: &Client,
    node: &str,
    known: &mut HashMap<Key, Known>,
    key: &Key,
    what: &Occurrence,
) -> Result<(), kube::Error> {
    if let Some(seen) = known.get_mut(key) {
        seen.count += 1;
        seen.last = what.at;
        let api: Api<Event> = Api::namespaced(client.clone(), &seen.namespace);
        let patch = json!({"count": seen.count, "lastTimestamp": Time(what.at)});
        match api.patch(&seen.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                known.remove(key);
            }
            other => return other.map(drop),
        }
    }
    let event = build(node, what);
    let namespace = event.metadata.namespace.clone().unwrap_or_default();
    let name = event.metadata.name.clone().unwrap_or_default();
    let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
    api.create(&PostParams::default(), &event).await?;
    known.insert(key.clone(), Known { name, namespace, count: 1, last: what.at });
    Ok(())
}

fn build(node: &str, what: &Occurrence) -> Event {
    let pod = what.about.name.as_deref().unwrap_or("pod");
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{pod}.{:x}", what.at.as_nanosecond())),
            namespace: what.about.namespace.clone(),
            ..ObjectMeta::default()
        },
        involved_object: what.about.clone(),
        type_: Some(if what.warning { "Warning" } else { "Normal" }.into()),
        reason: Some(what.reason.into()),
        message: Some(what.message.clone()),
        count: Some(1),
        first_timestamp: Some(Time(what.at)),
        last_timestamp: Some(Time(what.at)),
        source: Some(EventSource { component: Some("kubelet".into()), host: Some(node.into()) }),
        reporting_component: Some("kubelet".into()),
        reporting_instance: Some(node.into()),
        ..Event::default()
    }
}
