//! Defaulting: a field that is missing gets what the schema says, and so does one that is null where null may not be; if
//! there is nothing to get, it is dropped.

use serde_json::Value;

use super::{Additional, Schema};

/// Fills in what is missing, from the root downwards, so that defaults below a defaulted object are set, too.
pub fn fill(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, below) in &schema.properties {
                let Some(default) = &below.default else { continue };
                let missing = match fields.get(&**name) {
                    None => true,
                    Some(found) => found.is_null() && !below.nullable,
                };
                if missing {
                    fields.insert(name.to_string(), (**default).clone());
                }
            }
            // A null that may not be, and has no default, counts as not written.
            fields.retain(|name, value| {
                !value.is_null()
                    || schema.field(name).is_none_or(|s| s.nullable || s.default.is_some() || s.ty.is_none())
            });
            if let Additional::Of(below) = &schema.additional
                && let (Some(default), false) = (&below.default, below.nullable)
            {
                let open =
                    fields.iter_mut().filter(|(name, v)| v.is_null() && schema.property(name).is_none());
                open.for_each(|(_, v)| *v = (**default).clone());
            }
            for (name, value) in fields {
                if let Some(below) = schema.field(name) {
                    fill(below, value);
                }
            }
        }
        Value::Array(items) => {
            let Some(below) = schema.items.as_deref() else { return };
            for item in items {
                if let (Some(default), true, false) = (&below.default, item.is_null(), below.nullable) {
                    *item = (**default).clone();
                }
                fill(below, item);
            }
        }
        _ => {}
    }
}
