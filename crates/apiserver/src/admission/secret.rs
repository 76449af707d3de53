//! `stringData` is for writing only: it goes into `data`, encoded.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::object::map;

pub fn encode(value: &mut Value) {
    let Some(Value::Object(plain)) = value.as_object_mut().and_then(|o| o.remove("stringData")) else {
        return;
    };
    let data = map(value, "data");
    for (key, text) in plain {
        data.insert(key, json!(STANDARD.encode(text.as_str().unwrap_or(""))));
    }
}
