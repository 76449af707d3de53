//! Takes out of an answer what two servers can never agree on: identities, revisions, times and addresses.

use std::sync::LazyLock;

use regex_lite::Regex;
use serde_json::Value;

struct Rule {
    pattern: Regex,
    with: &'static str,
}

/// In every string, wherever it stands.
static IN_TEXT: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let rule = |pattern, with| Rule { pattern: Regex::new(pattern).expect("a constant pattern"), with };
    vec![
        rule("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID"),
        rule(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        rule(r"\b10\.43\.\d+\.\d+\b", "SERVICE-IP"),
        rule(r"in record \(\d+\)", "in record (REVISION)"),
        rule(r"\bkube-api-access-[a-z0-9]{5}\b", "kube-api-access-RANDOM"),
        rule(r"X509SHA256=[0-9a-f]{64}", "X509SHA256=CERTIFICATE"),
        rule(r"\b198\.51\.100\.\d+\b", "HOST-IP"),
    ]
});

/// An age in a cell of a table.
static AGE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(\d+[smhdy])+( ago)?$").expect("a constant pattern"));

/// The fields whose value says nothing.
const FIELDS: &[(&str, &str)] = &[
    ("resourceVersion", "REVISION"),
    ("nodePort", "NODE-PORT"),
    ("healthCheckNodePort", "NODE-PORT"),
    ("continue", "CONTINUE"),
];

/// Masks `value` in place.
pub fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // Who owns a reference to an owner is written with its identity.
            for old in fields.keys().filter(|k| k.contains(r#""uid":"#)).cloned().collect::<Vec<_>>() {
                let mut key = Value::String(old.clone());
                mask(&mut key);
                if let (Value::String(key), Some(value)) = (key, fields.remove(&old)) {
                    fields.insert(key, value);
                }
            }
            for (name, value) in fields.iter_mut() {
                match FIELDS.iter().find(|(masked, _)| masked == name) {
                    // An empty or zero value means that there is none: that does say something.
                    Some((_, with)) if !matches!(value, Value::Object(_)) && *value != "" && *value != 0 => {
                        *value = Value::String((*with).to_owned());
                    }
                    _ => mask(value),
                }
            }
            // Their order is that of their times, whose seconds need not end at the same moment on both sides.
            if let Some(Value::Array(entries)) = fields.get_mut("managedFields") {
                let key = |e: &Value| {
                    ["manager", "operation", "subresource", "apiVersion"].map(|f| e[f].to_string())
                };
                entries.sort_by_key(key);
            }
            // How long ago something was changes from answer to answer.
            if let Some(Value::Array(cells)) = fields.get_mut("cells") {
                for cell in cells.iter_mut().filter(|c| c.as_str().is_some_and(|c| AGE.is_match(c))) {
                    *cell = Value::String("AGE".to_owned());
                }
            }
            // Prose, which everybody words for himself.
            if let Some(Value::Array(columns)) = fields.get_mut("columnDefinitions") {
                columns.iter_mut().filter_map(Value::as_object_mut).for_each(|column| {
                    column.remove("description");
                });
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::String(text) => {
            for rule in IN_TEXT.iter() {
                if rule.pattern.is_match(text) {
                    *text = rule.pattern.replace_all(text, rule.with).into_owned();
                }
            }
        }
        _ => {}
    }
}

/// A name that was generated: the five characters at its end are masked wherever the name occurs.
pub fn mask_generated(body: &mut Value) {
    let generated = body.pointer("/metadata/generateName").and_then(Value::as_str).map(str::to_owned);
    let name = body.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
    if let (Some(prefix), Some(name)) = (generated, name)
        && name.len() == prefix.len() + 5
        && name.starts_with(&prefix)
    {
        body["metadata"]["name"] = Value::String(format!("{prefix}RANDOM"));
    }
}

/// Of a watch's bookmarks in a row the first: when another follows is a matter of a clock, and it says nothing new.
pub fn once_marked(body: &mut Value) {
    if let Value::Array(events) = body {
        events.dedup_by(|event, before| event["type"] == "BOOKMARK" && before["type"] == "BOOKMARK");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_agree_is_masked_and_nothing_else() {
        let mut value = json!({
            "metadata": {"uid": "3f2b8a52-9d0c-4c58-9c39-cf1f0c2ab8a1", "resourceVersion": "12", "generation": 1},
            "list": {"resourceVersion": ""},
            "spec": {"clusterIP": "10.43.7.9", "ports": [{"nodePort": 30123}, {"nodePort": 0}]},
            "message": "at 2026-01-02T03:04:05Z by 10.0.0.1",
        });
        mask(&mut value);
        assert_eq!(
            value,
            json!({
                "metadata": {"uid": "UID", "resourceVersion": "REVISION", "generation": 1},
                "list": {"resourceVersion": ""},
                "spec": {"clusterIP": "SERVICE-IP", "ports": [{"nodePort": "NODE-PORT"}, {"nodePort": 0}]},
                "message": "at TIME by 10.0.0.1",
            })
        );
    }

    #[test]
    fn bookmarks_in_a_row_count_once() {
        let added = json!({"type": "ADDED"});
        let first = json!({"type": "BOOKMARK", "object": {"metadata": {"annotations": {"a": "b"}}}});
        let more = json!({"type": "BOOKMARK"});
        let mut events = json!([added, first, more, more, added, more]);
        once_marked(&mut events);
        assert_eq!(events, json!([added, first, added, more]));
    }
}
