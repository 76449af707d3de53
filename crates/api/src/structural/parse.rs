//! From the JSON of a schema to the compact tree.

use serde_json::{Map, Value};

use super::{Additional, Checks, List, Rule, Schema, Type};

/// Schemas nest no deeper than this; JSON itself is cut at 128 levels, and each level of schema is two of JSON.
const DEEPEST: usize = 100;

impl Schema {
    /// Reads the JSON of a schema; what is not understood is left out.
    pub fn parse(value: &Value) -> Self {
        value.as_object().map(|map| schema(map, 0)).unwrap_or_default()
    }
}

fn schema(map: &Map<String, Value>, depth: usize) -> Schema {
    if depth > DEEPEST {
        return Schema { preserve: true, ..Schema::default() };
    }
    let flag = |name: &str| map.get(name).and_then(Value::as_bool).unwrap_or_default();
    let below = |value: &Value| value.as_object().map(|m| schema(m, depth + 1)).unwrap_or_default();
    let ty = match text(map, "type") {
        "object" => Some(Type::Object),
        "array" => Some(Type::Array),
        "string" => Some(Type::String),
        "integer" => Some(Type::Integer),
        "number" => Some(Type::Number),
        "boolean" => Some(Type::Boolean),
        _ => None,
    };
    let mut properties: Vec<(Box<str>, Schema)> = map
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str().into(), below(value)))
        .collect();
    properties.sort_by(|a, b| a.0.cmp(&b.0));
    let list = match text(map, "x-kubernetes-list-type") {
        "set" => List::Set,
        "map" => List::Map(texts(map, "x-kubernetes-list-map-keys")),
        _ => List::Atomic,
    };
    Schema {
        ty,
        nullable: flag("nullable"),
        preserve: flag("x-kubernetes-preserve-unknown-fields"),
        embedded: flag("x-kubernetes-embedded-resource"),
        int_or_string: flag("x-kubernetes-int-or-string"),
        atomic_map: text(map, "x-kubernetes-map-type") == "atomic",
        list,
        properties: properties.into(),
        additional: match map.get("additionalProperties") {
            Some(Value::Object(m)) => Additional::Of(Box::new(schema(m, depth + 1))),
            Some(Value::Bool(true)) => Additional::Any,
            _ => Additional::Unsaid,
        },
        items: map.get("items").filter(|v| v.is_object()).map(|v| Box::new(below(v))),
        default: map.get("default").map(|v| Box::new(v.clone())),
        checks: checks(map, depth).map(Box::new),
        rules: map
            .get("x-kubernetes-validations")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
            .map(rule)
            .collect(),
    }
}

fn checks(map: &Map<String, Value>, depth: usize) -> Option<Checks> {
    const NAMES: [&str; 18] = [
        "format",
        "pattern",
        "minimum",
        "maximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "uniqueItems",
        "required",
        "enum",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
    ];
    if !NAMES.iter().any(|name| map.contains_key(*name)) {
        return None;
    }
    let some = |name: &str| Some(text(map, name)).filter(|t| !t.is_empty()).map(Into::into);
    let float = |name: &str| map.get(name).and_then(Value::as_f64);
    let count = |name: &str| map.get(name).and_then(Value::as_u64);
    let exclusive = |name: &str| map.get(name).and_then(Value::as_bool).unwrap_or_default();
    let all = |name: &str| -> Box<[Schema]> {
        let list = map.get(name).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_object).map(|m| schema(m, depth + 1)).collect()
    };
    Some(Checks {
        format: some("format"),
        pattern: some("pattern"),
        minimum: float("minimum").map(|n| (n, exclusive("exclusiveMinimum"))),
        maximum: float("maximum").map(|n| (n, exclusive("exclusiveMaximum"))),
        multiple_of: float("multipleOf"),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
        unique: exclusive("uniqueItems"),
        required: texts(map, "required"),
        values: map.get("enum").and_then(Value::as_array).into_iter().flatten().cloned().collect(),
        all_of: all("allOf"),
        any_of: all("anyOf"),
        one_of: all("oneOf"),
        not: map.get("not").and_then(Value::as_object).map(|m| Box::new(schema(m, depth + 1))),
    })
}

fn rule(map: &Map<String, Value>) -> Rule {
    let own = |name: &str| text(map, name).into();
    Rule {
        rule: own("rule"),
        message: own("message"),
        message_expression: own("messageExpression"),
        reason: own("reason"),
        field_path: own("fieldPath"),
        optional_old_self: map.get("optionalOldSelf").and_then(Value::as_bool).unwrap_or_default(),
    }
}

fn text<'a>(map: &'a Map<String, Value>, name: &str) -> &'a str {
    map.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn texts(map: &Map<String, Value>, name: &str) -> Box<[Box<str>]> {
    let list = map.get(name).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(Into::into).collect()
}
