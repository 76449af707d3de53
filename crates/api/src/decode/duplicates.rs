//! JSON text to a value, with the paths of the fields that occur twice.
//!
//! One pass: the value is built while the keys are watched, because `serde_json` itself silently keeps the last. Lists
//! are entered by index and maps by key, so a path is `spec.containers[0].image`.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Kubernetes stops counting here too: more complaints would not be read.
const MAX_COMPLAINTS: usize = 100;

#[derive(Default)]
struct Found {
    path: String,
    duplicates: Vec<String>,
}

/// Parses the text: the value (the last of duplicate fields wins, objects are laid over each other) and `duplicate field "path"` complaints.
pub(super) fn parse(text: &[u8]) -> Result<(Value, Vec<String>), serde_json::Error> {
    let found = RefCell::new(Found::default());
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Seed(&found).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, found.into_inner().duplicates))
}

/// Puts a field's second value over its first.
fn overlay(first: &mut Value, second: Value) {
    match (first, second) {
        (Value::Object(first), Value::Object(second)) => {
            for (key, value) in second {
                match first.get_mut(&key) {
                    Some(before) => overlay(before, value),
                    None => {
                        first.insert(key, value);
                    }
                }
            }
        }
        (first, second) => *first = second,
    }
}

#[derive(Clone, Copy)]
struct Seed<'a>(&'a RefCell<Found>);

impl Seed<'_> {
    /// Adds a step to the path and says how long the path was.
    fn enter(&self, step: impl fmt::Display, key: bool) -> usize {
        use fmt::Write;
        let mut found = self.0.borrow_mut();
        let before = found.path.len();
        let dot = if key && before > 0 { "." } else { "" };
        // Writing into a String does not fail.
        let _ = write!(found.path, "{dot}{step}");
        before
    }

    fn leave(&self, before: usize) {
        self.0.borrow_mut().path.truncate(before);
    }

    fn duplicate(&self) {
        let mut found = self.0.borrow_mut();
        let complaint = format!("duplicate field \"{}\"", found.path);
        if found.duplicates.len() < MAX_COMPLAINTS && !found.duplicates.contains(&complaint) {
            found.duplicates.push(complaint);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let before = self.enter(format_args!("[{}]", items.len()), false);
            let next = seq.next_element_seed(self)?;
            self.leave(before);
            match next {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let before = self.enter(&key, true);
            if fields.contains_key(&key) {
                self.duplicate();
            }
            let value = map.next_value_seed(self)?;
            self.leave(before);
            match fields.get_mut(&key) {
                // Go reads both into the same map or struct.
                Some(first) => overlay(first, value),
                None => {
                    fields.insert(key, value);
                }
            }
        }
        Ok(Value::Object(fields))
    }
}
