//! Lists a resource and follows its changes, forever.
//!
//! A watch that ends resumes at the last version it has seen; when the server has forgotten that version (410 Gone) the
//! resource is listed again and the whole state is delivered, so that what went missing in between is noticed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dunlin_base::backoff::Backoff;
use dunlin_control::controllers::autoscaler::custom::Measured;
use futures_util::AsyncBufReadExt;
use kube::Client;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::kinds::{Any, Page, Watched};

/// What an informer tells the loop.
#[derive(Debug)]
pub struct Change {
    pub resource: Arc<str>,
    pub metadata_only: bool,
    /// The informer has seen everything up to here.
    pub version: u64,
    pub news: News,
}

#[derive(Debug)]
pub enum News {
    /// All there is; what is not in it is gone.
    All(Vec<Any>),
    Put(Any),
    Gone(Any),
    /// What extension servers tell of the metrics that autoscalers need: all of them.
    Measured(HashMap<Arc<str>, Measured>),
    /// Nothing but the version.
    Progress,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the version asked for is gone")]
    Expired,
    #[error("cannot ask for {what}")]
    Request {
        what: &'static str,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("cannot read {what}")]
    Parse {
        what: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("the watch broke")]
    Broken(#[source] std::io::Error),
    #[error("the server ended the watch with code {code}: {message}")]
    Refused { code: u16, message: String },
    #[error("nobody listens any more")]
    Closed,
}

const PAGE: usize = 500;
/// How long a watch lasts before it is renewed, in seconds; the server ends it.
const WATCH: u64 = 300;

/// Runs until the receiver is gone.
pub async fn follow(client: Client, watched: Watched, to: mpsc::Sender<Change>) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(15));
    let mut informer = Informer { client, watched, to, version: None };
    loop {
        match informer.turn().await {
            Ok(()) => backoff.reset(),
            Err(Error::Closed) => return,
            Err(Error::Expired) => {
                tracing::info!(resource = %informer.watched.resource.name, "listing again after an expired watch");
                informer.version = None;
                tokio::time::sleep(backoff.next_delay()).await;
            }
            Err(error) => {
                let error = dunlin_base::error::chain(&error);
                tracing::warn!(resource = %informer.watched.resource.name, error = %error, "watch failed");
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}

struct Informer {
    client: Client,
    watched: Watched,
    to: mpsc::Sender<Change>,
    version: Option<Arc<str>>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: BookmarkMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookmarkMeta {
    resource_version: Arc<str>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

impl Informer {
    /// Lists if there is no version to resume at, then watches until the server ends it.
    async fn turn(&mut self) -> Result<(), Error> {
        let version = match self.version.clone() {
            Some(version) => version,
            None => self.list().await?,
        };
        self.watch(version).await
    }

    async fn list(&mut self) -> Result<Arc<str>, Error> {
        let mut items = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut query = format!("limit={PAGE}");
            if let Some(next) = &next {
                query.push_str("&continue=");
                query.push_str(next);
            }
            let request = self.request(&query, "PartialObjectMetadataList");
            let text = self.client.request_text(request).await.map_err(|e| failed("a list", e))?;
            let page = (self.watched.parse_page)(&self.watched.resource.name, &text);
            let Page { items: more, version, next: rest } =
                page.map_err(|source| Error::Parse { what: "a list", source })?;
            items.extend(more);
            next = rest;
            if next.is_none() {
                self.version = Some(version.clone());
                self.tell(&version, News::All(items)).await?;
                return Ok(version);
            }
        }
    }

    async fn watch(&mut self, from: Arc<str>) -> Result<(), Error> {
        let query =
            format!("watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH}&resourceVersion={from}");
        let request = self.request(&query, "PartialObjectMetadata");
        let mut lines =
            Box::pin(self.client.request_stream(request).await.map_err(|e| failed("a watch", e))?);
        let mut line = String::new();
        // The server ends the watch; should it be silent for longer, the connection is dead.
        let patience = Duration::from_secs(WATCH + 30);
        loop {
            line.clear();
            let read = tokio::time::timeout(patience, lines.read_line(&mut line)).await;
            let Ok(read) = read else { return Ok(()) };
            if read.map_err(Error::Broken)? == 0 {
                return Ok(());
            }
            self.line(&line).await?;
        }
    }

    async fn line(&mut self, text: &str) -> Result<(), Error> {
        if text.trim().is_empty() {
            return Ok(());
        }
        let wrong = |source| Error::Parse { what: "a watch event", source };
        let line: Line<'_> = serde_json::from_str(text).map_err(wrong)?;
        let object = line.object.get();
        let news = match &*line.kind {
            "BOOKMARK" => {
                let bookmark: Bookmark = serde_json::from_str(object).map_err(wrong)?;
                self.version = Some(bookmark.metadata.resource_version.clone());
                return self.tell(&bookmark.metadata.resource_version, News::Progress).await;
            }
            "ERROR" => {
                let refusal: Refusal = serde_json::from_str(object).map_err(wrong)?;
                return Err(match refusal.code {
                    410 => Error::Expired,
                    code => Error::Refused { code, message: refusal.message },
                });
            }
            kind => {
                let object = (self.watched.parse)(&self.watched.resource.name, object).map_err(wrong)?;
                if kind == "DELETED" { News::Gone(object) } else { News::Put(object) }
            }
        };
        let (News::Put(object) | News::Gone(object)) = &news else { return Ok(()) };
        let version = object.metadata().resource_version.clone();
        self.version = Some(version.clone());
        self.tell(&version, news).await
    }

    async fn tell(&self, version: &str, news: News) -> Result<(), Error> {
        let (resource, metadata_only) = self.watched.id();
        // Versions are opaque to clients in general; our server and all released ones use ascending numbers.
        let change = Change { resource, metadata_only, version: version.parse().unwrap_or(0), news };
        self.to.send(change).await.map_err(|_| Error::Closed)
    }

    fn request(&self, query: &str, partial: &str) -> http::Request<Vec<u8>> {
        let mut uri = format!("{}?{query}", self.watched.resource.collection(self.watched.namespace));
        if !self.watched.fields.is_empty() {
            uri.push_str("&fieldSelector=");
            uri.push_str(&self.watched.fields.replace('=', "%3D"));
        }
        let accept = match self.watched.metadata_only {
            true => format!("application/json;as={partial};g=meta.k8s.io;v=v1,application/json"),
            false => "application/json".to_owned(),
        };
        let request = http::Request::get(uri).header(http::header::ACCEPT, accept);
        // Compressed watches are delayed and some servers' are unreadable.
        let request = request.header(http::header::ACCEPT_ENCODING, "identity");
        request.body(Vec::new()).expect("paths and headers are made of names that the server gave")
    }
}

fn failed(what: &'static str, error: kube::Error) -> Error {
    match &error {
        kube::Error::Api(status) if status.code == 410 => Error::Expired,
        _ => Error::Request { what, source: Box::new(error) },
    }
}
