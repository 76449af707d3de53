//! `DELETE`: at once, after a grace period, or after finalizers have done their work.

use bytes::Bytes;
use dunlin_store::{Error, Expect};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::custom;
use crate::failure::{Failure, Result, success};
use crate::handlers::storage::Stored;
use crate::handlers::{convert, decode, emit, modify, storage};
use crate::object::{self, at, text};
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
    pub fn read(call: &mut Call, body: &Bytes) -> Result<Self> {
        let mut options = Self {
            grace: call.query.number("gracePeriodSeconds"),
            propagation: call.query.get("propagationPolicy").map(str::to_owned),
            dry_run: call.dry_run(),
            ..Self::default()
        };
        if call.query.flag("orphanDependents") {
            options.propagation = Some("Orphan".to_owned());
        }
        if body.is_empty() {
            return Ok(options);
        }
        let value = decode::syntax(call, body)?;
        options.merge(&value);
        if let Some(policy) = &options.propagation
            && !matches!(policy.as_str(), "Orphan" | "Background" | "Foreground")
        {
            return Err(Failure::new(
                422,
                "Invalid",
                format!(
                    "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: {policy:?}: \
                     supported values: \"Background\", \"Foreground\", \"Orphan\", \"nil\""
                ),
            ));
        }
        Ok(options)
    }

    /// Takes what `DeleteOptions` as an object say.
    pub fn merge(&mut self, value: &Value) {
        let own = |path: &[&str]| at(value, path).and_then(Value::as_str).map(str::to_owned);
        self.grace = value.get("gracePeriodSeconds").and_then(Value::as_i64).or(self.grace);
        self.propagation = own(&["propagationPolicy"]).or(self.propagation.take());
        if value.get("orphanDependents").and_then(Value::as_bool) == Some(true) {
            self.propagation = Some("Orphan".to_owned());
        }
        self.uid = own(&["preconditions", "uid"]);
        self.resource_version = own(&["preconditions", "resourceVersion"]);
        self.dry_run |= !object::list(value, &["dryRun"]).is_empty();
    }
}

pub async fn delete(call: &mut Call, body: Bytes) -> Result<Reply> {
    let options = Options::read(call, &body)?;
    let (resource, name) = (&call.resource.clone(), call.name().to_owned());
    crate::admission::delete(call)?;
    match remove(&call.server, resource, call.ns(), &name, &options).await? {
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
        ) | ("storage.k8s.io", "storageclasses" | "csidrivers" | "csinodes" | "volumeattachments")
    )
}

/// Deletes an object as far as it may go now.
pub async fn remove(
    server: &Inner,
    resource: &Resource,
    namespace: &str,
    name: &str,
    options: &Options,
) -> Result<Outcome> {
    for _ in 0..8 {
        let stored = server.read(resource, namespace, name).await?;
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
    preconditions(resource, &stored.value, options)?;
    let mut value = stored.value.clone();
    let marked = mark(resource, &mut value, options, Timestamp::now());
    let over = modify::is_over(&value);
    let value = convert::stored(server, resource, value).await?;
    if options.dry_run {
        let bytes = Bytes::from(serde_json::to_vec(&value).unwrap_or_default());
        return Ok(Some(if over { Outcome::Removed(bytes) } else { Outcome::Marked(bytes) }));
    }
    let written = if over {
        server.remove(resource, &stored.entry, value).await.map(|e| Outcome::Removed(e.value))
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
    let name = object::name(value);
    let check = |what: &str, wanted: &Option<String>, is: &str| match wanted {
        Some(wanted) if wanted != is => {
            let why =
                format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {is}");
            Err(Failure::conflict(resource, name, &why))
        }
        _ => Ok(()),
    };
    check("UID", &options.uid, object::uid(value))?;
    check("ResourceVersion", &options.resource_version, text(value, &["metadata", "resourceVersion"]))
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
        // Of a definition Kubernetes notes the time alone.
        let plain = resource.stored == custom::STORED;
        if !plain {
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
