//! Schemas as they are written, and what they make of objects.

use serde_json::{Value, json};

use super::*;
use crate::validate::{FieldError, Shown};

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
            r#"<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
        ),
        (
            json!({"type": "string", "not": {"enum": ["a"]}}),
            json!("a"),
            r#"<nil>: Invalid value: "": "spec" must not validate the schema (not)"#,
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

/// The error with the rule alone in place of its internal form.
fn plain(error: FieldError) -> FieldError {
    let rule = match &error.bad_value {
        Some(Shown::Text(text)) => serde_json::from_str::<Value>(text).map(|v| v["Rule"].clone()).ok(),
        _ => None,
    };
    match rule {
        Some(rule) => FieldError { bad_value: Some(Shown::Value(rule)), ..error },
        None => error,
    }
}

/// What rules `spec` breaks, and what is wrong with the rules.
fn broken(spec: Value, new: Value, old: Option<Value>) -> Vec<String> {
    let schema = schema(json!({"type": "object", "properties": {"spec": spec}}));
    let wrong = Rules::errors(&schema, "root");
    if !wrong.is_empty() {
        // How Kubernetes shows a rule is the last test's business.
        return wrong.into_iter().map(|e| plain(e).to_string()).collect();
    }
    let old = old.map(|old| json!({ "spec": old }));
    let rules = Rules::of(&schema).expect("there are rules");
    rules.check(&json!({ "spec": new }), old.as_ref()).iter().map(ToString::to_string).collect()
}

fn ruled(rule: Value) -> Value {
    let row = json!({"type": "object", "required": ["k"], "properties": {"k": {"type": "string", "maxLength": 9},
        "v": {"type": "integer"}}});
    json!({"type": "object", "x-kubernetes-validations": [rule], "properties": {
        "min": {"type": "integer"}, "max": {"type": "integer"}, "name": {"type": "string", "maxLength": 20},
        "namespace": {"type": "string"}, "a-b": {"type": "integer"}, "port": {"x-kubernetes-int-or-string": true},
        "since": {"type": "string", "format": "date-time"},
        "rows": {"type": "array", "maxItems": 10, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": row},
    }})
}

#[test]
fn rules_are_kept_or_named() {
    for (rule, value, want) in [
        ("self.min <= self.max", json!({"min": 1, "max": 2}), None),
        ("self.min <= self.max", json!({"min": 3, "max": 2}), Some("failed rule: self.min <= self.max")),
        ("self.__namespace__ != '' && self.a__dash__b > 1", json!({"namespace": "x", "a-b": 2}), None),
        ("type(self.port) == int ? self.port > 80 : self.port.endsWith('%')", json!({"port": "5%"}), None),
        ("self.since < timestamp('2030-01-01T00:00:00Z')", json!({"since": "2026-01-01T00:00:00Z"}), None),
        (
            "!has(self.name) || self.name.size() > 2",
            json!({"name": "ab"}),
            Some("failed rule: !has(self.name) || self.name.size() > 2"),
        ),
        ("self.rows.all(r, !has(r.v) || r.v > 0)", json!({"rows": [{"k": "a"}, {"k": "b", "v": 1}]}), None),
        ("self.min > 1", json!({}), Some("no such key: min evaluating rule: self.min > 1")),
    ] {
        let want: Vec<String> = want.into_iter().map(|w| format!("spec: Invalid value: {w}")).collect();
        assert_eq!(broken(ruled(json!({ "rule": rule })), value, None), want, "{rule}");
    }
}

#[test]
fn broken_rules_say_what_they_are_told_to() {
    let full = ruled(json!({"rule": "self.min <= self.max", "message": "plain", "fieldPath": ".min",
        "messageExpression": "'min is ' + string(self.min)", "reason": "FieldValueForbidden"}));
    assert_eq!(broken(full, json!({"min": 3, "max": 2}), None), ["spec.min: Forbidden: min is 3"]);
    let fallback = ruled(json!({"rule": "false", "message": "plain", "messageExpression": "''"}));
    assert_eq!(broken(fallback, json!({}), None), ["spec: Invalid value: plain"]);
}

#[test]
fn rules_about_changes_see_the_old_value() {
    let change = json!({"rule": "self.name == oldSelf.name", "message": "fixed"});
    assert_eq!(broken(ruled(change.clone()), json!({"name": "a"}), None), [""; 0]);
    let (a, b) = (json!({"name": "a"}), json!({"name": "b"}));
    assert_eq!(broken(ruled(change), b.clone(), Some(a.clone())), ["spec: Invalid value: fixed"]);
    let optional = json!({"rule": "oldSelf.hasValue() || self.name == 'a'", "optionalOldSelf": true});
    assert_eq!(broken(ruled(optional.clone()), b.clone(), None).len(), 1);
    assert_eq!(broken(ruled(optional), b.clone(), Some(a)), [""; 0]);
    // What was wrong before and did not change is let be.
    assert_eq!(broken(ruled(json!({"rule": "self.name == 'a'"})), b.clone(), Some(b)), [""; 0]);
    let mut keyed = ruled(json!({"rule": "true"}));
    keyed["properties"]["rows"]["items"]["x-kubernetes-validations"] =
        json!([{"rule": "self.v >= oldSelf.v", "message": "less"}]);
    let old = json!({"rows": [{"k": "a", "v": 5}, {"k": "b", "v": 1}]});
    let new = json!({"rows": [{"k": "b", "v": 2}, {"k": "a", "v": 4}]});
    assert_eq!(broken(keyed.clone(), new, Some(old)), ["spec.rows[1]: Invalid value: less"]);
    keyed["properties"]["rows"]["x-kubernetes-list-type"] = json!("atomic");
    assert_eq!(
        broken(keyed, json!({}), None),
        ["root.properties[spec].properties[rows].items.x-kubernetes-validations[0].rule: Invalid value: \
          \"self.v >= oldSelf.v\": oldSelf cannot be used on the uncorrelatable portion of the schema within \
          root.properties[spec].properties[rows]"]
    );
}

#[test]
fn wrong_rules_are_refused_with_the_definition() {
    let place = "root.properties[spec].x-kubernetes-validations[0]";
    for (rule, want) in [
        (
            json!({"rule": "self.nope > 1"}),
            ".rule: Invalid value: \"self.nope > 1\": compilation failed: ERROR: <input>:1:5: undefined field 'nope'\n | self.nope > 1\n | ....^",
        ),
        (
            json!({"rule": "self.min == 'x'"}),
            ".rule: Invalid value: \"self.min == 'x'\": compilation failed: ERROR: <input>:1:10: found no matching overload for '_==_' applied to '(int, string)'\n | self.min == 'x'\n | .........^",
        ),
        (
            json!({"rule": "self.min"}),
            ".rule: Invalid value: \"self.min\": cel expression must evaluate to a bool",
        ),
        (
            json!({"rule": "true", "messageExpression": "1"}),
            ".messageExpression: Invalid value: \"true\": messageExpression must evaluate to a string",
        ),
        (
            json!({"rule": "true", "reason": "No"}),
            ".reason: Unsupported value: \"No\": supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\"",
        ),
        (json!({"rule": " "}), ".rule: Required value: rule is not specified"),
        (
            json!({"rule": "true", "message": "a\nb"}),
            ".message: Invalid value: \"a\\nb\": must not contain line breaks",
        ),
        (
            json!({"rule": "true", "fieldPath": ".nope"}),
            ".fieldPath: Invalid value: \".nope\": must be a valid path",
        ),
    ] {
        assert_eq!(broken(ruled(rule.clone()), json!({}), None), [format!("{place}{want}")], "{rule}");
    }
}

#[test]
fn dear_rules_are_refused_or_stopped() {
    let mut wide = ruled(json!({"rule": "true"}));
    wide["properties"]["all"] = json!({"type": "array", "items": {"type": "string"},
        "x-kubernetes-validations": [{"rule": "self.all(x, self.exists_one(y, x == y))"}]});
    let refused = broken(wide.clone(), json!({}), None);
    assert!(
        refused[0].contains(
            "rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying"
        ),
        "{refused:?}"
    );
    assert!(
        refused[2].starts_with("root: Forbidden: x-kubernetes-validations estimated rule cost total"),
        "{refused:?}"
    );
    wide["properties"]["all"]["maxItems"] = json!(50);
    wide["properties"]["all"]["items"]["maxLength"] = json!(20);
    assert_eq!(broken(wide, json!({"all": ["a", "b"]}), None), [""; 0]);
}

#[test]
fn wrong_rules_are_shown_in_the_internal_form() {
    let spec = ruled(json!({"rule": "self.nope > 1", "message": "m", "optionalOldSelf": false}));
    let schema = schema(json!({"type": "object", "properties": {"spec": spec}}));
    let shown = Rules::errors(&schema, "root")[0].to_string();
    let want = r#"{"Rule":"self.nope \u003e 1","Message":"m","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}"#;
    assert!(shown.contains(want), "{shown}");
}
