//! Conditions in the status of objects, as the server itself sets them. Pure.

use serde_json::{Value, json};

use crate::object::{list, text};

/// Whether a condition of this type is true.
pub fn is_true(value: &Value, kind: &str) -> bool {
    list(value, &["status", "conditions"])
        .iter()
        .any(|c| text(c, &["type"]) == kind && text(c, &["status"]) == "True")
}

/// Sets a condition; the time changes with the status only.
pub fn set(status: &mut Value, kind: &str, is: bool, reason: &str, message: &str, now: &str) {
    let is = if is { "True" } else { "False" };
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let before = conditions.iter().position(|c| text(c, &["type"]) == kind);
    let since = before.map(|at| &conditions[at]).filter(|c| text(c, &["status"]) == is);
    let since = since.map_or(now, |c| text(c, &["lastTransitionTime"])).to_owned();
    let condition = json!({
        "type": kind, "status": is, "reason": reason, "message": message, "lastTransitionTime": since,
    });
    match before {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
    status["conditions"] = Value::Array(conditions);
}
