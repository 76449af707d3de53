//! Reading and writing the parts that every object has.

use serde_json::{Map, Value};

/// The string at a path of fields, empty when there is none.
pub fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or("")
}

/// The value at a path of fields.
pub fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |v, field| v.get(field))
}

/// The integer at a path, zero when there is none.
pub fn int(value: &Value, path: &[&str]) -> i64 {
    at(value, path).and_then(Value::as_i64).unwrap_or(0)
}

/// The list at a path, empty when there is none.
pub fn list<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The object's name.
pub fn name(value: &Value) -> &str {
    text(value, &["metadata", "name"])
}

/// The object's namespace, empty for what has none.
pub fn namespace(value: &Value) -> &str {
    text(value, &["metadata", "namespace"])
}

/// The object's uid.
pub fn uid(value: &Value) -> &str {
    text(value, &["metadata", "uid"])
}

/// The object at `field`, made if it is missing or something else.
pub fn map<'a>(value: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let slot = value.as_object_mut().expect("made an object above").entry(field).or_insert(Value::Null);
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut().expect("made an object above")
}

/// The object's metadata.
pub fn meta(value: &mut Value) -> &mut Map<String, Value> {
    map(value, "metadata")
}

/// The finalizers.
pub fn finalizers(value: &Value) -> Vec<String> {
    list(value, &["metadata", "finalizers"]).iter().filter_map(|f| f.as_str().map(str::to_owned)).collect()
}

/// Copies a field of one object's metadata to another's, or removes it there.
pub fn carry(field: &str, from: &Value, to: &mut Value) {
    match at(from, &["metadata", field]) {
        Some(value) => {
            meta(to).insert(field.to_owned(), value.clone());
        }
        None => {
            meta(to).remove(field);
        }
    }
}

/// Copies a top-level field, or removes it there.
pub fn carry_top(field: &str, from: &Value, to: &mut Value) {
    let Some(object) = to.as_object_mut() else { return };
    match from.get(field) {
        Some(value) => {
            object.insert(field.to_owned(), value.clone());
        }
        None => {
            object.remove(field);
        }
    }
}

/// A random (version 4) UUID.
pub fn new_uid() -> String {
    let mut b = random::<16>();
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let hex: String = b.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Five characters that make no words, for `generateName`.
pub fn suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    random::<5>().iter().map(|b| ALPHABET[*b as usize % ALPHABET.len()] as char).collect()
}

/// Random bytes.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}
