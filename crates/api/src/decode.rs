//! Decoding: from JSON text or values to objects that fit their kind.
//!
//! Kubernetes decodes into Go structs; clients know its errors by heart and scripts match them, so wrong types are
//! reported in the same words. Unknown fields are dropped and named by their whole path, duplicates are found in the
//! text before the later one wins, and nulls of typed fields vanish, as they do in Go.
//!
//! Only the shape is judged here: whether a value makes sense is [`crate::validate`]'s question. Kinds that are not in
//! the table (custom resources) pass through unchanged; their own schema is applied elsewhere.
//!
//! Limits: text deeper than 128 levels is refused by the parser, and so are bodies above [`MAX_BYTES`].

mod convert;
mod duplicates;
mod syntax;

use serde_json::Value;

use crate::gvk::GroupVersionKind;
use crate::schema::{Node, Type, schema};

/// The largest body that Kubernetes accepts: 3 MiB.
pub const MAX_BYTES: usize = 3 * 1024 * 1024;

/// A decoded object and what was wrong with it without making it unreadable.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object as Go would write it: without unknown fields, with zero values left out or filled in field by field.
    pub value: Value,
    /// `unknown field "spec.foo"`, in the order of the object.
    pub unknown: Vec<String>,
    /// `duplicate field "spec.replicas"`; only text has duplicates.
    pub duplicate: Vec<String>,
}

impl Decoded {
    /// All complaints, duplicates last, as Kubernetes orders them: these become `Warning` headers when a request
    /// asks for `fieldValidation=Warn`.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.unknown.iter().chain(&self.duplicate).map(String::as_str)
    }

    /// The value, or what `fieldValidation=Strict` answers if anything was complained of.
    pub fn strict(self) -> Result<Value, Error> {
        if self.unknown.is_empty() && self.duplicate.is_empty() {
            return Ok(self.value);
        }
        Err(Error::Strict(self.warnings().collect::<Vec<_>>().join(", ")))
    }
}

/// Why JSON could not become an object. The texts are those that Kubernetes puts into its `Status`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not JSON.
    #[error("{0}")]
    Syntax(String),
    /// A value has the wrong JSON type; the message starts with `json: cannot unmarshal`.
    #[error("{0}")]
    Type(String),
    /// Strict decoding found unknown or duplicate fields.
    #[error("strict decoding error: {0}")]
    Strict(String),
    /// The text is larger than [`MAX_BYTES`].
    #[error("request body is {0} bytes, the limit is {MAX_BYTES}")]
    TooLarge(usize),
}

/// How Go names what it reads version and kind into.
pub const VERSION_AND_KIND: &str =
    r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

/// Fits a value to its kind: wrong types are errors, unknown fields and nulls are dropped.
pub fn decode(gvk: &GroupVersionKind, value: &Value) -> Result<Decoded, Error> {
    decode_owned(gvk, value.clone())
}

/// As [`decode`], for callers that need the value no more.
pub fn decode_owned(gvk: &GroupVersionKind, value: Value) -> Result<Decoded, Error> {
    let Some(id) = schema().of(gvk) else {
        return Ok(Decoded { value, unknown: Vec::new(), duplicate: Vec::new() });
    };
    let (value, unknown) = convert::convert(Type::Ref(id), value)?;
    Ok(Decoded { value, unknown, duplicate: Vec::new() })
}

/// An object in which nothing is set: only the fields that Kubernetes writes always. Of kinds that are not in the table
/// that is the metadata alone.
pub fn empty_of(root: Node<'_>) -> Value {
    root.type_id()
        .map_or_else(|| serde_json::json!({"metadata": {}}), |id| convert::zero(schema(), Type::Ref(id)))
}

/// Fits the metadata of an object of any kind to its type, and leaves the rest as it is; gives back complaints about
/// unknown fields of the metadata.
pub fn metadata(mut value: Value) -> Result<(Value, Vec<String>), Error> {
    // Any kind whose metadata is of the common type will do.
    let root = schema().of(&GroupVersionKind::new("", "v1", "Namespace"));
    let (Some(id), Some(found)) = (root, value.get_mut("metadata").map(Value::take)) else {
        return Ok((value, Vec::new()));
    };
    let fitted = convert::convert(Type::Ref(id), serde_json::json!({ "metadata": found }));
    // Kubernetes reads the metadata by itself and names its fields so.
    let (mut fitted, unknown) = fitted.map_err(|e| match e {
        Error::Type(text) => Error::Type(text.replace("ObjectMeta.metadata.", "ObjectMeta.")),
        other => other,
    })?;
    value["metadata"] = fitted["metadata"].take();
    Ok((value, unknown))
}

/// Parses a text and fits it to its kind; also finds duplicate fields.
pub fn decode_slice(gvk: &GroupVersionKind, text: &[u8]) -> Result<Decoded, Error> {
    let (value, duplicate) = parse(text)?;
    Ok(Decoded { duplicate, ..decode_owned(gvk, value)? })
}

/// Parses a text without fitting it to any kind: the value, and the duplicate fields in it. For callers that must
/// read the kind first.
pub fn parse(text: &[u8]) -> Result<(Value, Vec<String>), Error> {
    if text.len() > MAX_BYTES {
        return Err(Error::TooLarge(text.len()));
    }
    duplicates::parse(text)
        .map_err(|e| Error::Syntax(syntax::complaint(text).unwrap_or_else(|| e.to_string())))
}

#[cfg(test)]
mod tests;
