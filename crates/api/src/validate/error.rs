//! One thing that is wrong with one field, in Kubernetes' words and with its machine-readable reason.

use std::fmt;

use serde_json::Value;

use crate::status::{Cause, quote};

/// In what way a field is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// It must be there.
    Required,
    /// Its value is malformed or out of range.
    Invalid,
    /// Its value stands twice where it must stand once.
    Duplicate,
    /// Its value is none of the known ones.
    NotSupported,
    /// It names something that does not exist.
    NotFound,
    /// It must not be there, or not be changed, under these conditions.
    Forbidden,
    /// It has too many bytes.
    TooLong,
    /// It has too many items.
    TooMany,
    /// It has the wrong JSON type.
    TypeInvalid,
    /// The check itself failed.
    Internal,
}

impl ErrorKind {
    /// For programs, as `details.causes[].reason` has it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::Duplicate => "FieldValueDuplicate",
            Self::NotSupported => "FieldValueNotSupported",
            Self::NotFound => "FieldValueNotFound",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::Duplicate => "Duplicate value",
            Self::NotSupported => "Unsupported value",
            Self::NotFound => "Not found",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }
}

/// How a wrong value is shown. Kubernetes prints what a field without a value holds in Go, which depends on its type.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    /// As JSON.
    Value(Value),
    /// `null`: a list or map that is missing.
    Null,
    /// Just this, which is not JSON of ours.
    Text(String),
    /// Nothing at all, not even a colon.
    Omitted,
}

/// One thing that is wrong with an object.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// In what way.
    pub kind: ErrorKind,
    /// Where: `spec.containers[0].image`.
    pub field: String,
    /// What stands there, where Kubernetes shows it.
    pub bad_value: Option<Shown>,
    /// What would be right; may be empty.
    pub detail: String,
}

impl FieldError {
    fn new(kind: ErrorKind, field: &str, bad_value: Option<Value>, detail: impl Into<String>) -> Self {
        Self { kind, field: field.to_owned(), bad_value: bad_value.map(Shown::Value), detail: detail.into() }
    }

    /// The field must be there.
    pub fn required(field: &str, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Required, field, None, detail)
    }

    /// The value is malformed or out of range.
    pub fn invalid(field: &str, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, field, Some(value.into()), detail)
    }

    /// The same error, which shows the value as this text.
    pub fn showing(self, text: impl Into<String>) -> Self {
        Self { bad_value: Some(Shown::Text(text.into())), ..self }
    }

    /// The value may not change.
    pub fn immutable(field: &str, value: impl Into<Value>) -> Self {
        match value.into() {
            Value::Null => {
                Self { bad_value: Some(Shown::Null), ..Self::invalid(field, "", "field is immutable") }
            }
            value => Self::invalid(field, value, "field is immutable"),
        }
    }

    /// The value stands there a second time.
    pub fn duplicate(field: &str, value: impl Into<Value>) -> Self {
        Self::new(ErrorKind::Duplicate, field, Some(value.into()), "")
    }

    /// The value is none of these.
    pub fn not_supported(field: &str, value: impl Into<Value>, supported: &[&str]) -> Self {
        let list: Vec<String> = supported.iter().map(|s| quote(s)).collect();
        let detail =
            if list.is_empty() { String::new() } else { format!("supported values: {}", list.join(", ")) };
        Self::new(ErrorKind::NotSupported, field, Some(value.into()), detail)
    }

    /// The value names nothing.
    pub fn not_found(field: &str, value: impl Into<Value>) -> Self {
        Self::new(ErrorKind::NotFound, field, Some(value.into()), "")
    }

    /// The field may not be there, or not be changed.
    pub fn forbidden(field: &str, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Forbidden, field, None, detail)
    }

    /// The value has too many bytes.
    pub fn too_long(field: &str, limit: usize) -> Self {
        Self::new(ErrorKind::TooLong, field, None, format!("may not be more than {limit} bytes"))
    }

    /// The list has too many items.
    pub fn too_many(field: &str, count: usize, limit: usize) -> Self {
        Self::new(ErrorKind::TooMany, field, Some(count.into()), format!("must have at most {limit} items"))
    }

    /// The value has the wrong JSON type.
    pub fn type_invalid(field: &str, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::TypeInvalid, field, Some(value.into()), detail)
    }

    /// The check could not be made.
    pub fn internal(field: &str, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, field, None, detail)
    }

    /// The words without the field, as `details.causes[].message` has them.
    pub fn body(&self) -> String {
        let mut body = self.kind.words().to_owned();
        match &self.bad_value {
            None | Some(Shown::Omitted) => {}
            Some(Shown::Text(text)) => body.push_str(&format!(": {text}")),
            Some(Shown::Null) => body.push_str(": null"),
            Some(Shown::Value(Value::String(text))) => body.push_str(&format!(": {}", quote(text))),
            // A missing text or object.
            Some(Shown::Value(Value::Null)) => body.push_str(": \"null\""),
            Some(Shown::Value(other)) => body.push_str(&format!(": {other}")),
        }
        if !self.detail.is_empty() {
            body.push_str(": ");
            body.push_str(&self.detail);
        }
        body
    }

    /// As a cause of a [`crate::status::Status`].
    pub fn cause(&self) -> Cause {
        Cause { reason: self.kind.reason().into(), message: self.body(), field: self.field.clone() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl std::error::Error for FieldError {}
