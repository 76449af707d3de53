//! Everything that can go wrong with a request, worded as Kubernetes words it.
//!
//! A [`Failure`] is an answer, not a bug report: clients decide by `code` and `reason`, people read `message`.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::resources::Resource;

/// A refused or failed request.
#[derive(Debug, Clone)]
pub struct Failure {
    /// HTTP status code.
    pub code: u16,
    /// `metav1.StatusReason`.
    pub reason: Cow<'static, str>,
    /// For people.
    pub message: String,
    /// `metav1.StatusDetails`.
    pub details: Option<Box<Value>>,
}

impl From<dunlin_streams::Refusal> for Failure {
    fn from(refusal: dunlin_streams::Refusal) -> Self {
        Self { code: refusal.code, reason: refusal.reason, message: refusal.message, details: None }
    }
}

impl From<Failure> for dunlin_streams::Refusal {
    fn from(failure: Failure) -> Self {
        Self::new(failure.code, failure.reason, failure.message)
    }
}

/// What handlers give back.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// Any failure.
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), message: message.into(), details: None }
    }

    fn of(mut self, resource: &Resource, name: &str) -> Self {
        self.details =
            Some(Box::new(json!({"name": name, "group": resource.group, "kind": resource.plural})));
        self
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(500, "InternalError", format!("Internal error occurred: {message}"))
    }

    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// No such path.
    pub fn no_path() -> Self {
        let mut failure = Self::new(404, "NotFound", "the server could not find the requested resource");
        failure.details = Some(Box::new(json!({})));
        failure
    }

    /// No such page: nothing that clients of the API would understand, so there is no `Status`.
    pub fn no_page() -> Self {
        Self::new(404, "", "404 page not found\n")
    }

    /// Whether the answer is a page of text.
    pub fn is_page(&self) -> bool {
        self.code == 404 && self.reason.is_empty()
    }

    pub fn method_not_allowed() -> Self {
        let text = "the server does not allow this method on the requested resource";
        let mut failure = Self::new(405, "MethodNotAllowed", text);
        failure.details = Some(Box::new(json!({})));
        failure
    }

    /// The options of a request, such as `CreateOptions`, say what cannot be.
    pub fn options(kind: &str, causes: &[Cause]) -> Self {
        Self::refused("meta.k8s.io", kind, "", causes)
    }

    /// A patch whose outcome cannot be used.
    pub fn bad_patch(patch: &str, why: &str) -> Self {
        let message = format!("Invalid value: {patch:?}: {why}");
        Self::refused("", "", "", &[Cause::new("FieldValueInvalid", "patch", message)])
    }

    pub fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} {name:?} not found", resource.qualified())).of(resource, name)
    }

    /// As [`Failure::not_found`], for what has another name in messages than in paths.
    pub fn not_found_as(what: &str, name: &str) -> Self {
        let mut failure = Self::new(404, "NotFound", format!("{what} {name:?} not found"));
        failure.details = Some(Box::new(json!({"name": name, "kind": what})));
        failure
    }

    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} {name:?} already exists", resource.qualified()))
            .of(resource, name)
    }

    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let text = format!("Operation cannot be fulfilled on {} {name:?}: {why}", resource.qualified());
        Self::new(409, "Conflict", text).of(resource, name)
    }

    /// A deletion is about another object than the one that is there. Kubernetes names the kind here.
    pub fn precondition(resource: &Resource, name: &str, why: &str) -> Self {
        let subject = match &*resource.group {
            "" => resource.kind.to_string(),
            group => format!("{}.{group}", resource.kind),
        };
        let mut failure =
            Self::new(409, "Conflict", format!("Operation cannot be fulfilled on {subject} {name:?}: {why}"));
        let details = json!({"name": name, "group": resource.group, "kind": resource.kind});
        failure.details = Some(Box::new(details));
        failure
    }

    /// The object changed since the client read it.
    pub fn modified(resource: &Resource, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// A refusal by a rule of admission.
    pub fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let subject = match name {
            "" => format!("{} is", resource.qualified()),
            name => format!("{} {name:?} is", resource.qualified()),
        };
        Self::new(403, "Forbidden", format!("{subject} forbidden: {why}")).of(resource, name)
    }

    /// The object breaks rules; each cause is `(reason, field, message)`.
    pub fn invalid(resource: &Resource, name: &str, causes: &[Cause]) -> Self {
        // Events of either group are judged as those of the core.
        let group = if resource.group == "events.k8s.io" { "" } else { &resource.group };
        Self::refused(group, &resource.kind, name, causes)
    }

    /// As [`Failure::invalid`], for a kind that is no resource.
    pub fn refused(group: &str, kind: &str, name: &str, causes: &[Cause]) -> Self {
        let mut texts: Vec<String> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        // What two rules find alike is said once, though it stays two causes.
        let mut seen = std::collections::HashSet::new();
        texts.retain(|text| seen.insert(text.clone()));
        let text = if texts.len() == 1 { texts.remove(0) } else { format!("[{}]", texts.join(", ")) };
        let subject = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut failure = Self::new(422, "Invalid", format!("{subject} {name:?} is invalid: {text}"));
        failure.details = Some(Box::new(json!({
            "name": name,
            "group": group,
            "kind": kind,
            "causes": causes.iter().map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field}))
                .collect::<Vec<_>>(),
        })));
        failure
    }

    /// The wanted revision is no longer kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// The data directory's disk is full. Kubernetes has no reason of its own for it; the HTTP code's name says it best,
    /// and clients that only know the code see that the server is at fault and that trying again may help.
    pub fn insufficient_storage(message: impl std::fmt::Display) -> Self {
        Self::new(507, "InsufficientStorage", message.to_string())
    }

    pub fn too_many(message: impl Into<String>, retry_seconds: u32) -> Self {
        let mut failure = Self::new(429, "TooManyRequests", message);
        failure.details = Some(Box::new(json!({"retryAfterSeconds": retry_seconds})));
        failure
    }

    /// The body: a `metav1.Status`.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            let mut details = (**details).clone();
            if let Some(fields) = details.as_object_mut() {
                fields.retain(|_, value| *value != "" && !value.is_null());
            }
            status["details"] = details;
        }
        status
    }
}

/// One broken rule.
#[derive(Debug, Clone)]
pub struct Cause {
    pub reason: String,
    pub field: String,
    pub message: String,
}

impl Cause {
    pub fn new(reason: &str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), field: field.into(), message: message.into() }
    }

    /// `spec.x: Invalid value: v: why`.
    pub fn value(field: &str, value: &Value, why: &str) -> Self {
        Self::new("FieldValueInvalid", field, format!("Invalid value: {value}: {why}"))
    }
}

/// A success of something that was made: it says its code.
pub fn created() -> Value {
    let mut status = success(None);
    status["code"] = json!(201);
    status
}

/// A success without an object, as a plain `metav1.Status`.
pub fn success(details: Option<Value>) -> Value {
    let mut status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    if let Some(details) = details {
        status["details"] = details;
    }
    status
}
