//! The types that expressions see of a schema, with the sizes that bound what a rule can cost.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Additional, List, Schema, Type as Json, formats};
use crate::cel::RESERVED;
use crate::cel::types::{Field, Items, Object, REQUEST, Type};

/// A type and the least number of bytes that a value of it has as JSON.
pub(super) struct Declared {
    pub ty: Type,
    pub least: u64,
}

/// How many values of at least this size a request can carry.
pub(super) fn carried(least: u64) -> u64 {
    (REQUEST - 2) / (least + 1)
}

/// The type of a place; the root and embedded resources have `apiVersion`, `kind` and names besides.
pub(super) fn declare(schema: &Schema, resource: bool) -> Declared {
    let of = |ty, least| Declared { ty, least };
    if schema.int_or_string {
        return of(Type::Dyn, 1);
    }
    let checks = schema.checks.as_deref();
    match schema.ty {
        None => of(Type::Dyn, 1),
        Some(Json::Boolean) => of(Type::Bool, 4),
        Some(Json::Integer) => of(Type::Int, 1),
        Some(Json::Number) => of(Type::Double, 1),
        Some(Json::String) => text(schema),
        Some(Json::Array) => {
            let item = schema.items.as_deref().map_or_else(|| of(Type::Dyn, 1), |s| declare(s, s.embedded));
            let most = checks.and_then(|c| c.max_items).unwrap_or_else(|| carried(item.least));
            let items = match &schema.list {
                List::Atomic => Items::Atomic,
                List::Set => Items::Set,
                List::Map(keys) => Items::Map(keys.iter().cloned().collect()),
            };
            of(Type::List(Arc::new(item.ty), Some(most), items), 2)
        }
        Some(Json::Object) => match &schema.additional {
            Additional::Of(below) if schema.properties.is_empty() => {
                let value = declare(below, below.embedded);
                let most = checks.and_then(|c| c.max_properties).unwrap_or_else(|| carried(value.least + 3));
                of(Type::Map(Arc::new(Type::String(Some(REQUEST))), Arc::new(value.ty), Some(most)), 2)
            }
            _ => object(schema, resource || schema.embedded),
        },
    }
}

fn text(schema: &Schema) -> Declared {
    let checks = schema.checks.as_deref();
    let ty = match schema.format() {
        Some("byte") => {
            return Declared {
                ty: Type::Bytes(checks.and_then(|c| c.max_length).or(Some(REQUEST - 2))),
                least: 2,
            };
        }
        Some("duration") => return Declared { ty: Type::Duration, least: 3 },
        Some("date") => return Declared { ty: Type::Timestamp, least: 12 },
        Some("date-time") => return Declared { ty: Type::Timestamp, least: 22 },
        other => {
            // A character has up to four bytes, and bytes are what costs count.
            let most = checks.and_then(|c| c.max_length).map(|n| n.saturating_mul(4));
            let values = checks.map_or(&[][..], |c| &c.values);
            let known = values.iter().filter_map(|v| v.as_str()).map(|s| s.len() as u64).max();
            Type::String(most.or(known).or(other.and_then(formats::longest)).or(Some(REQUEST - 2)))
        }
    };
    Declared { ty, least: 2 }
}

fn object(schema: &Schema, resource: bool) -> Declared {
    let mut fields: BTreeMap<Box<str>, Field> = BTreeMap::new();
    let mut least = 2u64;
    if resource {
        let text = || Type::String(Some(REQUEST - 2));
        let name = |name: &str| (name.into(), Field { json: name.into(), ty: text() });
        let metadata = Object {
            name: "metadata".into(),
            fields: [name("name"), name("generateName")].into(),
            open: false,
        };
        fields.extend([name("apiVersion"), name("kind")]);
        let metadata = Type::Object(Arc::new(metadata));
        fields.insert("metadata".into(), Field { json: "metadata".into(), ty: metadata });
    }
    for (name, below) in &schema.properties {
        let declared = declare(below, below.embedded);
        if schema.requires(name) && below.default.is_none() {
            least = least.saturating_add(name.len() as u64 + 4 + declared.least);
        }
        if resource && matches!(&**name, "apiVersion" | "kind" | "metadata") {
            continue;
        }
        if let Some(escaped) = escape(name) {
            fields.insert(escaped, Field { json: name.clone(), ty: declared.ty });
        }
    }
    Declared { ty: Type::Object(Arc::new(Object { name: "object".into(), fields, open: false })), least }
}

/// The name of a field in expressions; `None` for names that have none.
pub(super) fn escape(name: &str) -> Option<Box<str>> {
    // What the language has taken already is no name either.
    if matches!(name, "true" | "false" | "null" | "in") || RESERVED.contains(&name) {
        return Some(format!("__{name}__").into());
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/');
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(fits) {
        return None;
    }
    let escaped = name.replace("__", "__underscores__");
    Some(escaped.replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__").into())
}
