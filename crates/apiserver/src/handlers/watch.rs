//! `GET ?watch`: changes as they happen, one JSON document a line.
//!
//! A watcher without a selector gets the stored bytes spliced into the event; nothing is decoded for it. A selector needs
//! the state before and after: an object that stops matching is DELETED for this watcher, one that starts is ADDED.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use dunlin_store::{Error, Event, EventKind, Revision, Watch};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::auth::node::node_of;
use crate::config::BoxError;
use crate::failure::{Failure, Result};
use crate::handlers::protobuf::encode;
use crate::handlers::{convert, emit, list, storage};
use crate::metrics::Watching;
use crate::model::Selection;
use crate::negotiate::{Form, Shape, Syntax};
use crate::reply::{self, Reply};
use crate::resources::Resource;
use crate::server::{Call, Inner};
use crate::{object, options, table};

/// Bookmarks come this often to those who want them, and at the end of each watch.
const BOOKMARK: Duration = Duration::from_secs(60);
/// A watch without `timeoutSeconds` ends after a time between this and twice this.
const TIMEOUT: u64 = 1800;

pub async fn watch(call: &mut Call) -> Result<Reply> {
    options::list(&call.query, true)?;
    if call.form.syntax == Syntax::Yaml {
        return Err(Failure::new(
            406,
            "NotAcceptable",
            "only the following media types are accepted: application/json;stream=watch, \
             application/vnd.kubernetes.protobuf;stream=watch",
        ));
    }
    let mut selection = Selection::of(call)?;
    if let Some(name) = &call.name {
        selection.only(name);
    }
    let store = &call.server.config.store;
    let version = call.query.get("resourceVersion").unwrap_or("");
    let bookmarks = call.query.flag("allowWatchBookmarks");
    let initial = match call.query.get("sendInitialEvents") {
        Some(_) => call.query.flag("sendInitialEvents"),
        None => version.is_empty() || version == "0",
    };
    let after: Option<Revision> = options::revision(&call.query)?;
    let scope = selection.scope(call);
    let mut lines = VecDeque::new();
    let mut view = View {
        server: call.server.clone(),
        resource: call.resource.clone(),
        form: call.form,
        include: table::included(&call.query)?,
        columns: true,
    };
    let start = if initial {
        let mut plain = Call {
            server: call.server.clone(),
            user: call.user.clone(),
            resource: call.resource.clone(),
            namespace: call.namespace.clone(),
            name: None,
            sub: None,
            query: dunlin_api::query::Query::default(),
            headers: http::HeaderMap::new(),
            form: Form::JSON,
            warnings: Vec::new(),
            patching: false,
            trail: call.trail.clone(),
        };
        plain.name.clone_from(&call.name);
        let found = list::find(&plain, &selection).await?;
        for entry in &found.entries {
            lines.push_back(view.bytes("ADDED", &entry.value).await?);
        }
        if call.query.flag("sendInitialEvents") && bookmarks {
            lines.push_back(view.bookmark(found.revision, true));
        }
        found.revision
    } else {
        if after.is_some_and(|after| after > store.revision()) {
            // What a client was told by another server may be news to this one.
            store.sync().await.map_err(|e| storage::failed(&call.resource, "", e))?;
        }
        after.unwrap_or_else(|| store.revision())
    };
    let source = match store.watch(scope, Some(start)) {
        Ok(watch) => Some(watch),
        Err(Error::Expired { oldest }) => {
            lines.clear();
            lines.push_back(gone(start, oldest));
            None
        }
        Err(error) => return Err(storage::failed(&call.resource, "", error)),
    };
    let seconds = match options::number(&call.query, "timeoutSeconds")? {
        Some(seconds) if seconds > 0 => seconds.unsigned_abs(),
        _ => TIMEOUT + u64::from(object::random::<1>()[0]) * TIMEOUT / 256,
    };
    let state = Stream {
        lines,
        source,
        selection,
        view,
        bookmarks,
        sent: start,
        end: Instant::now() + Duration::from_secs(seconds),
        ended: call.resource.custom.as_ref().map(|c| c.ended.clone()),
        durable: node_of(&call.user).map(|_| call.server.clone()),
        next_bookmark: Instant::now() + BOOKMARK,
        _watching: call.server.metrics.watching(),
    };
    let protobuf = call.form.syntax == Syntax::Protobuf;
    let body = futures_util::stream::unfold(state, move |mut state| async move {
        let line = state.next().await?;
        let piece = if protobuf { encode::frame(&line).unwrap_or_default() } else { line };
        Some((Ok::<Bytes, BoxError>(piece), state))
    });
    let content_type =
        if protobuf { "application/vnd.kubernetes.protobuf;stream=watch" } else { "application/json" };
    Ok(reply::with_type(200, content_type, reply::stream(body)))
}

struct Stream {
    lines: VecDeque<Bytes>,
    source: Option<Watch>,
    selection: Selection,
    view: View,
    bookmarks: bool,
    sent: Revision,
    end: Instant,
    /// For custom resources: ends the watch when the definition has changed or is gone.
    ended: Option<CancellationToken>,
    /// Set for nodes, whose links may be metered: a bookmark only if a restart of the server would need it.
    durable: Option<Arc<Inner>>,
    next_bookmark: Instant,
    _watching: Watching,
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            let source = self.source.as_mut()?;
            tokio::select! {
                event = source.next() => match event {
                    Ok(event) => {
                        match self.view.event(&self.selection, &event).await {
                            Ok(Some(line)) => {
                                self.sent = event.revision;
                                return Some(line);
                            }
                            // The client has not heard of it: a bookmark may still tell how far it is.
                            Ok(None) => {}
                            Err(failure) => {
                                self.source = None;
                                return Some(error(&failure));
                            }
                        }
                    }
                    Err(_) => {
                        self.source = None;
                        return Some(gone(self.sent, self.sent));
                    }
                },
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.next_bookmark = Instant::now() + BOOKMARK;
                    let reached = source.progress().max(self.sent);
                    let idle = |server: &Arc<Inner>| server.durable() <= self.sent;
                    if self.durable.as_ref().is_some_and(idle) {
                        continue;
                    }
                    self.sent = reached;
                    return Some(self.view.bookmark(reached, false));
                }
                () = over(self.ended.as_ref()) => {
                    self.source = None;
                }
                () = tokio::time::sleep_until(self.end) => {
                    // Where the next watch goes on without missing anything and without a new list.
                    let reached = source.progress().max(self.sent);
                    self.source = None;
                    return (self.bookmarks && reached > self.sent).then(|| self.view.bookmark(reached, false));
                }
            }
        }
    }
}

async fn over(ended: Option<&CancellationToken>) {
    match ended {
        Some(ended) => ended.cancelled().await,
        None => std::future::pending().await,
    }
}

/// How one watcher sees objects.
struct View {
    server: Arc<Inner>,
    resource: Arc<Resource>,
    form: Form,
    include: String,
    /// Whether the next table still has to carry its column definitions.
    columns: bool,
}

impl View {
    async fn event(&mut self, selection: &Selection, event: &Arc<Event>) -> Result<Option<Bytes>> {
        let deleted = matches!(event.change, EventKind::Delete);
        if selection.is_exact() && event.old_tag == event.tag {
            let kind = match (deleted, event.old.is_some()) {
                (true, _) => "DELETED",
                (false, true) => "MODIFIED",
                (false, false) => "ADDED",
            };
            return self.bytes(kind, &event.value).await.map(Some);
        }
        let before = match &event.old {
            Some(old) => {
                selection
                    .matches(&self.server, &self.resource, &event.key, event.old_tag.as_deref(), old)
                    .await?
            }
            None => false,
        };
        let after = !deleted
            && selection
                .matches(&self.server, &self.resource, &event.key, event.tag.as_deref(), &event.value)
                .await?;
        match (before, after) {
            (false, true) => self.bytes("ADDED", &event.value).await.map(Some),
            (true, true) => self.bytes("MODIFIED", &event.value).await.map(Some),
            (true, false) if deleted => self.bytes("DELETED", &event.value).await.map(Some),
            (true, false) => {
                // It lives on, but not for this watcher: the last state that matched, at the new revision.
                let mut last = storage::parse(event.old.as_deref().unwrap_or_default())?;
                object::meta(&mut last).insert("resourceVersion".into(), json!(event.revision.to_string()));
                self.bytes("DELETED", last.to_string().as_bytes()).await.map(Some)
            }
            (false, false) => Ok(None),
        }
    }

    /// An event line from stored bytes.
    async fn bytes(&mut self, kind: &str, stored: &[u8]) -> Result<Bytes> {
        if self.form.shape == Shape::Whole && !convert::needed(&self.resource) {
            return Ok(splice(kind, stored));
        }
        let value = convert::shown(&self.server, &self.resource, storage::parse(stored)?).await?;
        let shown = match self.form.shape {
            Shape::Whole => value,
            Shape::Metadata(version) | Shape::MetadataList(version) => emit::metadata(version, value),
            Shape::Table(version) => {
                let meta = json!({"resourceVersion": object::text(&value, &["metadata", "resourceVersion"])});
                let row = table::row(&self.resource, &value, &self.include, Timestamp::now());
                let columns = std::mem::take(&mut self.columns);
                table::document(&self.resource, version, meta, vec![row], columns)
            }
        };
        Ok(splice(kind, shown.to_string().as_bytes()))
    }

    fn bookmark(&mut self, revision: Revision, initial_done: bool) -> Bytes {
        let mut meta = json!({"resourceVersion": revision.to_string()});
        if initial_done {
            meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object: Value = match self.form.shape {
            Shape::Table(version) => {
                let row = json!({"cells": [], "object": {
                    "kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": meta,
                }});
                table::document(
                    &self.resource,
                    version,
                    json!({"resourceVersion": revision.to_string()}),
                    vec![row],
                    false,
                )
            }
            Shape::Metadata(version) | Shape::MetadataList(version) => json!({
                "kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": meta,
            }),
            Shape::Whole => {
                json!({"kind": self.resource.kind, "apiVersion": self.resource.api_version(), "metadata": meta})
            }
        };
        splice("BOOKMARK", object.to_string().as_bytes())
    }
}

fn splice(kind: &str, object: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(object.len() + kind.len() + 24);
    line.put_slice(b"{\"type\":\"");
    line.put_slice(kind.as_bytes());
    line.put_slice(b"\",\"object\":");
    line.put_slice(object);
    line.put_slice(b"}\n");
    line.freeze()
}

fn error(failure: &Failure) -> Bytes {
    splice("ERROR", failure.status().to_string().as_bytes())
}

fn gone(wanted: Revision, oldest: Revision) -> Bytes {
    error(&Failure::expired(format!("too old resource version: {wanted} ({oldest})")))
}
