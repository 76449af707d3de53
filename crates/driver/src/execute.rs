//! Makes the writes of a plan. Nothing is decided here: an action says all, and its preconditions go along.

use std::sync::Arc;

use dunlin_control::model::{Key, Meta};
use dunlin_control::plan::{Action, Precondition, Propagation};
use dunlin_control::resource::Resources;
use dunlin_control::scheduler::external::Answers;
use futures_util::StreamExt;
use futures_util::stream;
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::awaits::Awaits;
use crate::events::{Events, Note};

/// Writes that are under way at the same time, over all keys: more would only wait in the server for the same disk.
const AT_ONCE: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the resource {0:?} is unknown")]
    Resource(Arc<str>),
    #[error("{what} failed")]
    Request {
        what: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("{0}, which was taken to be gone, is there after all")]
    Present(Key),
    #[error("the external scheduler failed")]
    Extender(#[source] crate::extender::Error),
    #[error("the task that wrote ended badly")]
    Ended(#[source] tokio::task::JoinError),
}

impl Error {
    /// Somebody was faster: the next plan, on a newer view, will be right.
    pub fn is_race(&self) -> bool {
        match self {
            Self::Request { source, .. } => {
                matches!(&**source, kube::Error::Api(status) if status.code == 409)
            }
            Self::Present(_) => true,
            Self::Resource(_) | Self::Extender(_) | Self::Ended(_) => false,
        }
    }
}

/// What must really be absent before anything is written: the object of this name, or the one with this uid.
pub type Absent = Vec<(Key, Option<Arc<str>>)>;

/// Everything that executing needs; cheap to clone.
#[derive(Clone)]
pub struct Executor {
    client: Client,
    room: Arc<Semaphore>,
    events: Arc<Events>,
}

/// What became of a plan.
#[derive(Debug, Default)]
pub struct Outcome {
    pub awaits: Awaits,
    pub errors: Vec<Error>,
    /// What an external scheduler answered, if it was asked.
    pub answers: Option<Box<Answers>>,
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    metadata: Option<Meta>,
}

impl Executor {
    pub fn new(client: Client) -> Self {
        Self { client, room: Arc::new(Semaphore::new(AT_ONCE)), events: Arc::default() }
    }

    /// Makes all writes; runs of the same sort of action at once, different sorts one after the other, events last.
    pub async fn execute(
        &self,
        resources: &Resources,
        actions: Vec<Action>,
        absent: &Absent,
        now: i64,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        if let Err(error) = self.check_absent(resources, absent).await {
            outcome.errors.push(error);
            return outcome;
        }
        // Events tell what was done, so they come last.
        let (events, writes): (Vec<_>, Vec<_>) =
            actions.into_iter().partition(|a| matches!(a, Action::Event { .. }));
        let mut rest = writes.into_iter().chain(events).peekable();
        while let Some(first) = rest.next() {
            let sort = std::mem::discriminant(&first);
            let mut run = vec![first];
            while let Some(more) = rest.next_if(|action| std::mem::discriminant(action) == sort) {
                run.push(more);
            }
            let writes = stream::iter(run.into_iter().map(|action| self.write(resources, action, now)));
            let results: Vec<_> = writes.buffer_unordered(AT_ONCE).collect().await;
            for result in results {
                match result {
                    Ok(awaits) => outcome.awaits.merge(awaits),
                    Err(error) => outcome.errors.push(error),
                }
            }
            if !outcome.errors.is_empty() {
                break;
            }
        }
        outcome
    }

    async fn write(&self, resources: &Resources, action: Action, now: i64) -> Result<Awaits, Error> {
        let _room = self.room.acquire().await;
        match action {
            Action::Create { resource, namespace, object } => {
                let path = path(resources, &Key::new(resource.clone(), namespace, ""))?;
                let reply =
                    self.send("POST", "application/json", path.trim_end_matches('/'), &object).await?;
                Ok(written(resource, reply))
            }
            Action::Patch { target, subresource: Some("finalize"), patch, only_if } => {
                self.finalize(resources, target, patch, only_if).await
            }
            Action::Patch { target, subresource, mut patch, only_if } => {
                let mut path = path(resources, &target)?;
                if let Some(subresource) = subresource {
                    path.push('/');
                    path.push_str(subresource);
                }
                put_preconditions(&mut patch, &only_if);
                let reply = self.send("PATCH", "application/merge-patch+json", &path, &patch).await;
                Ok(reply.map(|reply| written(target.resource, reply)).or_else(vanished)?)
            }
            Action::Delete { target, only_if, propagation, grace } => {
                let path = path(resources, &target)?;
                let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
                options["propagationPolicy"] = json!(match propagation {
                    Propagation::Background => "Background",
                    Propagation::Foreground => "Foreground",
                    Propagation::Orphan => "Orphan",
                });
                if let Some(grace) = grace {
                    options["gracePeriodSeconds"] = json!(grace);
                }
                if let Some(uid) = &only_if.uid {
                    options["preconditions"]["uid"] = json!(uid);
                }
                if let Some(version) = &only_if.resource_version {
                    options["preconditions"]["resourceVersion"] = json!(version);
                }
                let reply = self.send("DELETE", "application/json", &path, &options).await;
                let mut awaits = reply.map(|_| Awaits::default()).or_else(vanished)?;
                if let Some(uid) = only_if.uid {
                    awaits.deletion(uid);
                }
                Ok(awaits)
            }
            Action::DeleteAll { resource, namespace } => {
                let path = path(resources, &Key::new(resource, namespace, ""))?;
                let options =
                    json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
                self.send("DELETE", "application/json", path.trim_end_matches('/'), &options).await?;
                Ok(Awaits::default())
            }
            Action::Bind { target, uid, node } => {
                let path = format!("{}/binding", path(resources, &target)?);
                let binding = json!({
                    "apiVersion": "v1", "kind": "Binding",
                    "metadata": {"name": target.name, "namespace": target.namespace, "uid": uid},
                    "target": {"apiVersion": "v1", "kind": "Node", "name": node},
                });
                self.send("POST", "application/json", &path, &binding).await?;
                Ok(Awaits::default())
            }
            Action::Event { target, uid, warning, reason, message, component } => {
                let about = resources
                    .get(&target.resource)
                    .ok_or_else(|| Error::Resource(target.resource.clone()))?;
                let note = Note { about: target, uid, warning, reason, message, component };
                self.events.post(&self.client, about, note, now).await;
                Ok(Awaits::default())
            }
        }
    }

    /// The subresource knows only PUT of the whole namespace, so the newest state is read and written back.
    async fn finalize(
        &self,
        resources: &Resources,
        target: Key,
        patch: Value,
        only_if: Precondition,
    ) -> Result<Awaits, Error> {
        let path = path(resources, &target)?;
        let request =
            http::Request::get(&path).body(Vec::new()).expect("paths are made of names that the server gave");
        let mut object: Value = match self.client.request(request).await {
            Ok(object) => object,
            Err(source) => return vanished(failed("GET", &path, source)),
        };
        if only_if.uid.is_some_and(|uid| object["metadata"]["uid"].as_str() != Some(&uid)) {
            return Ok(Awaits::default());
        }
        object["spec"]["finalizers"] = patch["spec"]["finalizers"].clone();
        if object["spec"]["finalizers"].is_null() {
            object["spec"]["finalizers"] = json!([]);
        }
        let reply = self.send("PUT", "application/json", &format!("{path}/finalize"), &object).await;
        reply.map(|_| Awaits::default()).or_else(vanished)
    }

    /// Asks the server itself, since an informer may be behind: what was made a moment ago must not look gone.
    async fn check_absent(&self, resources: &Resources, absent: &Absent) -> Result<(), Error> {
        for (key, uid) in absent {
            let path = path(resources, key)?;
            let request = http::Request::get(&path)
                .body(Vec::new())
                .expect("paths are made of names that the server gave");
            match self.client.request::<Reply>(request).await {
                Ok(reply)
                    if uid.is_none() || reply.metadata.as_ref().map(|meta| &meta.uid) == uid.as_ref() =>
                {
                    return Err(Error::Present(key.clone()));
                }
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(source) => return Err(failed("GET", &path, source)),
            }
        }
        Ok(())
    }

    async fn send(&self, method: &str, content: &str, path: &str, body: &Value) -> Result<Reply, Error> {
        let request = http::Request::builder().method(method).uri(path);
        let request = request
            .header(http::header::CONTENT_TYPE, content)
            .header(http::header::ACCEPT, "application/json");
        let request = request
            .body(body.to_string().into_bytes())
            .expect("paths are made of names that the server gave");
        self.client.request(request).await.map_err(|source| failed(method, path, source))
    }
}

fn path(resources: &Resources, key: &Key) -> Result<String, Error> {
    let resource = resources.get(&key.resource).ok_or_else(|| Error::Resource(key.resource.clone()))?;
    Ok(resource.object(&key.namespace, &key.name))
}

fn failed(method: &str, path: &str, source: kube::Error) -> Error {
    Error::Request { what: format!("{method} {path}"), source: Box::new(source) }
}

/// What is gone needs no change any more.
fn vanished(error: Error) -> Result<Awaits, Error> {
    match &error {
        Error::Request { source, .. } if matches!(&**source, kube::Error::Api(status) if status.code == 404) => {
            Ok(Awaits::default())
        }
        _ => Err(error),
    }
}

fn written(resource: Arc<str>, reply: Reply) -> Awaits {
    let mut awaits = Awaits::default();
    if let Some(version) = reply.metadata.and_then(|meta| meta.resource_version.parse().ok()) {
        awaits.version(resource, version);
    }
    awaits
}

fn put_preconditions(patch: &mut Value, only_if: &Precondition) {
    if let Some(uid) = &only_if.uid {
        patch["metadata"]["uid"] = json!(uid);
    }
    if let Some(version) = &only_if.resource_version {
        patch["metadata"]["resourceVersion"] = json!(version);
    }
}
