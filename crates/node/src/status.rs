//! Writing pod statuses: only what changed, one write per pod at a time, the latest wins, retried until it holds.
//!
//! The pod's uid goes with every patch, so that a successor of the same name is never touched. A deletion asked for
//! with [`StatusWriter::delete`] follows the last status of that pod.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dunlin_base::backoff::step;
use dunlin_base::task::Task;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::backend::PodRef;

/// Writes in flight at once; more would only queue in the server.
const IN_FLIGHT: usize = 16;

/// A handle to the writer; cheap to clone.
#[derive(Clone)]
pub struct StatusWriter {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Notify,
}

#[derive(Default)]
struct Queue {
    /// What is to be written, by pod; the latest replaces what waited before.
    pending: BTreeMap<PodRef, Pending>,
    /// What the API has, as a hash.
    written: BTreeMap<PodRef, u64>,
    /// Pods about which the API was seen to have something else since their last write began.
    doubted: BTreeSet<PodRef>,
}

#[derive(Default)]
struct Pending {
    status: Option<Arc<Value>>,
    delete: bool,
    failures: u32,
    not_before: Option<tokio::time::Instant>,
}

enum Outcome {
    Written(u64),
    Deleted,
    /// The pod is gone, or has a successor; nothing more is to be said about it.
    Forget,
    Retry(String),
}

impl StatusWriter {
    /// Starts the writer.
    pub fn start(client: Client) -> (Self, Task) {
        let shared = Arc::new(Shared { queue: Mutex::default(), wake: Notify::new() });
        let task = Task::spawn("status-writer", run(client, shared.clone()));
        (Self { shared }, task)
    }

    /// The pod's status is now this.
    pub fn set(&self, pod: &PodRef, status: &PodStatus) {
        let value = serde_json::to_value(status).unwrap_or(Value::Null);
        let mut queue = lock(&self.shared);
        let pending = queue.pending.entry(pod.clone()).or_default();
        pending.status = Some(Arc::new(value));
        drop(queue);
        self.shared.wake.notify_one();
    }

    /// Everything of the deleted pod has ended: remove it from the API, now.
    pub fn delete(&self, pod: &PodRef) {
        lock(&self.shared).pending.entry(pod.clone()).or_default().delete = true;
        self.shared.wake.notify_one();
    }

    /// The API has something else than was written (it was changed by somebody): the next status is written in any case.
    /// That holds as well while a write is on its way: what was seen may have come after it, and before its answer.
    pub fn doubt(&self, pod: &PodRef) {
        let mut queue = lock(&self.shared);
        queue.written.remove(pod);
        queue.doubted.insert(pod.clone());
    }

    /// The pod is gone; nothing more will be written about it.
    pub fn forget(&self, pod: &PodRef) {
        let mut queue = lock(&self.shared);
        queue.pending.remove(pod);
        queue.written.remove(pod);
        queue.doubted.remove(pod);
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Queue> {
    shared.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn run(client: Client, shared: Arc<Shared>) {
    let mut flying: FuturesUnordered<BoxFuture<'static, (PodRef, Pending, Outcome)>> =
        FuturesUnordered::new();
    let mut busy: BTreeSet<PodRef> = BTreeSet::new();
    loop {
        let mut next_retry = None;
        while flying.len() < IN_FLIGHT {
            let (ready, wait) = take(&mut lock(&shared), &busy);
            next_retry = wait;
            let Some((pod, pending)) = ready else { break };
            busy.insert(pod.clone());
            let client = client.clone();
            flying.push(Box::pin(async move {
                let outcome = write(&client, &pod, &pending).await;
                (pod, pending, outcome)
            }));
        }
        let retry = async {
            match next_retry {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.wake.notified() => {}
            () = retry => {}
            Some((pod, pending, outcome)) = flying.next() => {
                busy.remove(&pod);
                settle(&mut lock(&shared), pod, pending, outcome);
            }
        }
    }
}

/// The next write that may start now, and when the earliest delayed one may.
fn take(
    queue: &mut Queue,
    busy: &BTreeSet<PodRef>,
) -> (Option<(PodRef, Pending)>, Option<tokio::time::Instant>) {
    let now = tokio::time::Instant::now();
    let mut wait: Option<tokio::time::Instant> = None;
    let mut unchanged = Vec::new();
    let mut found = None;
    for (pod, pending) in &queue.pending {
        if busy.contains(pod) {
            continue;
        }
        if let Some(at) = pending.not_before
            && at > now
        {
            wait = Some(wait.map_or(at, |w| w.min(at)));
            continue;
        }
        let same = pending.status.as_ref().is_none_or(|s| queue.written.get(pod) == Some(&hash(s)));
        if same && !pending.delete {
            unchanged.push(pod.clone());
            continue;
        }
        found = Some(pod.clone());
        break;
    }
    for pod in unchanged {
        queue.pending.remove(&pod);
    }
    let taken = found.and_then(|pod| queue.pending.remove(&pod).map(|p| (pod, p)));
    if let Some((pod, _)) = &taken {
        queue.doubted.remove(pod);
    }
    (taken, wait)
}

fn settle(queue: &mut Queue, pod: PodRef, mut tried: Pending, outcome: Outcome) {
    match outcome {
        Outcome::Written(_) if queue.doubted.contains(&pod) => {}
        Outcome::Written(hash) => {
            queue.written.insert(pod, hash);
        }
        Outcome::Deleted | Outcome::Forget => {
            queue.pending.remove(&pod);
            queue.written.remove(&pod);
            queue.doubted.remove(&pod);
        }
        Outcome::Retry(reason) => {
            tracing::debug!(
                pod = pod.name,
                namespace = pod.namespace,
                reason,
                "writing a pod's status failed"
            );
            queue.written.remove(&pod);
            let failures = tried.failures + 1;
            let delay = step(Duration::from_millis(200), Duration::from_secs(20), tried.failures);
            if let Some(newer) = queue.pending.remove(&pod) {
                tried.status = newer.status.or(tried.status);
                tried.delete |= newer.delete;
            }
            tried.failures = failures;
            tried.not_before = Some(tokio::time::Instant::now() + delay);
            queue.pending.insert(pod, tried);
        }
    }
}

async fn write(client: &Client, pod: &PodRef, pending: &Pending) -> Outcome {
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let mut outcome = Outcome::Forget;
    if let Some(status) = &pending.status {
        match api
            .patch_status(&pod.name, &PatchParams::default(), &Patch::Strategic(patch(&pod.uid, status)))
            .await
        {
            Ok(_) => outcome = Outcome::Written(hash(status)),
            Err(error) => return failed(&error),
        }
    }
    if pending.delete {
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: Some(pod.uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        return match api.delete(&pod.name, &params).await {
            Ok(_) => Outcome::Deleted,
            Err(error) => failed(&error),
        };
    }
    outcome
}

/// The patch of a pod's status: a strategic merge, so that conditions that others own stay.
pub fn patch(uid: &str, status: &Value) -> Value {
    let mut status = status.clone();
    if let Some(fields) = status.as_object_mut() {
        for name in ["reason", "message"] {
            fields.entry(name).or_insert(Value::Null);
        }
    }
    json!({"metadata": {"uid": uid}, "status": status})
}

fn failed(error: &kube::Error) -> Outcome {
    match error {
        kube::Error::Api(status) if matches!(status.code, 404 | 409) => Outcome::Forget,
        // The API refuses the content: trying the same again cannot help.
        kube::Error::Api(status) if status.code == 422 => {
            tracing::error!(reason = status.message, "the API refuses a pod's status");
            Outcome::Forget
        }
        other => Outcome::Retry(dunlin_base::error::chain(other)),
    }
}

fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> PodRef {
        PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() }
    }

    fn pending(phase: &str) -> Pending {
        Pending { status: Some(Arc::new(json!({"phase": phase}))), ..Pending::default() }
    }

    #[test]
    fn unchanged_statuses_are_not_written() {
        let mut queue = Queue::default();
        queue.pending.insert(pod(), pending("Running"));
        queue.written.insert(pod(), hash(&json!({"phase": "Running"})));
        assert!(take(&mut queue, &BTreeSet::new()).0.is_none());
        assert!(queue.pending.is_empty());
    }

    #[test]
    fn what_is_doubted_while_it_is_written_is_written_again() {
        let writer =
            StatusWriter { shared: Arc::new(Shared { queue: Mutex::default(), wake: Notify::new() }) };
        let status = PodStatus { phase: Some("Running".into()), ..PodStatus::default() };
        let written = |doubted: bool| {
            writer.set(&pod(), &status);
            let (taken, _) = take(&mut lock(&writer.shared), &BTreeSet::new());
            let Some((pod, tried)) = taken else { return false };
            if doubted {
                writer.doubt(&pod);
            }
            let outcome = Outcome::Written(hash(tried.status.as_deref().expect("a status")));
            settle(&mut lock(&writer.shared), pod, tried, outcome);
            true
        };
        assert!(written(true) && written(false));
        assert!(!written(false), "nobody has doubted it since");
    }

    #[tokio::test]
    async fn a_failed_write_waits_and_keeps_the_newest() {
        let mut queue = Queue::default();
        queue.pending.insert(pod(), pending("Failed"));
        settle(&mut queue, pod(), pending("Running"), Outcome::Retry("no route".into()));
        let waiting = &queue.pending[&pod()];
        assert_eq!(waiting.status.as_deref(), Some(&json!({"phase": "Failed"})));
        let (ready, wait) = take(&mut queue, &BTreeSet::new());
        assert!(ready.is_none() && wait.is_some());
    }

    #[test]
    fn patch_carries_the_uid() {
        let value = patch("u", &json!({"phase": "Running"}));
        assert_eq!(
            value,
            json!({"metadata": {"uid": "u"}, "status": {"phase": "Running", "reason": null, "message": null}})
        );
    }
}
