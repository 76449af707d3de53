//! Items of lists that are sets or maps: what tells one from another.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{List, Schema};

/// The identity of each item, as text; `None` for lists whose items have none.
pub(super) fn identities<'a>(schema: &Schema, items: &'a [Value]) -> Option<Vec<(String, Value)>> {
    let found = |item: &'a Value| match &schema.list {
        List::Atomic => None,
        List::Set => Some((canonical(item), item.clone())),
        List::Map(keys) => {
            let defaults = schema.items.as_deref();
            let mut key = serde_json::Map::new();
            for name in keys {
                let default = || defaults?.property(name)?.default.as_deref();
                if let Some(value) = item.get(&**name).or_else(default) {
                    key.insert(name.to_string(), value.clone());
                }
            }
            let key = Value::Object(key);
            Some((canonical(&key), key))
        }
    };
    items.iter().map(found).collect()
}

/// The positions of the items by identity.
pub(super) fn by_identity(schema: &Schema, items: &[Value]) -> Option<BTreeMap<String, usize>> {
    let found = identities(schema, items)?;
    Some(found.into_iter().enumerate().map(|(at, (key, _))| (key, at)).collect())
}

/// Values that are equal have the same text: `1` and `1.0`, whatever the order of fields.
pub(super) fn canonical(value: &Value) -> String {
    match value {
        Value::Number(n) if n.as_i64().is_none() && n.as_u64().is_none() => {
            let n = n.as_f64().unwrap_or_default();
            if n.fract() == 0.0 && n.abs() < 9e15 { format!("{}", n as i64) } else { n.to_string() }
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(fields) => {
            let mut fields: Vec<String> =
                fields.iter().map(|(k, v)| format!("{k:?}:{}", canonical(v))).collect();
            fields.sort();
            format!("{{{}}}", fields.join(","))
        }
        other => other.to_string(),
    }
}
