//! The version 2 document as protobuf, the only form in which kubectl asks for it.
//!
//! The numbers are those of gnostic's published `OpenAPIv2.proto`. What that has no field for is left out, as its own
//! reader leaves it out; names that begin with `x-` are kept with their values as text.

use serde_json::Value;

use crate::handlers::protobuf::encode::{bytes, integer, varint};

/// The media type, and the older one by which it is asked for, too.
pub const MEDIA: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
pub const OLD_MEDIA: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// How the value of a field is written.
enum Kind {
    Text,
    Bool,
    Integer,
    Float,
    /// A list of texts.
    Texts,
    /// Any value.
    Any,
    /// A list of any values.
    Anys,
    /// A message.
    One(&'static Message),
    /// A list of messages.
    Many(&'static Message),
    /// A map of messages: the number of its entries in a message of its own.
    Map(u64, &'static Message),
    /// Something that is not the same in both forms.
    Own(fn(&Value) -> Vec<u8>),
    /// A list of such.
    Owns(fn(&Value) -> Vec<u8>),
}

use Kind::{Any, Anys, Bool, Float, Integer, Many, Map, One, Own, Owns, Text, Texts};

/// A message: its fields with their numbers, and the number of what begins with `x-`.
struct Message {
    fields: &'static [(u64, &'static str, Kind)],
    extension: u64,
}

static DOCUMENT: Message = Message {
    fields: &[
        (1, "swagger", Text),
        (2, "info", One(&INFO)),
        (8, "paths", Map(2, &PATH)),
        (9, "definitions", Map(1, &SCHEMA)),
    ],
    extension: 16,
};

static INFO: Message =
    Message { fields: &[(1, "title", Text), (2, "version", Text), (3, "description", Text)], extension: 7 };

static PATH: Message = Message {
    fields: &[
        (2, "get", One(&OPERATION)),
        (3, "put", One(&OPERATION)),
        (4, "post", One(&OPERATION)),
        (5, "delete", One(&OPERATION)),
        (6, "options", One(&OPERATION)),
        (7, "head", One(&OPERATION)),
        (8, "patch", One(&OPERATION)),
        (9, "parameters", Owns(parameter)),
    ],
    extension: 10,
};

static OPERATION: Message = Message {
    fields: &[
        (1, "tags", Texts),
        (3, "description", Text),
        (5, "operationId", Text),
        (6, "produces", Texts),
        (7, "consumes", Texts),
        (8, "parameters", Owns(parameter)),
        (9, "responses", Own(responses)),
        (10, "schemes", Texts),
    ],
    extension: 13,
};

static BODY: Message = Message {
    fields: &[
        (1, "description", Text),
        (2, "name", Text),
        (3, "in", Text),
        (4, "required", Bool),
        (5, "schema", One(&SCHEMA)),
    ],
    extension: 6,
};

static QUERY: Message = Message {
    fields: &[
        (1, "required", Bool),
        (2, "in", Text),
        (3, "description", Text),
        (4, "name", Text),
        (6, "type", Text),
        (7, "format", Text),
        (20, "uniqueItems", Bool),
    ],
    extension: 23,
};

static IN_PATH: Message = Message {
    fields: &[
        (1, "required", Bool),
        (2, "in", Text),
        (3, "description", Text),
        (4, "name", Text),
        (5, "type", Text),
        (6, "format", Text),
        (19, "uniqueItems", Bool),
    ],
    extension: 22,
};

static RESPONSE: Message =
    Message { fields: &[(1, "description", Text), (2, "schema", Own(schema_item))], extension: 5 };

static SCHEMA: Message = Message {
    fields: &[
        (1, "$ref", Text),
        (2, "format", Text),
        (3, "title", Text),
        (4, "description", Text),
        (5, "default", Any),
        (6, "multipleOf", Float),
        (7, "maximum", Float),
        (8, "exclusiveMaximum", Bool),
        (9, "minimum", Float),
        (10, "exclusiveMinimum", Bool),
        (11, "maxLength", Integer),
        (12, "minLength", Integer),
        (13, "pattern", Text),
        (14, "maxItems", Integer),
        (15, "minItems", Integer),
        (16, "uniqueItems", Bool),
        (17, "maxProperties", Integer),
        (18, "minProperties", Integer),
        (19, "required", Texts),
        (20, "enum", Anys),
        (21, "additionalProperties", Own(additional)),
        (22, "type", Own(types)),
        (23, "items", Own(items)),
        (24, "allOf", Many(&SCHEMA)),
        (25, "properties", Map(1, &SCHEMA)),
        (26, "discriminator", Text),
        (27, "readOnly", Bool),
        (30, "example", Any),
    ],
    extension: 31,
};

/// A version 2 document in its protobuf form.
pub fn encode(document: &Value) -> Vec<u8> {
    message(&DOCUMENT, document)
}

fn message(of: &Message, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let Some(given) = value.as_object() else { return out };
    for (number, name, kind) in of.fields {
        if let Some(field) = given.get(*name).filter(|field| !field.is_null()) {
            write(&mut out, *number, kind, field);
        }
    }
    for (name, value) in given.iter().filter(|(name, _)| name.starts_with("x-")) {
        named(&mut out, of.extension, name, &any(value));
    }
    out
}

fn write(out: &mut Vec<u8>, number: u64, kind: &Kind, value: &Value) {
    let items = || value.as_array().into_iter().flatten();
    match kind {
        Text => bytes(out, number, value.as_str().unwrap_or_default().as_bytes()),
        Bool => integer(out, number, i64::from(value.as_bool().unwrap_or_default())),
        Integer => integer(out, number, value.as_i64().unwrap_or_default()),
        Float => {
            varint(out, number << 3 | 1);
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
        }
        Texts => items().filter_map(Value::as_str).for_each(|text| bytes(out, number, text.as_bytes())),
        Any => bytes(out, number, &any(value)),
        Anys => items().for_each(|item| bytes(out, number, &any(item))),
        One(of) => bytes(out, number, &message(of, value)),
        Many(of) => items().for_each(|item| bytes(out, number, &message(of, item))),
        Map(entry, of) => {
            let mut map = Vec::new();
            for (name, item) in value.as_object().into_iter().flatten() {
                named(&mut map, *entry, name, &message(of, item));
            }
            bytes(out, number, &map);
        }
        Own(of) => bytes(out, number, &of(value)),
        Owns(of) => items().for_each(|item| bytes(out, number, &of(item))),
    }
}

/// An entry of a map: a name and a message.
fn named(out: &mut Vec<u8>, number: u64, name: &str, value: &[u8]) {
    let mut entry = Vec::new();
    bytes(&mut entry, 1, name.as_bytes());
    bytes(&mut entry, 2, value);
    bytes(out, number, &entry);
}

/// Any value, as YAML text, which JSON is.
fn any(value: &Value) -> Vec<u8> {
    wrapped(2, value.to_string().as_bytes())
}

/// A message that holds another one.
fn wrapped(number: u64, inner: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, number, inner);
    out
}

/// One of several kinds of parameter.
fn parameter(value: &Value) -> Vec<u8> {
    if value.get("$ref").is_some() {
        return wrapped(2, &wrapped(1, value["$ref"].as_str().unwrap_or_default().as_bytes()));
    }
    let inner = match value["in"].as_str() {
        Some("body") => wrapped(1, &message(&BODY, value)),
        Some("path") => wrapped(2, &wrapped(4, &message(&IN_PATH, value))),
        _ => wrapped(2, &wrapped(3, &message(&QUERY, value))),
    };
    wrapped(1, &inner)
}

fn responses(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (code, response) in value.as_object().into_iter().flatten() {
        named(&mut out, 1, code, &wrapped(1, &message(&RESPONSE, response)));
    }
    out
}

fn schema_item(value: &Value) -> Vec<u8> {
    wrapped(1, &message(&SCHEMA, value))
}

/// A schema, or whether there may be any.
fn additional(value: &Value) -> Vec<u8> {
    match value {
        Value::Bool(may) => {
            let mut out = Vec::new();
            integer(&mut out, 2, i64::from(*may));
            out
        }
        schema => wrapped(1, &message(&SCHEMA, schema)),
    }
}

/// One type or several.
fn types(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Value::Array(_) => write(&mut out, 1, &Texts, value),
        one => write(&mut out, 1, &Text, one),
    }
    out
}

/// One schema for all items, or one for each.
fn items(value: &Value) -> Vec<u8> {
    match value {
        Value::Array(all) => all.iter().flat_map(|one| wrapped(1, &message(&SCHEMA, one))).collect(),
        one => wrapped(1, &message(&SCHEMA, one)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What a reader finds along a path of field numbers; of fields that are repeated, the last.
    fn find(mut message: &[u8], path: &[u64]) -> Option<Vec<u8>> {
        let mut found = None;
        for (depth, wanted) in path.iter().enumerate() {
            let (mut rest, mut inner) = (message, None);
            while !rest.is_empty() {
                let key = number(&mut rest);
                let value = match key & 7 {
                    0 => {
                        let start = rest;
                        number(&mut rest);
                        &start[..start.len() - rest.len()]
                    }
                    1 => rest.split_off(..8)?,
                    _ => {
                        let length = number(&mut rest) as usize;
                        rest.split_off(..length)?
                    }
                };
                if key >> 3 == *wanted {
                    inner = Some(value);
                }
            }
            message = inner?;
            if depth + 1 == path.len() {
                found = Some(message.to_vec());
            }
        }
        found
    }

    fn number(rest: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = rest[0];
            *rest = &rest[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }

    #[test]
    fn a_reader_finds_everything_under_its_number() {
        let schema = json!({"type": "object", "required": ["a"], "default": {},
            "x-kubernetes-group-version-kind": [{"kind": "A"}],
            "properties": {"a": {"type": "array", "items": {"$ref": "#/definitions/b"}, "maxItems": 3, "minimum": 0.5}},
            "additionalProperties": {"type": "string"}});
        let document = json!({"swagger": "2.0", "info": {"title": "t", "version": "v"},
            "paths": {"/a": {"parameters": [{"in": "path", "name": "n", "type": "string", "required": true}],
                "post": {"operationId": "op", "consumes": ["a/b"], "parameters": [{"in": "body", "name": "body", "schema": {"$ref": "#/x"}}],
                    "responses": {"200": {"description": "OK", "schema": {"$ref": "#/y"}}}}}},
            "definitions": {"a": schema}});
        let encoded = encode(&document);
        let text = |path: &[u64]| find(&encoded, path).map(|bytes| String::from_utf8(bytes).unwrap());
        let is = |path: &[u64], wanted: &str| assert_eq!(text(path).as_deref(), Some(wanted), "{path:?}");
        is(&[1], "2.0");
        is(&[2, 1], "t");
        is(&[8, 2, 1], "/a");
        is(&[8, 2, 2, 9, 1, 2, 4, 4], "n");
        is(&[8, 2, 2, 4, 5], "op");
        is(&[8, 2, 2, 4, 7], "a/b");
        is(&[8, 2, 2, 4, 8, 1, 1, 5, 1], "#/x");
        is(&[8, 2, 2, 4, 9, 1, 1], "200");
        is(&[8, 2, 2, 4, 9, 1, 2, 1, 2, 1, 1], "#/y");
        is(&[9, 1, 1], "a");
        is(&[9, 1, 2, 22, 1], "object");
        is(&[9, 1, 2, 19], "a");
        is(&[9, 1, 2, 5, 2], "{}");
        is(&[9, 1, 2, 31, 1], "x-kubernetes-group-version-kind");
        is(&[9, 1, 2, 31, 2, 2], r#"[{"kind":"A"}]"#);
        is(&[9, 1, 2, 25, 1, 2, 23, 1, 1], "#/definitions/b");
        is(&[9, 1, 2, 21, 1, 22, 1], "string");
        assert_eq!(find(&encoded, &[9, 1, 2, 25, 1, 2, 14]), Some(vec![3]));
        assert_eq!(find(&encoded, &[9, 1, 2, 25, 1, 2, 9]), Some(0.5_f64.to_le_bytes().to_vec()));
    }
}
