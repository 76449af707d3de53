//! `metav1.Status`: what every failed request answers, with the reasons, codes and words that clients of Kubernetes know.
//!
//! Clients match on reason and code, people and tests read the message, so all three are made in one place. This
//! module must not know HTTP beyond the status code.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::validate::FieldError;

/// The answer to a request that returns no object: almost always a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[serde(rename_all = "camelCase")]
pub struct Status {
    #[serde(default = "kind")]
    kind: String,
    #[serde(default = "api_version")]
    api_version: String,
    #[serde(default)]
    metadata: Metadata,
    /// `Success` or `Failure`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// For programs: `NotFound`, `Conflict`...
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    /// The HTTP status code.
    #[serde(default)]
    pub code: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Metadata {}

fn kind() -> String {
    "Status".into()
}

fn api_version() -> String {
    "v1".into()
}

/// The object a [`Status`] is about and the single causes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Details {
    /// Name of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group of the object, empty for the core group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The resource (plural), or the kind where that is what Kubernetes gives.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Uid of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// What is wrong, one by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again, in seconds; 0 says nothing.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// One cause of a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// For programs: `FieldValueRequired`, `FieldManagerConflict`, `ExitCode`...
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The field, as a path: `spec.containers[0].image`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// A resource or kind with its group as Kubernetes prints it: `pods`, `deployments.apps`.
pub fn qualified(group: &str, name: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// Go's `%q`, which Kubernetes' messages use for names.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl Status {
    /// A failure with these words and nothing else.
    pub fn failure(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            kind: kind(),
            api_version: api_version(),
            metadata: Metadata {},
            status: "Failure".into(),
            message: message.into(),
            reason: reason.into(),
            details: None,
            code,
        }
    }

    /// The answer to a deletion that leaves no object to show, and to a command that ended well.
    pub fn success() -> Self {
        let mut status = Self::failure(200, "", "");
        status.status = "Success".into();
        status
    }

    /// Success that names the deleted object, as `DELETE` answers.
    pub fn deleted(group: &str, resource: &str, name: &str, uid: &str) -> Self {
        let mut status = Self::success().about(group, resource, name);
        if let Some(details) = &mut status.details {
            details.uid = uid.into();
        }
        status
    }

    /// Says what the status is about.
    pub fn about(mut self, group: &str, resource: &str, name: &str) -> Self {
        let details = self.details.get_or_insert_default();
        details.group = group.into();
        details.kind = resource.into();
        details.name = name.into();
        self
    }

    /// Adds a cause.
    pub fn cause(mut self, reason: &str, message: impl Into<String>, field: &str) -> Self {
        let cause = Cause { reason: reason.into(), message: message.into(), field: field.into() };
        self.details.get_or_insert_default().causes.push(cause);
        self
    }

    /// Says when to try again.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    /// Whether it reports success.
    pub fn is_success(&self) -> bool {
        self.status == "Success"
    }

    /// `pods "x" not found`.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} not found", qualified(group, resource), quote(name));
        Self::failure(404, "NotFound", message).about(group, resource, name)
    }

    /// The path names no resource that this server has.
    pub fn resource_not_found() -> Self {
        let mut status = Self::failure(404, "NotFound", "the server could not find the requested resource");
        status.details = Some(Details::default());
        status
    }

    /// `pods "x" already exists`.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} already exists", qualified(group, resource), quote(name));
        Self::failure(409, "AlreadyExists", message).about(group, resource, name)
    }

    /// No free name was found for `generateName`.
    pub fn generate_name_conflict(group: &str, resource: &str, name: &str) -> Self {
        let message = format!(
            "{} {} already exists, the server was not able to generate a unique name for the object",
            qualified(group, resource),
            quote(name)
        );
        Self::failure(409, "AlreadyExists", message).about(group, resource, name).retry_after(1)
    }

    /// `Operation cannot be fulfilled on pods "x": <why>`.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} {}: {why}", qualified(group, resource), quote(name));
        Self::failure(409, "Conflict", message).about(group, resource, name)
    }

    /// The conflict of an update whose `resourceVersion` is not the current one.
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, resource, name, why)
    }

    /// A precondition on the uid failed.
    pub fn uid_conflict(group: &str, resource: &str, name: &str, wanted: &str, found: &str) -> Self {
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}");
        Self::conflict(group, resource, name, &why)
    }

    /// Server-side apply met fields that others own. `causes` are (manager as text, field path).
    pub fn apply_conflict(message: impl Into<String>, causes: Vec<Cause>) -> Self {
        let mut status = Self::failure(409, "Conflict", message);
        status.details = Some(Details { causes, ..Details::default() });
        status
    }

    /// `Deployment.apps "x" is invalid: spec.selector: Required value`; several errors stand in brackets.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let mut texts: Vec<String> = Vec::with_capacity(errors.len());
        for error in errors {
            let text = error.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let subject = format!("{} {} is invalid", qualified(group, kind), quote(name));
        let message = match texts.as_slice() {
            [] => subject,
            [one] => format!("{subject}: {one}"),
            many => format!("{subject}: [{}]", many.join(", ")),
        };
        let mut status = Self::failure(422, "Invalid", message).about(group, kind, name);
        if let Some(details) = &mut status.details {
            details.causes = errors.iter().map(FieldError::cause).collect();
        }
        status
    }

    /// The request itself makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", message)
    }

    /// `pods "x" is forbidden: <why>`.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let subject = qualified(group, resource);
        let message = match (resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{subject} is forbidden: {why}"),
            (false, false) => format!("{subject} {} is forbidden: {why}", quote(name)),
        };
        Self::failure(403, "Forbidden", message).about(group, resource, name)
    }

    /// Nobody could say who asks.
    pub fn unauthorized() -> Self {
        Self::failure(401, "Unauthorized", "Unauthorized")
    }

    /// `update is not supported on resources of kind "pods"`.
    pub fn method_not_supported(group: &str, resource: &str, action: &str) -> Self {
        let message =
            format!("{action} is not supported on resources of kind {}", quote(&qualified(group, resource)));
        Self::failure(405, "MethodNotAllowed", message).about(group, resource, "")
    }

    /// The path exists, the method does not.
    pub fn method_not_allowed() -> Self {
        Self::failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
            .about("", "", "")
    }

    /// The body has a `Content-Type` that is not understood here.
    pub fn unsupported_media_type(supported: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            supported.join(", ")
        );
        Self::failure(415, "UnsupportedMediaType", message)
    }

    /// Nothing that the client accepts can be produced.
    pub fn not_acceptable(supported: &[&str]) -> Self {
        let message =
            format!("only the following media types are accepted: {}", supported.join(", "));
        Self::failure(406, "NotAcceptable", message)
    }

    /// The revision or the continue token is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, "Expired", message)
    }

    /// A watch asked for a revision that is not kept any more.
    pub fn too_old_resource_version(asked: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {asked} ({oldest})"))
    }

    /// `Timeout: <message>`.
    pub fn timeout(message: &str, retry_after: u32) -> Self {
        Self::failure(504, "Timeout", format!("Timeout: {message}")).retry_after(retry_after)
    }

    /// The revision that was asked for has not been reached yet.
    pub fn too_large_resource_version(asked: u64, current: u64) -> Self {
        Self::timeout(&format!("Too large resource version: {asked}, current: {current}"), 1).cause(
            "ResourceVersionTooLarge",
            "Too large resource version",
            "",
        )
    }

    /// The server could not do it now.
    pub fn server_timeout(group: &str, resource: &str, operation: &str, retry_after: u32) -> Self {
        let message = format!(
            "The {operation} operation against {} could not be completed at this time, please try again.",
            qualified(group, resource)
        );
        Self::failure(500, "ServerTimeout", message).about(group, resource, operation).retry_after(retry_after)
    }

    /// The client must slow down.
    pub fn too_many_requests(message: impl Into<String>, retry_after: u32) -> Self {
        let mut status = Self::failure(429, "TooManyRequests", message);
        status.details = Some(Details { retry_after_seconds: retry_after, ..Details::default() });
        status
    }

    /// An eviction that a disruption budget does not allow now.
    pub fn disruption_budget(budget: &str, why: &str) -> Self {
        Self::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 0).cause(
            "DisruptionBudget",
            format!("The disruption budget {budget} {why}"),
            "",
        )
    }

    /// `Internal error occurred: <message>`.
    pub fn internal(message: impl AsRef<str>) -> Self {
        let message = message.as_ref();
        Self::failure(500, "InternalError", format!("Internal error occurred: {message}")).cause("", message, "")
    }

    /// `Request entity too large: <message>`.
    pub fn too_large(message: &str) -> Self {
        Self::failure(413, "RequestEntityTooLarge", format!("Request entity too large: {message}"))
    }

    /// Nothing here can answer now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, "ServiceUnavailable", message)
    }

    /// How `exec` reports a command's exit code other than 0.
    pub fn non_zero_exit(code: i32) -> Self {
        let message = format!("command terminated with non-zero exit code: exit status {code}");
        let mut status = Self::failure(0, "NonZeroExitCode", message).cause("ExitCode", code.to_string(), "");
        status.code = 0;
        status
    }

    /// The exit code inside a status that [`Status::non_zero_exit`] made.
    pub fn exit_code(&self) -> Option<i32> {
        if self.is_success() {
            return Some(0);
        }
        let causes = &self.details.as_ref()?.causes;
        causes.iter().find(|cause| cause.reason == "ExitCode")?.message.parse().ok()
    }

    /// As an object.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Reads a status out of an answer; `None` when the answer is something else.
    pub fn from_value(value: &Value) -> Option<Self> {
        if value["kind"] != "Status" {
            return None;
        }
        Self::deserialize(value).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_are_those_of_kubernetes() {
        for (status, code, message) in [
            (Status::not_found("", "pods", "x"), 404, r#"pods "x" not found"#),
            (Status::already_exists("apps", "deployments", "x"), 409, r#"deployments.apps "x" already exists"#),
            (
                Status::modified("apps", "deployments", "x"),
                409,
                r#"Operation cannot be fulfilled on deployments.apps "x": the object has been modified; please apply your changes to the latest version and try again"#,
            ),
            (Status::forbidden("", "pods", "", "no"), 403, "pods is forbidden: no"),
            (Status::forbidden("", "", "", "no"), 403, "forbidden: no"),
            (
                Status::method_not_supported("apps", "deployments", "watch"),
                405,
                r#"watch is not supported on resources of kind "deployments.apps""#,
            ),
            (Status::timeout("slow", 1), 504, "Timeout: slow"),
            (Status::too_old_resource_version(3, 9), 410, "too old resource version: 3 (9)"),
            (Status::internal("x"), 500, "Internal error occurred: x"),
            (Status::too_large("limit is 3145728"), 413, "Request entity too large: limit is 3145728"),
        ] {
            assert_eq!((status.code, status.message.as_str()), (code, message));
        }
    }

    #[test]
    fn invalid_joins_its_errors_once_each() {
        let required = FieldError::required("spec.selector", "");
        let one = Status::invalid("apps", "Deployment", "x", std::slice::from_ref(&required));
        assert_eq!(one.message, r#"Deployment.apps "x" is invalid: spec.selector: Required value"#);
        let other = FieldError::invalid("spec.replicas", -1, "must be greater than or equal to 0");
        let many = Status::invalid("apps", "Deployment", "x", &[required.clone(), required, other]);
        assert_eq!(
            many.message,
            r#"Deployment.apps "x" is invalid: [spec.selector: Required value, spec.replicas: Invalid value: -1: must be greater than or equal to 0]"#
        );
        let causes = many.details.map(|d| d.causes).unwrap_or_default();
        assert_eq!(causes.len(), 3);
        assert_eq!(causes[0].reason, "FieldValueRequired");
    }

    #[test]
    fn value_round_trip() {
        let status = Status::not_found("", "pods", "x");
        let value = status.to_value();
        assert_eq!(
            value,
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "NotFound",
                "message": "pods \"x\" not found", "details": {"name": "x", "kind": "pods"}, "code": 404})
        );
        assert_eq!(Status::from_value(&value), Some(status));
        assert_eq!(Status::from_value(&json!({"kind": "Pod"})), None);
        let sparse = Status::from_value(&json!({"kind": "Status", "metadata": {"resourceVersion": "3"}, "message": "m"}));
        assert_eq!(sparse.map(|s| s.message), Some("m".to_owned()));
    }

    #[test]
    fn exit_codes() {
        assert_eq!(Status::success().exit_code(), Some(0));
        assert_eq!(Status::non_zero_exit(137).exit_code(), Some(137));
        assert_eq!(Status::internal("x").exit_code(), None);
    }

    #[test]
    fn quoting() {
        assert_eq!(quote("a\"b\\c\n\u{1}é"), "\"a\\\"b\\\\c\\n\\x01é\"");
    }
}
