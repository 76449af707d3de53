//! Posts Events; the same event again only raises the count of the one there is.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use dunlin_control::model::{Key, Time};
use dunlin_control::resource::Resource;
use kube::Client;
use serde_json::{Value, json};

/// How many different events are remembered for counting.
const REMEMBERED: usize = 1024;

/// What an event says; equal ones are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Note {
    pub about: Key,
    pub uid: Arc<str>,
    pub warning: bool,
    pub reason: Arc<str>,
    pub message: String,
    pub component: &'static str,
}

#[derive(Debug, Default)]
pub struct Events {
    posted: Mutex<Posted>,
}

#[derive(Debug, Default)]
struct Posted {
    by_note: HashMap<Note, (String, u32)>,
    order: VecDeque<Note>,
}

impl Posted {
    /// Name of the event and how often it happened, this time included.
    fn count(&mut self, note: &Note) -> (String, u32) {
        if let Some((name, count)) = self.by_note.get_mut(note) {
            *count += 1;
            return (name.clone(), *count);
        }
        if self.order.len() >= REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_note.remove(&oldest);
        }
        let nanos =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        let name = format!("{}.{:016x}", note.about.name, nanos as u64);
        self.by_note.insert(note.clone(), (name.clone(), 1));
        self.order.push_back(note.clone());
        (name, 1)
    }
}

impl Events {
    /// An event is a courtesy: if it cannot be posted, that is logged and nothing else happens.
    pub async fn post(&self, client: &Client, about: &Resource, note: Note, now: i64) {
        let (name, count) = self.posted.lock().unwrap_or_else(PoisonError::into_inner).count(&note);
        let namespace = if note.about.namespace.is_empty() { "default" } else { &note.about.namespace };
        let collection = format!("/api/v1/namespaces/{namespace}/events");
        let at = Time(now).to_string();
        if count > 1 {
            let patch = json!({"count": count, "lastTimestamp": at});
            let request = http::Request::patch(format!("{collection}/{name}"));
            let request = request.header(http::header::CONTENT_TYPE, "application/merge-patch+json");
            if send(client, request, &patch).await.is_ok() {
                return;
            }
        }
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {"apiVersion": about.api_version(), "kind": about.kind, "namespace": note.about.namespace,
                "name": note.about.name, "uid": note.uid},
            "reason": note.reason, "message": note.message, "type": if note.warning { "Warning" } else { "Normal" },
            "count": count, "firstTimestamp": at, "lastTimestamp": at,
            "source": {"component": note.component}, "reportingComponent": note.component, "reportingInstance": "",
        });
        let request = http::Request::post(collection).header(http::header::CONTENT_TYPE, "application/json");
        if let Err(error) = send(client, request, &event).await {
            tracing::debug!(about = %note.about, error = %dunlin_base::error::chain(&error), "event not posted");
        }
    }
}

async fn send(client: &Client, request: http::request::Builder, body: &Value) -> Result<(), kube::Error> {
    let request =
        request.body(body.to_string().into_bytes()).expect("paths are made of names that the server gave");
    client.request_text(request).await.map(|_| ())
}
