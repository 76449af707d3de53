//! `DELETE`: at once, after a grace period, or after finalizers have done their work.

use bytes::Bytes;
use dunlin_api::gvk::GroupVersionKind;
use dunlin_store::{Error, Expect};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::admission::attributes::Attributes;
use crate::admission::dynamic;
use crate::custom;
use crate::failure::{Cause, Failure, Result, success};
use crate::handlers::storage::Stored;
use crate::handlers::{convert, decode, emit, modify, storage};
use crate::negotiate::Media;
use crate::object::{self, at, text};
use crate::options;
use crate::reply::{self, Reply};
use crate::resources::Resource;
use crate::server::{Call, Inner};
use crate::time;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// `DeleteOptions`, from the body or the query.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub grace: Option<i64>,
    pub propagation: Option<String>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub dry_run: bool,
}

/// What became of an object.
pub enum Outcome {
    /// It is gone; its last state.
    Removed(Bytes),
    /// It is on its way; its present state.
    Marked(Bytes),
}

impl Options {
    /// The options of a call: those of the body, or else those of the query.
    pub fn read(call: &mut Call, body: &Bytes) -> Result<Self> {
        let value = if body.is_empty() {
            let mut value = json!({});
            if let Some(grace) = options::number(&call.query, "gracePeriodSeconds")? {
                value["gracePeriodSeconds"] = json!(grace);
            }
            if let Some(policy) = call.query.get("propagationPolicy") {
                value["propagationPolicy"] = json!(policy);
            }
            if call.query.all("orphanDependents").next().is_some() {
                value["orphanDependents"] = json!(call.query.flag("orphanDependents"));
            }
            let dry_run: Vec<&str> = call.query.all("dryRun").collect();
            if !dry_run.is_empty() {
                value["dryRun"] = json!(dry_run);
            }
            value
        } else {
            decode_options(call, body)?
        };
        Self::of(&value)
    }

    /// What `DeleteOptions` as an object say.
    pub fn of(value: &Value) -> Result<Self> {
        let own = |path: &[&str]| at(value, path).and_then(Value::as_str).map(str::to_owned);
        let mut causes = Vec::new();
        let orphan = value.get("orphanDependents").and_then(Value::as_bool);
        let policy = own(&["propagationPolicy"]);
        if orphan.is_some() && policy.is_some() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            causes.push(Cause::value("propagationPolicy", &value["propagationPolicy"], why));
        } else if let Some(policy) = &policy
            && !matches!(policy.as_str(), "Orphan" | "Background" | "Foreground")
        {
            let known = "supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"";
            let why = format!("Unsupported value: {policy:?}: {known}");
            causes.push(Cause::new("FieldValueNotSupported", "propagationPolicy", why));
        }
        let dry_run: Vec<&str> = object::list(value, &["dryRun"]).iter().filter_map(Value::as_str).collect();
        options::dry_run(&dry_run, &mut causes);
        options::refuse("DeleteOptions", causes)?;
        let orphan = orphan.map(|orphan| if orphan { "Orphan" } else { "Background" }.to_owned());
        Ok(Self {
            grace: value.get("gracePeriodSeconds").and_then(Value::as_i64),
            propagation: policy.or(orphan),
            uid: own(&["preconditions", "uid"]),
            resource_version: own(&["preconditions", "resourceVersion"]),
            dry_run: !dry_run.is_empty(),
        })
    }

    /// The options as the object that they are.
    pub fn value(&self) -> Value {
        let mut value = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        if let Some(grace) = self.grace {
            value["gracePeriodSeconds"] = json!(grace);
        }
        if let Some(policy) = &self.propagation {
            value["propagationPolicy"] = json!(policy);
        }
        for (field, wanted) in [("uid", &self.uid), ("resourceVersion", &self.resource_version)] {
            if let Some(wanted) = wanted {
                value["preconditions"][field] = json!(wanted);
            }
        }
        if self.dry_run {
            value["dryRun"] = json!(["All"]);
        }
        value
    }
}

/// The options in a body. They are of every group, and what is unknown in them nobody minds.
fn decode_options(call: &Call, body: &Bytes) -> Result<Value> {
    const KIND: &str = "DeleteOptions";
    let header = call.headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let (value, _) = decode::plain(Media::parse(header).kind, body)?;
    let kind = text(&value, &["kind"]);
    if !matches!(kind, "" | KIND) {
        let version = text(&value, &["apiVersion"]);
        let scheme = "scheme \"pkg/runtime/scheme.go:111\"";
        let why = format!("no kind {kind:?} is registered for version {version:?} in {scheme}");
        return Err(Failure::bad_request(why));
    }
    let decoded = dunlin_api::decode::decode_owned(&GroupVersionKind::new("", "v1", KIND), value);
    let value = decoded.map_err(|e| Failure::bad_request(e.to_string()))?.value;
    call.trail.object(&value, |_| {});
    Ok(value)
}

pub async fn delete(call: &mut Call, body: Bytes) -> Result<Reply> {
    let options = Options::read(call, &body)?;
    let (resource, name) = (&call.resource.clone(), call.name().to_owned());
    crate::admission::delete(call)?;
    let (server, namespace) = (call.server.clone(), call.ns().to_owned());
    match remove(&server, resource, &namespace, &name, &options, Some(call)).await? {
        Outcome::Marked(bytes) => emit::stored(call, 200, bytes).await,
        Outcome::Removed(bytes) if returns_object(resource) => emit::stored(call, 200, bytes).await,
        Outcome::Removed(bytes) => {
            let last = storage::parse(&bytes)?;
            let mut details = json!({"name": name, "kind": resource.plural, "uid": object::uid(&last)});
            if !resource.group.is_empty() {
                details["group"] = json!(resource.group);
            }
            reply::value_in(200, &success(Some(details)), call.form)
        }
    }
}

/// Kinds whose deletion answers with the object and not with a `Status`.
fn returns_object(resource: &Resource) -> bool {
    matches!(
        (&*resource.group, &*resource.plural),
        (
            "",
            "pods"
                | "services"
                | "serviceaccounts"
                | "persistentvolumes"
                | "persistentvolumeclaims"
                | "resourcequotas"
                | "podtemplates"
        ) | (
            "storage.k8s.io",
            "storageclasses" | "csidrivers" | "csinodes" | "volumeattachments" | "volumeattributesclasses"
        ) | ("resource.k8s.io", _)
    )
}

/// Deletes an object as far as it may go now. What is configured has a say in it if there is a `call` that asks for it.
pub async fn remove(
    server: &Inner,
    resource: &Resource,
    namespace: &str,
    name: &str,
    options: &Options,
    mut call: Option<&mut Call>,
) -> Result<Outcome> {
    for _ in 0..8 {
        let stored = server.read(resource, namespace, name).await?;
        preconditions(resource, &stored.value, options)?;
        if let Some(call) = call.as_deref_mut().filter(|call| dynamic::concerns(call)) {
            let asked = Attributes::deletion(call, &stored.value, options);
            dynamic::review(call, asked).await?;
        }
        if let Some(outcome) = attempt(server, resource, stored, options).await? {
            return Ok(outcome);
        }
    }
    Err(Failure::modified(resource, name))
}

async fn attempt(
    server: &Inner,
    resource: &Resource,
    stored: Stored,
    options: &Options,
) -> Result<Option<Outcome>> {
    let name = object::name(&stored.value).to_owned();
    let mut value = stored.value.clone();
    let marked = mark(resource, &mut value, options, Timestamp::now());
    let over = modify::is_over(&value);
    let value = convert::stored(server, resource, value).await?;
    if options.dry_run {
        let shown = if over && &*resource.stored != "pods" { &stored.value } else { &value };
        let bytes = Bytes::from(serde_json::to_vec(shown).unwrap_or_default());
        return Ok(Some(if over { Outcome::Removed(bytes) } else { Outcome::Marked(bytes) }));
    }
    let written = if over {
        // What goes at once was never being deleted.
        let last = if &*resource.stored == "pods" { value } else { stored.value };
        server.remove(resource, &stored.entry, last).await.map(|e| Outcome::Removed(e.value))
    } else if !marked {
        return Ok(Some(Outcome::Marked(stored.entry.value)));
    } else {
        let expect = Expect::Revision(stored.entry.revision);
        server.save(resource, expect, value).await.map(|e| Outcome::Marked(e.value))
    };
    match written {
        Ok(outcome) => Ok(Some(outcome)),
        Err(Error::Conflict { .. }) => Ok(None),
        Err(error) => Err(storage::failed(resource, &name, error)),
    }
}

fn preconditions(resource: &Resource, value: &Value, options: &Options) -> Result<()> {
    let check = |what: &str, wanted: &Option<String>, is: &str, perhaps: &str| match wanted {
        Some(wanted) if wanted != is => {
            let why = format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({is}). The object \
                 might have been {perhaps}"
            );
            Err(Failure::precondition(resource, object::name(value), &why))
        }
        _ => Ok(()),
    };
    check("UID", &options.uid, object::uid(value), "deleted and then recreated")?;
    let revision = text(value, &["metadata", "resourceVersion"]);
    check("ResourceVersion", &options.resource_version, revision, "modified")
}

/// Marks an object as being deleted; tells whether that changed anything. Pure.
pub fn mark(resource: &Resource, value: &mut Value, options: &Options, now: Timestamp) -> bool {
    let before = value.clone();
    let grace = grace(resource, value, options);
    let mut finalizers = object::finalizers(value);
    if let Some(policy) = &options.propagation {
        finalizers.retain(|f| f != ORPHAN && f != FOREGROUND);
        match policy.as_str() {
            "Orphan" => finalizers.push(ORPHAN.to_owned()),
            "Foreground" => finalizers.push(FOREGROUND.to_owned()),
            _ => {}
        }
    }
    if resource.stored == "namespaces" {
        object::map(value, "status").insert("phase".into(), json!("Terminating"));
    }
    let already = !text(value, &["metadata", "deletionTimestamp"]).is_empty();
    if resource.stored == custom::STORED && !already {
        custom::cleanup::mark(&mut finalizers, value);
    }
    let held = at(value, &["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64);
    let generation = object::int(value, &["metadata", "generation"]);
    let meta = object::meta(value);
    if finalizers.is_empty() {
        meta.remove("finalizers");
    } else {
        meta.insert("finalizers".into(), json!(finalizers));
    }
    if !already || held.is_some_and(|held| grace < held) {
        let end = now.checked_add(SignedDuration::from_secs(grace)).unwrap_or(now);
        meta.insert("deletionTimestamp".into(), json!(time::seconds(end)));
        // Of a definition Kubernetes notes the time alone, and a namespace ends when it is empty, not by time.
        let plain = &*resource.stored == custom::STORED;
        if !plain && &*resource.stored != "namespaces" {
            meta.insert("deletionGracePeriodSeconds".into(), json!(grace));
        }
        if generation > 0 && !already && !plain {
            meta.insert("generation".into(), json!(generation + 1));
        }
    }
    *value != before
}

/// How long the object may take. Only pods that a node runs get time.
fn grace(resource: &Resource, value: &Value, options: &Options) -> i64 {
    if resource.stored != "pods" || text(value, &["spec", "nodeName"]).is_empty() {
        return 0;
    }
    if matches!(text(value, &["status", "phase"]), "Succeeded" | "Failed") {
        return 0;
    }
    let own = at(value, &["spec", "terminationGracePeriodSeconds"]).and_then(Value::as_i64).unwrap_or(30);
    match options.grace {
        Some(grace) if grace < 0 => 1,
        Some(grace) => grace,
        None => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::known;

    fn marked(mut pod: Value, options: &Options) -> Value {
        mark(known("", "pods"), &mut pod, options, "2026-01-01T00:00:00Z".parse().unwrap());
        pod
    }

    #[test]
    fn a_bound_pod_gets_its_grace_and_an_unbound_one_goes() {
        let bound = json!({"kind": "Pod", "metadata": {"name": "a"},
            "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 5}});
        let pod = marked(bound.clone(), &Options::default());
        assert_eq!(pod["metadata"]["deletionTimestamp"], "2026-01-01T00:00:05Z");
        assert!(!modify::is_over(&pod));
        let now = Options { grace: Some(0), ..Options::default() };
        assert!(modify::is_over(&marked(pod, &now)));
        assert!(modify::is_over(&marked(
            json!({"kind": "Pod", "metadata": {"name": "a"}}),
            &Options::default()
        )));
    }

    #[test]
    fn propagation_is_a_finalizer() {
        let options = Options { propagation: Some("Foreground".into()), ..Options::default() };
        let pod = marked(json!({"kind": "Pod", "metadata": {"name": "a"}}), &options);
        assert_eq!(pod["metadata"]["finalizers"], json!([FOREGROUND]));
        assert!(!modify::is_over(&pod));
    }
}
