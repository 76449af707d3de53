//! Pruning: what the schema does not name is dropped, unless it says that unknown fields are kept.

use serde_json::Value;

use super::{Additional, Schema};
use crate::path;

/// More unknown fields than these are dropped without being named.
const MAX_COMPLAINTS: usize = 100;

/// Drops what the schema does not know; gives back `unknown field "spec.foo"` for each. `apiVersion`, `kind` and
/// `metadata` are known at the root and in embedded resources.
pub fn prune(schema: &Schema, object: &mut Value) -> Vec<String> {
    let mut walk = Walk { path: String::new(), unknown: Vec::new() };
    walk.value(schema, object, true);
    walk.unknown
}

struct Walk {
    path: String,
    unknown: Vec<String>,
}

impl Walk {
    fn value(&mut self, schema: &Schema, value: &mut Value, resource: bool) {
        match value {
            Value::Object(fields) => {
                let known = |name: &str| {
                    schema.field(name).is_some()
                        || !matches!(schema.additional, Additional::Unsaid)
                        || (resource && matches!(name, "apiVersion" | "kind" | "metadata"))
                };
                if !schema.preserve {
                    let unknown: Vec<String> = fields.keys().filter(|n| !known(n)).cloned().collect();
                    for name in unknown {
                        fields.remove(&name);
                        self.complain(&name);
                    }
                }
                for (name, value) in fields {
                    let implicit = resource && matches!(name.as_str(), "apiVersion" | "kind" | "metadata");
                    if let (Some(below), false) = (schema.field(name), implicit) {
                        let before = path::enter(&mut self.path, name);
                        self.value(below, value, below.embedded);
                        self.path.truncate(before);
                    }
                }
            }
            Value::Array(items) => {
                let Some(below) = schema.items.as_deref() else { return };
                for (index, item) in items.iter_mut().enumerate() {
                    let before = self.path.len();
                    self.path.push_str(&format!("[{index}]"));
                    self.value(below, item, below.embedded);
                    self.path.truncate(before);
                }
            }
            _ => {}
        }
    }

    fn complain(&mut self, name: &str) {
        if self.unknown.len() < MAX_COMPLAINTS {
            let before = path::enter(&mut self.path, name);
            self.unknown.push(format!("unknown field \"{}\"", self.path));
            self.path.truncate(before);
        }
    }
}
