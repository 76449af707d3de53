//! A place in an object with the path that leads there, and the list in which errors are collected.

use serde_json::Value;

use super::error::FieldError;
use super::syntax::Complaints;

/// A value and its path as errors print it.
#[derive(Clone)]
pub(super) struct At<'a> {
    pub(super) path: String,
    pub(super) value: &'a Value,
}

impl<'a> At<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self { path: String::new(), value }
    }

    /// The field with this name.
    pub(super) fn get(&self, name: &str) -> At<'a> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        At { path, value: &self.value[name] }
    }

    /// The field at the end of several names.
    pub(super) fn path(&self, names: &[&str]) -> At<'a> {
        names.iter().fold(self.clone(), |at, name| at.get(name))
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Vec<At<'a>> {
        let list = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().enumerate().map(|(i, value)| At { path: format!("{}[{i}]", self.path), value }).collect()
    }

    /// The entries of a map.
    pub(super) fn entries(&self) -> Vec<(&'a str, At<'a>)> {
        let map = self.value.as_object().into_iter().flatten();
        map.map(|(key, value)| (key.as_str(), At { path: format!("{}[{key}]", self.path), value })).collect()
    }

    /// The same value under another path, for errors that Kubernetes reports elsewhere.
    pub(super) fn at(&self, path: String) -> At<'a> {
        At { path, value: self.value }
    }

    /// The text; empty when there is none.
    pub(super) fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    pub(super) fn int(&self) -> Option<i64> {
        self.value.as_i64()
    }

    pub(super) fn is_true(&self) -> bool {
        self.value.as_bool().unwrap_or_default()
    }

    /// Whether anything but null stands here.
    pub(super) fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// Whether nothing stands here, or an empty text, list or map.
    pub(super) fn is_empty(&self) -> bool {
        match self.value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        }
    }
}

/// Maps of texts, in which an empty text is not the same as none.
const TEXT_MAPS: &[&str] = &["matchLabels", "nodeSelector", "labels", "annotations", "volumeAttributes"];
/// Flags for which unset means something else than false.
const FLAGS: &[&str] =
    &["automountServiceAccountToken", "enableServiceLinks", "hostUsers", "allowPrivilegeEscalation"];
/// Numbers for which unset means 0.
const NUMBERS: &[&str] = &["hostPort", "initialDelaySeconds"];

/// Whether two values mean the same. Clients that know the types leave out what is empty, false or 0 where that is what
/// a missing field means, so these count as missing; otherwise their updates would look like changes.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    same_field("", a, b)
}

/// Whether two maps of texts, or of bytes, are equal; none is an empty one.
pub(super) fn same_texts(a: &Value, b: &Value) -> bool {
    let empty = |v: &Value| v.is_null() || v.as_object().is_some_and(serde_json::Map::is_empty);
    a == b || (empty(a) && empty(b))
}

fn same_field(key: &str, a: &Value, b: &Value) -> bool {
    if TEXT_MAPS.contains(&key) {
        return same_texts(a, b);
    }
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let one_way =
                x.iter().all(|(key, value)| same_field(key, value, y.get(key).unwrap_or(&Value::Null)));
            one_way && y.iter().all(|(key, value)| x.contains_key(key) || missing(key, value))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(a, b)| same(a, b)),
        (a, b) => a == b || (missing(key, a) && missing(key, b)),
    }
}

/// Whether a value means what a missing field means.
fn missing(key: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag && !FLAGS.contains(&key),
        Value::Number(number) => number.as_i64() == Some(0) && NUMBERS.contains(&key),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) if TEXT_MAPS.contains(&key) => map.is_empty(),
        Value::Object(map) => map.iter().all(|(key, value)| missing(key, value)),
    }
}

/// Collects what is wrong.
#[derive(Default)]
pub(super) struct Errors(Vec<FieldError>);

impl Errors {
    pub(super) fn into_vec(self) -> Vec<FieldError> {
        self.0
    }

    pub(super) fn push(&mut self, error: FieldError) {
        self.0.push(error);
    }

    pub(super) fn required(&mut self, at: &At, detail: &str) {
        self.push(FieldError::required(&at.path, detail));
    }

    /// The value that stands there is wrong.
    pub(super) fn invalid(&mut self, at: &At, detail: impl Into<String>) {
        self.push(FieldError::invalid(&at.path, at.value.clone(), detail));
    }

    /// As [`Errors::invalid`], showing another value.
    pub(super) fn invalid_value(&mut self, at: &At, value: impl Into<Value>, detail: impl Into<String>) {
        self.push(FieldError::invalid(&at.path, value, detail));
    }

    pub(super) fn forbidden(&mut self, at: &At, detail: &str) {
        self.push(FieldError::forbidden(&at.path, detail));
    }

    pub(super) fn duplicate(&mut self, at: &At) {
        self.push(FieldError::duplicate(&at.path, at.value.clone()));
    }

    /// What a check of syntax found about the text that stands there.
    pub(super) fn complaints(&mut self, at: &At, found: Complaints) {
        for text in found {
            self.invalid(at, text);
        }
    }

    /// As [`Errors::complaints`], for a text other than the one that stands there, such as a key.
    pub(super) fn complaints_about(&mut self, at: &At, text: &str, found: Complaints) {
        for complaint in found {
            self.invalid_value(at, text, complaint);
        }
    }

    /// The text must be there; says whether it is.
    pub(super) fn need(&mut self, at: &At) -> bool {
        if at.is_empty() {
            self.required(at, "");
        }
        !at.is_empty()
    }

    /// The text must be there and pass a check.
    pub(super) fn need_form(&mut self, at: &At, check: fn(&str) -> Complaints) {
        if self.need(at) {
            self.complaints(at, check(at.text()));
        }
    }

    /// The text, if there is one, must pass a check.
    pub(super) fn form(&mut self, at: &At, check: fn(&str) -> Complaints) {
        if !at.is_empty() {
            self.complaints(at, check(at.text()));
        }
    }

    /// The text, if there is one, must be one of these.
    pub(super) fn supported(&mut self, at: &At, values: &[&str]) {
        if !at.is_empty() && !values.contains(&at.text()) {
            self.push(FieldError::not_supported(&at.path, at.value.clone(), values));
        }
    }

    /// The text must be one of these; none is none of them.
    pub(super) fn one_of(&mut self, at: &At, values: &[&str]) {
        if !values.contains(&at.text()) {
            self.push(FieldError::not_supported(&at.path, at.text(), values));
        }
    }

    /// The text must be there and one of these.
    pub(super) fn need_supported(&mut self, at: &At, values: &[&str]) {
        if self.need(at) {
            self.supported(at, values);
        }
    }

    /// The number, if there is one, must not be negative.
    pub(super) fn non_negative(&mut self, at: &At) {
        if at.int().is_some_and(|n| n < 0) {
            self.invalid(at, "must be greater than or equal to 0");
        }
    }

    /// The number, if there is one, must be above 0.
    pub(super) fn positive(&mut self, at: &At) {
        if at.int().is_some_and(|n| n <= 0) {
            self.invalid(at, "must be greater than 0");
        }
    }

    /// The number, if there is one, must be in a range.
    pub(super) fn range(&mut self, at: &At, low: i64, high: i64) {
        if at.int().is_some_and(|n| !(low..=high).contains(&n)) {
            self.invalid(at, super::syntax::inclusive_range(low, high));
        }
    }

    /// The field must not differ from the old one.
    pub(super) fn immutable(&mut self, new: &At, old: &At) {
        if !same(new.value, old.value) {
            self.push(FieldError::immutable(&new.path, new.value.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_out_is_the_same() {
        for (a, b, want) in [
            (json!({"stdin": false, "command": [], "x": null, "y": ""}), json!({}), true),
            (json!({"securityContext": {"sysctls": []}}), json!({}), true),
            (json!({"hostPort": 0}), json!({}), true),
            (json!({"runAsUser": 0}), json!({}), false),
            (json!({"automountServiceAccountToken": false}), json!({}), false),
            (json!({"matchLabels": {"a": ""}}), json!({"matchLabels": {}}), false),
            (json!({"matchLabels": {}}), json!({}), true),
            (json!([{"a": 1}]), json!([{"a": 1, "b": false}]), true),
            (json!([1]), json!([1, 2]), false),
            (json!("x"), json!({}), false),
        ] {
            assert_eq!(same(&a, &b), want, "{a} {b}");
            assert_eq!(same(&b, &a), want, "{b} {a}");
        }
        assert!(!same_texts(&json!({"a": ""}), &json!({})));
        assert!(same_texts(&json!(null), &json!({})));
    }
}
