//! Schemas as they are written, and what they make of objects.

use serde_json::{Value, json};

use super::*;

fn schema(value: Value) -> Schema {
    Schema::parse(&value)
}

/// What is wrong with `spec` by the schema of `spec`.
fn errors(spec: Value, new: Value, old: Option<Value>) -> Vec<String> {
    let schema = schema(json!({"type": "object", "properties": {"spec": spec}}));
    let old = old.map(|old| json!({ "spec": old }));
    check(&schema, &json!({ "spec": new }), old.as_ref()).iter().map(ToString::to_string).collect()
}

#[test]
fn unknown_fields_are_dropped_and_named() {
    let schema = schema(json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "a": {"type": "string"},
            "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                "closed": {"type": "object", "properties": {"x": {"type": "string"}}}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"x": {"type": "string"}}}},
            "rows": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "string"}}}},
            "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}},
        }},
    }}));
    let mut object = json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "n"}, "extra": 1, "spec": {
        "a": "1", "b": "2",
        "open": {"any": 1, "closed": {"x": "1", "y": "2"}},
        "map": {"k": {"x": "1", "y": "2"}},
        "rows": [{"x": "1"}, {"y": "2"}],
        "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "other": 1},
    }});
    assert_eq!(
        prune(&schema, &mut object),
        [
            r#"unknown field "extra""#,
            r#"unknown field "spec.b""#,
            r#"unknown field "spec.map.k.y""#,
            r#"unknown field "spec.open.closed.y""#,
            r#"unknown field "spec.pod.other""#,
            r#"unknown field "spec.rows[1].y""#,
        ]
    );
    assert_eq!(
        object,
        json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "n"}, "spec": {
            "a": "1", "open": {"any": 1, "closed": {"x": "1"}}, "map": {"k": {"x": "1"}}, "rows": [{"x": "1"}, {}],
            "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}}})
    );
}

#[test]
fn defaults_fill_what_is_missing_and_what_may_not_be_null() {
    let schema = schema(
        json!({"type": "object", "properties": {"spec": {"type": "object", "default": {}, "properties": {
            "a": {"type": "string", "default": "x"},
            "b": {"type": "string", "nullable": true, "default": "y"},
            "rows": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer", "default": 7}}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"n": {"default": 1}}}},
        }}}}),
    );
    assert!(schema.has_defaults());
    let mut empty = json!({});
    fill(&schema, &mut empty);
    assert_eq!(empty, json!({"spec": {"a": "x", "b": "y"}}));
    let mut some = json!({"spec": {"a": null, "b": null, "rows": [{}, {"n": 1}], "map": {"k": {}}}});
    fill(&schema, &mut some);
    assert_eq!(
        some,
        json!({"spec": {"a": "x", "b": null, "rows": [{"n": 7}, {"n": 1}], "map": {"k": {"n": 1}}}})
    );
}

#[test]
fn values_are_judged_in_kubernetes_words() {
    let one = |schema: Value, value: Value| errors(schema, value, None);
    for (schema, value, want) in [
        (
            json!({"type": "string"}),
            json!(5),
            r#"spec: Invalid value: "integer": spec in body must be of type string: "integer""#,
        ),
        (
            json!({"type": "integer"}),
            json!(1.5),
            r#"spec: Invalid value: "number": spec in body must be of type integer: "number""#,
        ),
        (
            json!({"type": "string"}),
            json!(null),
            r#"spec: Invalid value: "null": spec in body must be of type string: "null""#,
        ),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            r#"spec: Invalid value: "boolean": spec in body must be of type integer,string: "boolean""#,
        ),
        (json!({"type": "object", "required": ["a"]}), json!({}), "spec.a: Required value"),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            r#"spec: Unsupported value: "c": supported values: "a", "b""#,
        ),
        (
            json!({"type": "integer", "minimum": 1}),
            json!(0),
            "spec: Invalid value: 0: spec in body should be greater than or equal to 1",
        ),
        (
            json!({"type": "integer", "maximum": 1, "exclusiveMaximum": true}),
            json!(1),
            "spec: Invalid value: 1: spec in body should be less than 1",
        ),
        (
            json!({"type": "number", "multipleOf": 0.1}),
            json!(0.25),
            "spec: Invalid value: 0.25: spec in body should be a multiple of 0.1",
        ),
        (
            json!({"type": "string", "maxLength": 2}),
            json!("äöü"),
            "spec: Too long: may not be more than 2 bytes",
        ),
        (
            json!({"type": "string", "minLength": 1}),
            json!(""),
            r#"spec: Invalid value: "": spec in body should be at least 1 chars long"#,
        ),
        (
            json!({"type": "string", "pattern": "^a+$"}),
            json!("b"),
            r#"spec: Invalid value: "b": spec in body should match '^a+$'"#,
        ),
        (
            json!({"type": "array", "maxItems": 1}),
            json!([1, 2]),
            "spec: Too many: 2: must have at most 1 items",
        ),
        (
            json!({"type": "array", "minItems": 1}),
            json!([]),
            "spec: Invalid value: 0: spec in body should have at least 1 items",
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("now"),
            r#"spec: Invalid value: "now": spec in body must be of type date-time: "now""#,
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "set"}),
            json!(["a", "a"]),
            r#"spec[1]: Duplicate value: "a""#,
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}}}}),
            json!([{"k": "a"}, {"k": "a"}]),
            r#"spec[1]: Duplicate value: {"k":"a"}"#,
        ),
        (
            json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            json!({"a": 1, "b": 2}),
            r#"spec: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
        ),
        (
            json!({"type": "string", "not": {"enum": ["a"]}}),
            json!("a"),
            r#"spec: Invalid value: "": "spec" must not validate the schema (not)"#,
        ),
    ] {
        assert_eq!(one(schema.clone(), value), [want], "{schema}");
    }
    assert_eq!(one(json!({"type": "string", "nullable": true}), json!(null)), [""; 0]);
    assert_eq!(one(json!({"type": "integer"}), json!(3.0)), [""; 0]);
    assert_eq!(
        one(json!({"type": "string", "anyOf": [{"pattern": "^a"}, {"pattern": "^b"}]}), json!("b")),
        [""; 0]
    );
}

#[test]
fn what_did_not_change_is_not_judged_again() {
    let schema = json!({"type": "object", "properties": {
        "a": {"type": "string", "maxLength": 1}, "b": {"type": "string"},
        "rows": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer", "maximum": 1}}}},
    }});
    let old = json!({"a": "long", "b": "x", "rows": [{"k": "one", "v": 9}]});
    let other = json!({"a": "long", "b": "y", "rows": [{"k": "two", "v": 1}, {"k": "one", "v": 9}]});
    assert_eq!(errors(schema.clone(), other, Some(old.clone())), [""; 0]);
    let worse = json!({"a": "longer", "b": "x", "rows": [{"k": "one", "v": 8}]});
    assert_eq!(errors(schema, worse, Some(old)).len(), 2);
}

#[test]
fn formats_are_known() {
    for (format, good, bad) in [
        ("date", "2024-02-29", "2023-02-29"),
        ("date-time", "2024-01-01T00:00:00.5Z", "2024-01-01T25:00:00Z"),
        ("duration", "1h30m", "1 hour"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
        ("ipv4", "10.0.0.1", "10.0.0.256"),
        ("ipv6", "::1", "1"),
        ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
        ("mac", "00:11:22:33:44:55", "00:11"),
        ("byte", "aGk=", "a"),
        ("email", "a@b.c", "a"),
        ("hostname", "a.example", "-a"),
        ("uri", "https://a/b", "a b"),
    ] {
        assert!(formats::fits(format, good), "{format} {good}");
        assert!(!formats::fits(format, bad), "{format} {bad}");
    }
    assert!(formats::fits("something-else", "x"));
}
