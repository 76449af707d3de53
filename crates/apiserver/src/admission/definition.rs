//! What the server itself says in a definition's status: in which versions objects may be stored.

use serde_json::{Value, json};

use crate::object::{list, map, text};

/// A new definition.
pub fn create(value: &mut Value) {
    value["status"] = json!({
        "conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": [storage(value)],
    });
}

/// A changed definition: once a version was the one to store in, objects may be stored in it.
pub fn update(new: &mut Value) {
    let version = storage(new);
    let mut stored = list(new, &["status", "storedVersions"]).to_vec();
    if !version.is_empty() && !stored.iter().any(|v| v == version.as_str()) {
        stored.push(json!(version));
    }
    map(new, "status").insert("storedVersions".into(), json!(stored));
}

fn storage(value: &Value) -> String {
    let versions = list(value, &["spec", "versions"]);
    versions.iter().find(|v| v["storage"] == true).map_or("", |v| text(v, &["name"])).to_owned()
}
