//! One event, with the fields of `audit.k8s.io/v1` `Event` in Kubernetes' order. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::policy::Level;
use crate::config::User;
use crate::object::text;
use crate::request::Asked;

/// The annotation of an event whose objects were left out for its size.
const TRUNCATED: &str = "audit.k8s.io/truncated";
/// What is written of a client's name for itself, bytes.
const AGENT: usize = 1024;

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Stage {
    /// It has come in.
    RequestReceived,
    /// Its answer begins, and goes on for a while: watches, logs, sessions.
    ResponseStarted,
    /// All of its answer has been given.
    ResponseComplete,
    /// The server has failed at it.
    Panic,
}

impl Stage {
    /// The stage of this name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "RequestReceived" => Self::RequestReceived,
            "ResponseStarted" => Self::ResponseStarted,
            "ResponseComplete" => Self::ResponseComplete,
            "Panic" => Self::Panic,
            _ => return None,
        })
    }
}

/// `authentication.k8s.io/v1` `UserInfo`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Who {
    #[serde(skip_serializing_if = "str::is_empty")]
    username: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: BTreeMap<String, Vec<String>>,
}

impl From<&User> for Who {
    fn from(user: &User) -> Self {
        Self {
            username: user.name.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user.extra.clone(),
        }
    }
}

/// What a request is about.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    #[serde(skip_serializing_if = "str::is_empty")]
    resource: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    api_group: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    api_version: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    resource_version: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    subresource: String,
}

impl ObjectRef {
    /// What the path of a request names.
    pub fn of(asked: &Asked) -> Self {
        let own = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            resource: asked.resource.clone(),
            namespace: own(&asked.namespace),
            name: own(&asked.name),
            api_group: asked.group.clone(),
            api_version: asked.version.clone(),
            subresource: own(&asked.sub),
            ..Self::default()
        }
    }

    /// Adds what the path left open and the object in the body says.
    pub fn complete(&mut self, object: &Value) {
        let own = |slot: &mut String, field: &str| {
            if slot.is_empty() {
                text(object, &["metadata", field]).clone_into(slot);
            }
        };
        own(&mut self.namespace, "namespace");
        own(&mut self.name, "name");
        own(&mut self.uid, "uid");
        own(&mut self.resource_version, "resourceVersion");
    }
}

/// `metav1.Status` of an answer; an answer that is an object has its code alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    pub metadata: Empty,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub status: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub message: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    pub code: u16,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Empty {}

impl Outcome {
    /// The outcome with this code, and with what the `Status` in the body says.
    pub fn of(code: u16, body: Option<&Value>) -> Self {
        let Some(status) = body.filter(|b| text(b, &["kind"]) == "Status") else {
            return Self { code, ..Self::default() };
        };
        let own = |field: &str| text(status, &[field]).to_owned();
        Self {
            metadata: Empty {},
            status: own("status"),
            message: own("message"),
            reason: own("reason"),
            details: status.get("details").cloned(),
            code,
        }
    }
}

/// One event as it stands; it grows from stage to stage.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    kind: &'static str,
    api_version: &'static str,
    pub level: Level,
    #[serde(rename = "auditID")]
    pub id: String,
    pub stage: Stage,
    #[serde(rename = "requestURI")]
    pub uri: String,
    pub verb: &'static str,
    pub user: Who,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impersonated_user: Option<Who>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<IpAddr>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub user_agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_ref: Option<ObjectRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_status: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_object: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_object: Option<Box<RawValue>>,
    #[serde(serialize_with = "micro")]
    pub request_received_timestamp: Timestamp,
    #[serde(serialize_with = "micro")]
    pub stage_timestamp: Timestamp,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A time as `metav1.MicroTime`.
fn micro<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string())
}

impl Event {
    /// The event of a request that has just come in.
    pub fn new(level: Level, id: String, verb: &'static str, now: Timestamp) -> Self {
        Self {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level,
            id,
            stage: Stage::RequestReceived,
            uri: String::new(),
            verb,
            user: Who::default(),
            impersonated_user: None,
            sources: Vec::new(),
            user_agent: String::new(),
            object_ref: None,
            response_status: None,
            request_object: None,
            response_object: None,
            request_received_timestamp: now,
            stage_timestamp: now,
            annotations: BTreeMap::new(),
        }
    }

    /// The line of the log. An event that is longer than `most` is written without its objects, and says so.
    pub fn line(&mut self, most: usize) -> Vec<u8> {
        let mut line = self.encoded();
        if most > 0 && line.len() > most {
            let (request, response) = (self.request_object.take(), self.response_object.take());
            self.annotations.insert(TRUNCATED.to_owned(), "true".to_owned());
            line = self.encoded();
            self.annotations.remove(TRUNCATED);
            (self.request_object, self.response_object) = (request, response);
        }
        line
    }

    fn encoded(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// What is written of a client's name for itself.
pub fn agent(text: &str) -> String {
    if text.len() <= AGENT {
        return text.to_owned();
    }
    let end = (0..=AGENT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}...TRUNCATED", &text[..end])
}

/// An object as an event holds it: on one line, without managed fields if they are not wanted.
pub fn object(json: &[u8], without_managed_fields: bool) -> Option<Box<RawValue>> {
    if !without_managed_fields && !json.iter().any(|b| matches!(b, b'\n' | b'\r')) {
        return RawValue::from_string(std::str::from_utf8(json).ok()?.to_owned()).ok();
    }
    of_value(serde_json::from_slice(json).ok()?, without_managed_fields)
}

/// As [`object`], of what has been read already.
pub fn of_value(mut value: Value, without_managed_fields: bool) -> Option<Box<RawValue>> {
    if without_managed_fields {
        strip(&mut value);
        for (list, place) in [("items", None), ("rows", Some("object"))] {
            for item in value.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                match place {
                    Some(field) => item.get_mut(field).into_iter().for_each(strip),
                    None => strip(item),
                }
            }
        }
    }
    serde_json::value::to_raw_value(&value).ok()
}

fn strip(object: &mut Value) {
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
}

/// The outcome of a request at which the server itself has failed.
pub fn panicked() -> Outcome {
    let status = json!({"kind": "Status", "status": "Failure", "reason": "InternalError",
        "message": "APIServer panic'd: the log of the server says where"});
    Outcome::of(500, Some(&status))
}

/// The outcome of a request whose client has gone before it was answered.
pub fn left() -> Outcome {
    let status = json!({"kind": "Status", "status": "Success", "message": "Connection closed early"});
    Outcome::of(200, Some(&status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_is_too_large_says_that_its_objects_are_left_out() {
        let now = "2026-01-02T03:04:05.000067Z".parse().unwrap();
        let mut event = Event::new(Level::Request, "id".into(), "create", now);
        event.request_object = object(b"{\n\"a\": [1,\r\n2]}", false);
        let whole = String::from_utf8(event.line(0)).unwrap();
        assert_eq!(whole.matches('\n').count(), 1, "{whole}");
        assert!(whole.contains(r#""requestObject":{"a":[1,2]}"#), "{whole}");
        assert!(whole.contains(r#""stageTimestamp":"2026-01-02T03:04:05.000067Z""#), "{whole}");
        let short = String::from_utf8(event.line(whole.len() - 2)).unwrap();
        assert!(
            !short.contains("requestObject") && short.contains(r#""audit.k8s.io/truncated":"true""#),
            "{short}"
        );
        assert_eq!(String::from_utf8(event.line(0)).unwrap(), whole, "the next stage has them again");
    }

    #[test]
    fn managed_fields_are_left_out_of_objects_lists_and_tables() {
        let meta = json!({"metadata": {"name": "a", "managedFields": [1]}});
        let list = json!({"metadata": {}, "items": [meta]});
        let table = json!({"rows": [{"cells": [], "object": meta}]});
        for value in [meta, list, table] {
            let text = value.to_string();
            assert!(object(text.as_bytes(), false).unwrap().get().contains("managedFields"));
            assert!(!object(text.as_bytes(), true).unwrap().get().contains("managedFields"));
        }
    }

    #[test]
    fn a_long_name_of_a_client_is_cut_between_characters() {
        let long = "é".repeat(600);
        let cut = agent(&long);
        assert!(cut.ends_with("...TRUNCATED") && cut.len() <= AGENT + 12);
        assert_eq!(agent("kubectl/v1"), "kubectl/v1");
    }
}
