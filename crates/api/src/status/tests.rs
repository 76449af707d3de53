//! The words and the JSON form of statuses.

use serde_json::json;

use super::*;
use crate::validate::FieldError;

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
    let sparse =
        Status::from_value(&json!({"kind": "Status", "metadata": {"resourceVersion": "3"}, "message": "m"}));
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
