//! Webhooks of admission.

use super::*;

const VERSION: &str = "admissionregistration.k8s.io/v1";

fn hook() -> Value {
    json!({"name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://a.b/c"},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]})
}

fn said(kind: &str, hooks: &[Value]) -> Vec<String> {
    created(VERSION, kind, json!({"webhooks": hooks}))
}

#[test]
fn a_webhook_is_complete_and_each_of_its_fields_is_checked() {
    assert_eq!(said("ValidatingWebhookConfiguration", &[hook()]), [""; 0]);
    for (pointer, value, expected) in [
        (
            "/name",
            json!("a.b"),
            "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots",
        ),
        ("/name", json!(""), "webhooks[0].name: Required value"),
        (
            "/sideEffects",
            Value::Null,
            "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
        ),
        (
            "/sideEffects",
            json!("Some"),
            "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
        ),
        (
            "/admissionReviewVersions",
            json!([]),
            "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
        ),
        (
            "/admissionReviewVersions",
            json!(["v1", "v1"]),
            "webhooks[0].admissionReviewVersions[1]: Invalid value: \"v1\": duplicate version",
        ),
        (
            "/timeoutSeconds",
            json!(31),
            "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
        ),
        (
            "/failurePolicy",
            json!("Perhaps"),
            "webhooks[0].failurePolicy: Unsupported value: \"Perhaps\": supported values: \"Fail\", \"Ignore\"",
        ),
        (
            "/reinvocationPolicy",
            json!("Always"),
            "webhooks[0].reinvocationPolicy: Unsupported value: \"Always\": supported values: \"IfNeeded\", \"Never\"",
        ),
        (
            "/clientConfig",
            json!({}),
            "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
        ),
        (
            "/clientConfig/url",
            json!("http://a"),
            "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
        ),
        (
            "/clientConfig/url",
            json!("https://a?b=c"),
            "webhooks[0].clientConfig.url: Invalid value: \"b=c\": query parameters are not permitted in the URL",
        ),
        (
            "/rules/0/operations",
            json!(["READ"]),
            "webhooks[0].rules[0].operations[0]: Unsupported value: \"READ\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\"",
        ),
        (
            "/rules/0/resources",
            json!(["*/*", "pods"]),
            "webhooks[0].rules[0].resources: Invalid value: [\"*/*\",\"pods\"]: if '*/*' is present, must not specify other resources",
        ),
        (
            "/rules/0/resources",
            json!(["pods/*", "pods/exec"]),
            "webhooks[0].rules[0].resources[1]: Invalid value: \"pods/exec\": if 'pods/*' is present, must not specify pods/exec",
        ),
        (
            "/rules/0/scope",
            json!("Planet"),
            "webhooks[0].rules[0].scope: Unsupported value: \"Planet\": supported values: \"*\", \"Cluster\", \"Namespaced\"",
        ),
        (
            "/matchConditions",
            json!([{"name": "a", "expression": ""}]),
            "webhooks[0].matchConditions[0].expression: Required value",
        ),
        (
            "/matchConditions",
            json!([{"name": "a", "expression": "1"}]),
            "webhooks[0].matchConditions[0].expression: Invalid value: \"1\": must evaluate to bool but got int",
        ),
    ] {
        let kind = if pointer == "/reinvocationPolicy" { "Mutating" } else { "Validating" };
        let said = said(&format!("{kind}WebhookConfiguration"), &[with(hook(), pointer, value.clone())]);
        assert_eq!(said, [expected], "{pointer} {value}");
    }
}

#[test]
fn names_of_webhooks_are_unique() {
    assert_eq!(
        said("MutatingWebhookConfiguration", &[hook(), hook()]),
        ["webhooks[1].name: Duplicate value: \"a.example.com\""]
    );
}

#[test]
fn a_path_of_a_service_has_plain_segments() {
    for (path, expected) in [
        ("/a/b/", vec![]),
        ("/", vec![]),
        ("//", vec!["segment[0] may not be empty"]),
        ("/a//b", vec!["segment[1] may not be empty"]),
        ("x", vec!["must start with a '/'", "segment[0] may not be empty"]),
    ] {
        let service = json!({"service": {"name": "s", "namespace": "n", "path": path}});
        let field = "webhooks[0].clientConfig.service.path: Invalid value";
        let expected: Vec<String> =
            expected.iter().map(|why| format!("{field}: \"{path}\": {why}")).collect();
        assert_eq!(said("MutatingWebhookConfiguration", &[with(hook(), "/clientConfig", service)]), expected);
    }
}
