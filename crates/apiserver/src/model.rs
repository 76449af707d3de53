//! The rules of the API crate as handlers want them: by resource, with failures for errors; and what a list selects.
//!
//! Kubernetes' rules themselves are in `dunlin-api`; nothing here adds one.

use dunlin_api::gvk::GroupVersionKind;
use dunlin_api::query::Query;
use dunlin_api::schema::Node;
use dunlin_api::selector::{FieldSelector, LabelSelector};
use dunlin_api::structural;
use dunlin_api::{
    apply as apply_rules, decode as decode_rules, defaults as default_rules, patch as patch_rules,
};
use dunlin_api::{validate, validate::FieldError};
use dunlin_store::{Entry, Key, Scope};
use serde_json::{Value, json};

use crate::custom::{Custom, form};
use crate::failure::{Cause, Failure, Result};
use crate::handlers::{convert, storage};
use crate::object::{self, at};
use crate::resources::Resource;
use crate::server::{Call, Inner};
use crate::time;

/// Fits a value to its kind; gives back complaints about unknown fields.
pub fn decode(resource: &Resource, value: Value) -> Result<(Value, Vec<String>)> {
    if let Some(custom) = &resource.custom {
        return form::read(resource, custom, value);
    }
    let decoded = decode_rules::decode_owned(&resource.gvk(), value)
        .map_err(|e| Failure::bad_request(e.to_string()))?;
    let unknown = decoded.warnings().map(str::to_owned).collect();
    Ok((decoded.value, unknown))
}

/// As [`decode`], for a kind that a subresource has instead.
pub fn decode_as(resource: &Resource, kind: &GroupVersionKind, value: Value) -> Result<(Value, Vec<String>)> {
    if *kind == resource.gvk() {
        return decode(resource, value);
    }
    let decoded = decode_rules::decode_owned(kind, value).map_err(|e| Failure::bad_request(e.to_string()))?;
    let unknown = decoded.warnings().map(str::to_owned).collect();
    Ok((decoded.value, unknown))
}

/// Lays a part of an object over it; `kind` is that of the object.
pub fn overlay(
    resource: &Resource,
    kind: &GroupVersionKind,
    object: &Value,
    part: &Value,
) -> Result<Value, String> {
    let root = match &resource.custom {
        Some(custom) if *kind == resource.gvk() => Node::Resource(Some(&custom.schema)),
        _ => Node::of_or_unknown(kind),
    };
    let mut part = part.clone();
    for field in ["apiVersion", "kind"] {
        if let Some(value) = object.get(field) {
            part[field] = value.clone();
        }
    }
    apply_rules::overlay(root, object, &part)
}

/// The resource's object in which nothing is set.
pub fn empty(resource: &Resource) -> Value {
    decode_rules::empty_of(dunlin_api::schema::Node::of_or_unknown(&resource.gvk()))
}

pub fn defaults(resource: &Resource, value: &mut Value) {
    match &resource.custom {
        Some(custom) => structural::fill(&custom.schema, value),
        None => default_rules::apply(&resource.gvk(), value),
    }
}

/// What validation found, as causes of a refusal.
pub fn causes(errors: Vec<FieldError>) -> Vec<Cause> {
    errors.iter().map(|e| Cause::new(e.kind.reason(), e.field.clone(), e.body())).collect()
}

pub fn validate_create(resource: &Resource, value: &Value) -> Vec<Cause> {
    // An older form is checked as what it becomes.
    if let Some((gvk, value)) = convert::checked_as(resource, value) {
        return causes(validate::validate_create(&gvk, &value));
    }
    let mut errors = validate::validate_create(&resource.gvk(), value);
    if let Some(custom) = &resource.custom {
        errors.extend(form::check(custom, value, None));
    }
    causes(errors)
}

/// What is wrong with a change.
pub fn validate_update(resource: &Resource, new: &Value, old: &Value, sub: &str) -> Vec<Cause> {
    if let (Some((gvk, new)), Some((_, old))) =
        (convert::checked_as(resource, new), convert::checked_as(resource, old))
        && sub.is_empty()
    {
        return causes(validate::validate_update(&gvk, &new, &old));
    }
    if let Some(custom) = &resource.custom {
        let mut errors = validate::validate_update(&resource.gvk(), new, old);
        errors.extend(form::check(custom, new, Some(old)));
        return causes(errors);
    }
    match sub {
        "" | "scale" => causes(validate::validate_update(&resource.gvk(), new, old)),
        _ => causes(validate::validate_subresource(&resource.gvk(), sub, new, old)),
    }
}

fn patch_failure(error: &patch_rules::Error) -> Failure {
    let (code, reason) = error.status();
    let mut failure = Failure::new(code, reason, error.to_string());
    if code == 422 {
        failure.details = Some(Box::new(json!({})));
    }
    failure
}

pub fn json_patch(old: &Value, patch: &Value) -> Result<Value> {
    patch_rules::json_patch(old, patch).map_err(|e| patch_failure(&e))
}

pub fn merge_patch(old: &Value, patch: &Value) -> Result<Value> {
    patch_rules::merge_patch(old, patch).map_err(|e| patch_failure(&e))
}

pub fn strategic_merge(resource: &Resource, old: &Value, patch: &Value) -> Result<Value> {
    patch_rules::strategic_merge(&resource.gvk(), old, patch).map_err(|e| patch_failure(&e))
}

/// Server-side apply.
pub fn apply(
    resource: &Resource,
    live: Option<&Value>,
    config: &Value,
    manager: &str,
    force: bool,
    sub: &str,
) -> Result<Value> {
    let now = time::now();
    let applied = match &resource.custom {
        Some(custom) => {
            let api_version = resource.api_version();
            let target = target(resource, custom, &api_version, sub);
            apply_rules::apply_to(target, live, config, manager, force, &now)
        }
        None => apply_rules::apply(&resource.gvk(), live, config, manager, force, sub, &now),
    };
    applied.map_err(|e| match e {
        apply_rules::Error::Conflicts(conflicts) => {
            let mut failure = Failure::new(409, "Conflict", conflicts.to_string());
            let causes: Vec<Value> = conflicts
                .causes()
                .map(|(field, message)| {
                    json!({"reason": apply_rules::Conflicts::CAUSE, "field": field, "message": message})
                })
                .collect();
            failure.details = Some(Box::new(json!({"causes": causes})));
            failure
        }
        apply_rules::Error::Untyped(text) => {
            let version = if resource.group.is_empty() { "/v1".to_owned() } else { resource.api_version() };
            let (namespace, name) = (object::namespace(config), object::name(config));
            let what = format!("({namespace}/{name}; {version}, Kind={})", resource.kind);
            Failure::new(500, "", format!("failed to create typed patch object {what}: {text}"))
        }
        apply_rules::Error::Invalid(text) => Failure::bad_request(text),
    })
}

/// Records who changed what.
pub fn track(resource: &Resource, old: Option<&Value>, new: &mut Value, manager: &str, sub: &str) {
    let now = time::now();
    match &resource.custom {
        Some(custom) => {
            let api_version = resource.api_version();
            apply_rules::track_update_of(
                target(resource, custom, &api_version, sub),
                old,
                new,
                manager,
                &now,
            );
        }
        None => apply_rules::track_update(&resource.gvk(), old, new, manager, sub, &now),
    }
}

/// What a write to a custom resource is about.
fn target<'a>(
    resource: &Resource,
    custom: &'a Custom,
    api_version: &'a str,
    sub: &'a str,
) -> apply_rules::Target<'a> {
    let root = Node::Resource(Some(&custom.schema));
    apply_rules::Target { root, api_version, subresource: sub, has_status: resource.has_status() }
}

/// Whether a `LabelSelector` object selects something with these labels.
pub fn selects(selector: &Value, object: &Value) -> bool {
    let labels = at(object, &["metadata", "labels"]).unwrap_or(&Value::Null);
    LabelSelector::from_value(selector).is_ok_and(|s| s.matches(labels))
}

/// A `LabelSelector` object in its text form.
pub fn selector_text(selector: &Value) -> Option<String> {
    LabelSelector::from_value(selector).ok().map(|s| s.to_string()).filter(|t| !t.is_empty())
}

/// What a list, watch or collective deletion is about.
#[derive(Debug, Clone)]
pub struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
    name: Option<String>,
    namespace: Option<String>,
    node: Option<String>,
}

/// The fields that can be selected by, beside name and namespace.
fn selectable(group: &str, stored: &str) -> &'static [&'static str] {
    match stored {
        "pods" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        "nodes" => &["spec.unschedulable"],
        "namespaces" => &["status.phase"],
        "secrets" => &["type"],
        "services" => &["spec.clusterIP", "spec.type"],
        "events" if group == "events.k8s.io" => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        "events" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        "replicationcontrollers" => &["status.replicas"],
        "jobs.batch" => &["status.successful"],
        "certificatesigningrequests.certificates.k8s.io" => &["spec.signerName"],
        "resourceslices.resource.k8s.io" => &["spec.nodeName", "spec.driver"],
        _ => &[],
    }
}

/// Why a resource cannot be selected by a field, if so.
fn unselectable(resource: &Resource, field: &str) -> Option<String> {
    let of_cluster =
        matches!(&*resource.stored, "nodes" | "namespaces") || &*resource.group == "certificates.k8s.io";
    let more = selectable(&resource.group, &resource.stored);
    if let Some(custom) = &resource.custom {
        let known = matches!(field, "metadata.name" | "metadata.namespace")
            || custom.selectable.iter().any(|f| &**f == field);
        return (!known).then(|| format!("field label not supported: {field}"));
    }
    let known = match field {
        "metadata.name" => true,
        "metadata.namespace" => !of_cluster,
        field => more.contains(&field),
    };
    if known {
        return None;
    }
    Some(match &*resource.stored {
        "jobs.batch" => format!("field label {field:?} not supported for Job"),
        "resourceslices.resource.k8s.io" => {
            let (version, kind) = (resource.api_version(), &resource.kind);
            format!("field label not supported for {version}, Kind={kind}: {field}")
        }
        _ if more.is_empty() => {
            format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        }
        _ => format!("field label not supported: {field}"),
    })
}

/// The selectors of a query.
pub fn selectors(query: &Query) -> Result<(LabelSelector, FieldSelector)> {
    let labels = query.get("labelSelector").map(LabelSelector::parse).transpose();
    let fields = query.get("fieldSelector").map(FieldSelector::parse).transpose();
    Ok((
        labels.map_err(|e| Failure::bad_request(e.to_string()))?.unwrap_or_else(LabelSelector::everything),
        fields.map_err(|e| Failure::bad_request(e.to_string()))?.unwrap_or_else(FieldSelector::everything),
    ))
}

impl Selection {
    /// Reads the selectors of a call.
    pub fn of(call: &Call) -> Result<Self> {
        let (labels, fields) = selectors(&call.query)?;
        let mut selection = Self { labels, fields, name: None, namespace: None, node: None };
        for requirement in selection.fields.requirements() {
            let field = requirement.field.as_str();
            if let Some(why) = unselectable(&call.resource, field) {
                return Err(Failure::bad_request(why));
            }
            if requirement.negated {
                continue;
            }
            match field {
                "metadata.name" => selection.name = Some(requirement.value.clone()),
                "metadata.namespace" => selection.namespace = Some(requirement.value.clone()),
                "spec.nodeName" if call.resource.stored == "pods" && !requirement.value.is_empty() => {
                    selection.node = Some(requirement.value.clone())
                }
                _ => {}
            }
        }
        Ok(selection)
    }

    /// Narrows it to one name.
    pub fn only(&mut self, name: &str) {
        self.name = Some(name.to_owned());
    }

    /// The part that the store can answer.
    pub fn scope(&self, call: &Call) -> Scope {
        let mut scope = call.resource.scope(call.namespace.as_deref().or(self.namespace.as_deref()));
        scope.name = self.name.as_deref().map(Into::into);
        if call.resource.stored == "pods" {
            scope.tag = self.node.as_deref().map(Into::into);
        }
        scope
    }

    /// Whether the store's answer needs no further selecting.
    pub fn is_exact(&self) -> bool {
        // Of two values for one field the store would look for the last only.
        let twice = self
            .fields
            .requirements()
            .iter()
            .enumerate()
            .any(|(i, r)| self.fields.requirements()[..i].iter().any(|before| before.field == r.field));
        !twice
            && self.labels.is_everything()
            && self.fields.requirements().iter().all(|r| {
                let exact = match r.field.as_str() {
                    "metadata.name" | "metadata.namespace" => true,
                    "spec.nodeName" => self.node.is_some(),
                    _ => false,
                };
                exact && !r.negated
            })
    }

    pub async fn matches_bytes(&self, server: &Inner, resource: &Resource, entry: &Entry) -> Result<bool> {
        self.matches(server, resource, &entry.key, entry.tag.as_deref(), &entry.value).await
    }

    /// Whether a state belongs to the selection. Bytes are decoded only if a selector needs them.
    pub async fn matches(
        &self,
        server: &Inner,
        resource: &Resource,
        key: &Key,
        tag: Option<&str>,
        bytes: &[u8],
    ) -> Result<bool> {
        if self.name.as_deref().is_some_and(|n| n != &*key.name)
            || self.namespace.as_deref().is_some_and(|n| n != &*key.namespace)
            || (resource.stored == "pods" && self.node.as_deref().is_some_and(|n| Some(n) != tag))
        {
            return Ok(false);
        }
        if self.is_exact() {
            return Ok(true);
        }
        let value = convert::shown(server, resource, storage::parse(bytes)?).await?;
        if !self.labels.matches(at(&value, &["metadata", "labels"]).unwrap_or(&Value::Null)) {
            return Ok(false);
        }
        Ok(self.fields.requirements().iter().all(|r| (field(&value, &r.field) == r.value) != r.negated))
    }
}

/// A selectable field as text.
fn field(value: &Value, path: &str) -> String {
    match path {
        "source" => {
            let source = object::text(value, &["source", "component"]);
            return if source.is_empty() { object::text(value, &["reportingComponent"]) } else { source }
                .to_owned();
        }
        "status.successful" => return object::int(value, &["status", "succeeded"]).to_string(),
        "status.replicas" => return object::int(value, &["status", "replicas"]).to_string(),
        _ => {}
    }
    let parts: Vec<&str> = path.split('.').collect();
    match at(value, &parts) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(Value::Number(number)) => number.to_string(),
        _ if matches!(path, "spec.unschedulable" | "spec.hostNetwork") => "false".to_owned(),
        _ => String::new(),
    }
}
