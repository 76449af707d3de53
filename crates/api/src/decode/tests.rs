//! What decoding accepts, drops and refuses, in Kubernetes' words.

use serde_json::json;

use super::{decode_owned as decode, *};

fn deployment() -> GroupVersionKind {
    GroupVersionKind::new("apps", "v1", "Deployment")
}

fn pod() -> GroupVersionKind {
    GroupVersionKind::new("", "v1", "Pod")
}

#[test]
fn wrong_types_are_named_as_go_names_them() {
    let template = |containers| json!({"spec": {"template": {"spec": {"containers": containers}}}});
    for (value, message) in [
        (
            json!({"spec": {"replicas": "3"}}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"replicas": 1.5}}),
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"replicas": 3000000000u64}}),
            "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"metadata": {"labels": {"a": 1}}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            template(json!({})),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            template(json!([{"env": [{"value": true}]}])),
            "json: cannot unmarshal bool into Go struct field EnvVar.spec.template.spec.containers.env.value of type string",
        ),
        (
            template(json!([{"resources": {"limits": {"cpu": "lots"}}}])),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            json!({"metadata": {"creationTimestamp": "yesterday"}}),
            r#"parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006""#,
        ),
        (json!([]), "json: cannot unmarshal array into Go value of type v1.Deployment"),
    ] {
        assert_eq!(decode(&deployment(), value.clone()).expect_err(&value.to_string()).to_string(), message);
    }
}

#[test]
fn unknown_fields_are_dropped_and_named() {
    let value =
        json!({"bar": 1, "spec": {"containers": [{"name": "a", "imagee": "x"}], "nodeSelector": {"x": "y"}}});
    let decoded = decode(&pod(), value).expect("decodes");
    assert_eq!(decoded.unknown, [r#"unknown field "bar""#, r#"unknown field "spec.containers[0].imagee""#]);
    assert_eq!(decoded.value["spec"]["containers"], json!([{"name": "a", "resources": {}}]));
    assert_eq!(decoded.value["spec"]["nodeSelector"], json!({"x": "y"}));
    assert_eq!(decoded.value.get("bar"), None);
    assert_eq!(
        decoded.strict().expect_err("strict").to_string(),
        r#"strict decoding error: unknown field "bar", unknown field "spec.containers[0].imagee""#
    );
}

#[test]
fn duplicates_are_found_in_the_text() {
    let text = br#"{"spec": {"replicas": 1, "replicas": 2, "template": {"spec": {"containers":
        [{}, {"name": "a", "name": "b", "name": "c"}]}}}, "foo": {}}"#;
    let decoded = decode_slice(&deployment(), text).expect("decodes");
    assert_eq!(decoded.value["spec"]["replicas"], 2);
    assert_eq!(
        decoded.strict().expect_err("strict").to_string(),
        "strict decoding error: unknown field \"foo\", duplicate field \"spec.replicas\", \
         duplicate field \"spec.template.spec.containers[1].name\""
    );
}

#[test]
fn nulls_vanish_or_become_zero() {
    let value = json!({"metadata": {"creationTimestamp": null, "labels": {"a": null}}, "status": null,
        "spec": {"containers": [null], "nodeSelector": null}});
    let decoded = decode(&pod(), value).expect("decodes");
    let containers = json!([{"name": "", "resources": {}}]);
    assert_eq!(
        decoded.value,
        json!({"metadata": {"labels": {"a": ""}}, "spec": {"containers": containers}, "status": {}})
    );
}

#[test]
fn zero_values_are_written_as_go_writes_them() {
    let role = GroupVersionKind::new("rbac.authorization.k8s.io", "v1", "Role");
    let decoded = decode(&role, json!({"metadata": {"labels": {}, "generateName": "", "finalizers": []}}));
    assert_eq!(decoded.expect("decodes").value, json!({"metadata": {}, "rules": null}));
    let value = json!({"spec": {"replicas": 0, "paused": false, "minReadySeconds": 0}});
    let spec = decode(&deployment(), value).expect("decodes").value["spec"].take();
    let template = json!({"metadata": {}, "spec": {"containers": null}});
    assert_eq!(spec, json!({"replicas": 0, "selector": null, "strategy": {}, "template": template}));
}

#[test]
fn special_types_are_read() {
    let crd = GroupVersionKind::new("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let schema = json!({"type": "object", "default": {"any": [1, null]}, "additionalProperties": true,
        "items": {"type": "string", "x-kubernetes-list-type": "set"}});
    let value = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": schema}}]}});
    let decoded = decode(&crd, value.clone()).expect("decodes");
    let at = "/spec/versions/0/schema";
    assert_eq!((decoded.value.pointer(at), decoded.unknown.len()), (value.pointer(at), 0));

    let service = GroupVersionKind::new("", "v1", "Service");
    let ports = json!([{"port": 1, "targetPort": "http"}, {"port": 2, "targetPort": 80}]);
    let read = decode(&service, json!({"spec": {"ports": ports}})).expect("decodes").value;
    assert_eq!(read["spec"]["ports"], ports);
    let wrong = decode(&service, json!({"spec": {"ports": [{"targetPort": {}}]}}));
    let message = wrong.expect_err("wrong").to_string();
    assert_eq!(
        message,
        "json: cannot unmarshal object into Go struct field ServicePort.spec.ports.targetPort of type int32"
    );

    let secret = GroupVersionKind::new("", "v1", "Secret");
    assert!(decode(&secret, json!({"data": {"a": "aGVsbG8="}})).is_ok());
    let message = decode(&secret, json!({"data": {"a": "a*"}})).expect_err("wrong").to_string();
    assert_eq!(message, "illegal base64 data at input byte 1");

    let limits = json!({"spec": {"containers": [{"resources": {"limits": {"cpu": 1, "memory": "1.5Gi"}}}]}});
    let decoded = decode(&pod(), limits).expect("decodes");
    let limits = &decoded.value["spec"]["containers"][0]["resources"]["limits"];
    assert_eq!(limits, &json!({"cpu": "1", "memory": "1.5Gi"}));

    let lease = GroupVersionKind::new("coordination.k8s.io", "v1", "Lease");
    for (time, good) in [
        ("2026-01-02T03:04:05.678901Z", true),
        ("2026-01-02T03:04:05Z", true),
        ("2026-01-02T03:04:05+01:00", true),
        ("2026-01-02 03:04:05Z", false),
        ("2026-01-02T03:04:05", false),
    ] {
        assert_eq!(decode(&lease, json!({"spec": {"renewTime": time}})).is_ok(), good, "{time}");
    }
}

#[test]
fn unknown_kinds_pass_through() {
    let widget = GroupVersionKind::new("example.com", "v1", "Widget");
    let value = json!({"spec": {"x": null}});
    assert_eq!(decode(&widget, value.clone()).expect("decodes").value, value);
}

#[test]
fn broken_and_deep_text_is_refused() {
    assert!(matches!(decode_slice(&pod(), b"{"), Err(Error::Syntax(_))));
    assert!(matches!(decode_slice(&pod(), b"{} {}"), Err(Error::Syntax(_))));
    assert!(matches!(decode_slice(&pod(), "[".repeat(200).as_bytes()), Err(Error::Syntax(_))));
    assert!(matches!(parse(&vec![b' '; MAX_BYTES + 1]), Err(Error::TooLarge(_))));
}
