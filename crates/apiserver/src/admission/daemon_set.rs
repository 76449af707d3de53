//! How often the template of a daemon set has changed stands in an annotation, as old clients expect. Pure.

use serde_json::{Value, json};

use crate::object::{at, meta};

const KEY: &str = "deprecated.daemonset.template.generation";

fn generation(set: &Value) -> i64 {
    let text = at(set, &["metadata", "annotations", KEY]).and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn write(set: &mut Value, generation: i64) {
    let notes = meta(set).entry("annotations").or_insert_with(|| json!({}));
    if !notes.is_object() {
        *notes = json!({});
    }
    notes[KEY] = json!(generation.to_string());
}

pub fn create(set: &mut Value) {
    write(set, 1);
}

pub fn update(old: &Value, new: &mut Value) {
    let changed = at(old, &["spec", "template"]) != at(new, &["spec", "template"]);
    write(new, generation(old) + i64::from(changed));
}
