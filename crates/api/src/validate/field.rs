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

/// Whether two values mean the same: what is null or empty counts as missing.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    let nothing = |v: &Value| match v {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let one_way = x.iter().all(|(key, value)| same(value, y.get(key).unwrap_or(&Value::Null)));
            one_way && y.iter().all(|(key, value)| x.contains_key(key) || same(&Value::Null, value))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(a, b)| same(a, b)),
        (Value::Object(map), other) | (other, Value::Object(map)) => {
            nothing(other) && map.values().all(|value| same(&Value::Null, value))
        }
        (a, b) => a == b || (nothing(a) && nothing(b)),
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
