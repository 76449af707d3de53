//! What one request leaves behind, gathered while it is answered.
//!
//! The last event of a request is written when its trail ends, which is when nobody holds it any more: a session or a watch
//! holds it as long as it lasts, and a request that is given up or that the server fails at is not forgotten.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::Value;

use super::event::{self, Event, ObjectRef, Outcome, Stage};
use super::policy::{Level, Verdict};
use super::{Audit, HEADER, source};
use crate::config::{BoxBody, User};
use crate::handlers::protobuf;
use crate::negotiate::Media;
use crate::object;
use crate::reply::{self, Reply};
use crate::request::Asked;

/// The subresources that answer for as long as the client listens.
const LONG: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

/// The longest answer in which a `Status` of success is looked for, bytes.
const STATUS: usize = 4096;

/// The trail of a request; empty if nothing is recorded of it.
#[derive(Clone, Default)]
pub struct Trail(Option<Arc<Recording>>);

struct Recording {
    audit: Arc<Audit>,
    verdict: Verdict,
    /// Whether the answer takes as long as somebody listens to it.
    long: bool,
    state: Mutex<State>,
}

struct State {
    event: Event,
    complete: bool,
}

/// What is known of a request as it comes in.
pub struct About {
    id: HeaderValue,
    uri: String,
    headers: HeaderMap,
    sources: Vec<std::net::IpAddr>,
    received: Timestamp,
}

/// The id under which a request is recorded: the client's own, or a new one.
pub fn id(headers: &HeaderMap) -> HeaderValue {
    match headers.get(HEADER) {
        Some(own) if !own.is_empty() => own.clone(),
        _ => HeaderValue::from_str(&object::new_uid()).unwrap_or(HeaderValue::from_static("none")),
    }
}

impl About {
    /// Notes what an event says of a request, before others take it apart.
    pub fn of(request: &Request<BoxBody>, id: HeaderValue) -> Self {
        let agent = request.headers().get(http::header::USER_AGENT).cloned();
        Self {
            id,
            uri: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
            headers: agent.map(|agent| (http::header::USER_AGENT, agent)).into_iter().collect(),
            sources: source::addresses(request.headers(), request.extensions()),
            received: Timestamp::now(),
        }
    }
}

impl Trail {
    /// The trail of a request, as far as the policy wants one. Who could not be identified is no user.
    pub fn begin(audit: &Arc<Audit>, about: &About, user: Option<&User>, asked: &Asked, path: &str) -> Self {
        let Some(verdict) = audit.policy.verdict(user, asked, path) else { return Self(None) };
        let shown = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut event = Event::new(verdict.level, shown(&about.id), asked.verb, about.received);
        event.uri.clone_from(&about.uri);
        event.user = user.map(Into::into).unwrap_or_default();
        event.sources.clone_from(&about.sources);
        event.user_agent =
            event::agent(&about.headers.get(http::header::USER_AGENT).map(shown).unwrap_or_default());
        event.object_ref = asked.is_resource.then(|| ObjectRef::of(asked));
        let long = matches!(asked.verb, "watch" | "proxy")
            || asked.sub.as_deref().is_some_and(|sub| LONG.contains(&sub));
        Self(Some(Arc::new(Recording {
            audit: audit.clone(),
            verdict: verdict.clone(),
            long,
            state: Mutex::new(State { event, complete: false }),
        })))
    }

    /// Whether anything is recorded.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Says that the request has come in.
    pub async fn received(&self) {
        if let Some(recording) = &self.0 {
            recording.reach(Stage::RequestReceived).await;
        }
    }

    /// Notes as whom the user acts.
    pub fn impersonated(&self, user: &User) {
        self.change(|event| event.impersonated_user = Some(user.into()));
    }

    /// Notes something of a rule's own. The first to say something under a key is right.
    pub fn annotate(&self, key: &str, value: impl Into<String>) {
        self.change(|event| {
            event.annotations.entry(key.to_owned()).or_insert_with(|| value.into());
        });
    }

    /// Notes what another has found, in the same way.
    pub fn annotate_all(&self, notes: impl IntoIterator<Item = (String, String)>) {
        notes.into_iter().for_each(|(key, value)| self.annotate(&key, value));
    }

    /// Notes the object of the body; `fill` adds what Kubernetes has added to it by then.
    pub fn object(&self, value: &Value, fill: impl FnOnce(&mut Value)) {
        let Some(recording) = &self.0 else { return };
        let mut state = recording.lock();
        state.event.object_ref.get_or_insert_default().complete(value);
        if recording.verdict.level >= Level::Request {
            let mut value = value.clone();
            fill(&mut value);
            state.event.request_object = event::of_value(value, recording.verdict.omit_managed_fields);
        }
    }

    /// Notes a patch.
    pub fn patch(&self, patch: &Value, body: &[u8]) {
        let Some(recording) = self.0.as_ref().filter(|r| r.verdict.level >= Level::Request) else { return };
        // A patch may be written in YAML, which is no part of a JSON document.
        let noted = event::object(body, false).or_else(|| event::of_value(patch.clone(), false));
        recording.lock().event.request_object = noted;
    }

    /// Notes the answer. What is answered in one piece is complete; the rest holds the trail until it ends.
    pub async fn answered(self, reply: Reply) -> Reply {
        let Some(recording) = self.0 else { return reply };
        let code = reply.status().as_u16();
        let stream = recording.long && code < 400;
        if stream {
            recording.lock().event.response_status.get_or_insert_default().code = code;
            recording.reach(Stage::ResponseStarted).await;
            return reply.map(|body| {
                let body = body.map_frame(move |frame| {
                    let _held = &recording;
                    frame
                });
                BodyExt::boxed_unsync(body)
            });
        }
        let (head, body) = reply.into_parts();
        let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        recording.read(code, &head.headers, &bytes);
        if recording.long {
            recording.reach(Stage::ResponseStarted).await;
        }
        recording.reach(Stage::ResponseComplete).await;
        Reply::from_parts(head, reply::full(bytes))
    }

    /// Says that the request was refused because nobody knows who makes it; that is all that is said of it.
    pub async fn refused(self, message: &str) {
        let Some(recording) = self.0 else { return };
        {
            let outcome = Outcome { message: message.to_owned(), ..Outcome::of(401, None) };
            let mut state = recording.lock();
            state.event.response_status = Some(outcome);
            state.complete = true;
        }
        recording.reach(Stage::ResponseStarted).await;
    }

    fn change(&self, change: impl FnOnce(&mut Event)) {
        if let Some(recording) = &self.0 {
            change(&mut recording.lock().event);
        }
    }
}

impl Recording {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what an answer in one piece says.
    fn read(&self, code: u16, headers: &HeaderMap, bytes: &Bytes) {
        let media = headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let kind = Media::parse(media).kind;
        let decode = || -> Option<Value> {
            match kind {
                "application/json" => serde_json::from_slice(bytes).ok(),
                "application/yaml" => serde_saphyr::from_slice(bytes).ok(),
                "application/vnd.kubernetes.protobuf" => protobuf::decode(bytes).ok(),
                _ => None,
            }
        };
        // A `Status` is short, and says what it is somewhere.
        let status = code >= 400 || (bytes.len() <= STATUS && bytes.windows(6).any(|word| word == b"Status"));
        let outcome = Outcome::of(code, if status { decode() } else { None }.as_ref());
        let mut state = self.lock();
        state.event.response_status = Some(outcome);
        // What is discovered is made of objects, too; other pages are not.
        let has_object = state.event.object_ref.is_some() || state.event.uri.starts_with("/api");
        if self.verdict.level >= Level::RequestResponse && has_object {
            let omit = self.verdict.omit_managed_fields;
            state.event.response_object = match kind {
                "application/json" => event::object(bytes, omit),
                _ => decode().and_then(|value| event::of_value(value, omit)),
            };
        }
    }

    /// Writes the event of a stage, and waits for it if that is chosen.
    async fn reach(&self, stage: Stage) {
        if let Some(written) = self.write(stage) {
            let _ = written.await;
        }
    }

    fn write(&self, stage: Stage) -> Option<tokio::sync::oneshot::Receiver<()>> {
        let mut state = self.lock();
        if matches!(stage, Stage::ResponseComplete | Stage::Panic) {
            state.complete = true;
        }
        if self.verdict.omit_stages.contains(&stage) {
            return None;
        }
        state.event.stage = stage;
        state.event.stage_timestamp = match stage {
            Stage::RequestReceived => state.event.request_received_timestamp,
            _ => Timestamp::now(),
        };
        let line = state.event.line(self.audit.max_event);
        drop(state);
        self.audit.log.push(line)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        let mut state = self.lock();
        if state.complete {
            return;
        }
        let stage = if failed {
            state.event.response_status = Some(event::panicked());
            Stage::Panic
        } else {
            state.event.response_status.get_or_insert_with(event::left);
            Stage::ResponseComplete
        };
        drop(state);
        let _ = self.write(stage);
    }
}
