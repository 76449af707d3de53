//! One constructor for every usual reason, worded as Kubernetes words it.

use super::{Cause, Details, Status, qualified, quote};
use crate::validate::FieldError;

impl Status {
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
        Self::failure(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
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
        let message = format!("only the following media types are accepted: {}", supported.join(", "));
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
        Self::failure(500, "ServerTimeout", message)
            .about(group, resource, operation)
            .retry_after(retry_after)
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
        Self::failure(500, "InternalError", format!("Internal error occurred: {message}"))
            .cause("", message, "")
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
}
