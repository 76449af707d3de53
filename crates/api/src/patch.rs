//! The three patches that are not applies: JSON patch, merge patch, strategic merge patch.
//!
//! All are functions from an object and a patch to a new object; the object is never changed half-way. What they make
//! is not decoded or validated yet: the caller does that as with any written object.

mod strategic;

use serde_json::Value;

use crate::gvk::GroupVersionKind;
use crate::schema::Node;

/// More operations in one JSON patch are refused, as Kubernetes does.
pub const MAX_JSON_PATCH_OPERATIONS: usize = 10_000;

/// Why a patch could not be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The patch is not what its media type says.
    #[error("error decoding patch: {0}")]
    Malformed(String),
    /// A strategic merge patch is not what its media type says.
    #[error("{0}")]
    NoObject(String),
    /// A JSON patch that is well formed does not fit the object: a path is missing, or a test failed.
    /// Kubernetes does not tell which.
    #[error("the server rejected our request due to an error in our request")]
    Inapplicable(String),
    /// A `test` of a JSON patch failed; told in the same words.
    #[error("the server rejected our request due to an error in our request")]
    TestFailed,
    /// A JSON patch has more than [`MAX_JSON_PATCH_OPERATIONS`] operations.
    #[error("The allowed maximum operations in a JSON patch is {MAX_JSON_PATCH_OPERATIONS}, got {0}")]
    TooMany(usize),
    /// A strategic merge patch contradicts itself. Kubernetes takes it for a fault of its own.
    #[error("{0}")]
    Strategic(String),
    /// A directive of a strategic merge patch is not of the type that it must be.
    #[error("invalid patch format of {0}")]
    Directive(&'static str),
    /// The kind has no published schema, so a strategic merge patch has no meaning.
    #[error(
        "the body of the request was in an unknown format - accepted media types include: \
         application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    )]
    Unsupported,
}

impl Error {
    /// The HTTP status and the reason that Kubernetes answers with.
    pub fn status(&self) -> (u16, &'static str) {
        match self {
            Error::Malformed(_) | Error::NoObject(_) | Error::Directive(_) => (400, "BadRequest"),
            Error::Strategic(_) => (500, ""),
            Error::Inapplicable(_) | Error::TestFailed => (422, "Invalid"),
            Error::TooMany(_) => (413, "RequestEntityTooLarge"),
            Error::Unsupported => (415, "UnsupportedMediaType"),
        }
    }
}

/// RFC 6902: a list of operations, of which all or none take effect.
pub fn json_patch(object: &Value, patch: &Value) -> Result<Value, Error> {
    let operations = patch.as_array().map_or(0, Vec::len);
    if operations > MAX_JSON_PATCH_OPERATIONS {
        return Err(Error::TooMany(operations));
    }
    let Some(operations) = patch.as_array() else {
        return Err(Error::Malformed(not_an(patch, "[]handlers.jsonPatchOp")));
    };
    let mut patched = object.clone();
    for operation in operations {
        let mut operation = operation.clone();
        // As Kubernetes' library has it, a field that is not there yet can be replaced.
        if operation["op"] == "replace" && adds(&patched, &operation) {
            operation["op"] = "add".into();
        }
        let parsed: json_patch::Patch = serde_json::from_value(Value::Array(vec![operation.clone()]))
            .map_err(|e| Error::Inapplicable(e.to_string()))?;
        if let Err(error) = json_patch::patch(&mut patched, &parsed) {
            return Err(match error.kind {
                json_patch::PatchErrorKind::TestFailed => Error::TestFailed,
                _ => Error::Inapplicable(missing(&patched, &operation)),
            });
        }
    }
    Ok(patched)
}

/// What Kubernetes' library says of an operation whose path leads nowhere.
fn missing(object: &Value, operation: &Value) -> String {
    let text = |field: &str| operation[field].as_str().unwrap_or_default();
    let (op, path) = (text("op"), text("path"));
    let (parent, key) = path.rsplit_once('/').unwrap_or_default();
    if op == "remove" && object.pointer(parent).is_some_and(Value::is_object) {
        return format!(
            "error in remove for path: '{path}': Unable to remove nonexistent key: {key}: missing value"
        );
    }
    format!("{op} operation does not apply: doc is missing path: {path:?}: missing value")
}

/// Whether an operation names a field of an object that is there, which the object does not have.
fn adds(object: &Value, operation: &Value) -> bool {
    let path = operation["path"].as_str().unwrap_or_default();
    let parent = path.rsplit_once('/').map(|(parent, _)| parent);
    object.pointer(path).is_none() && parent.and_then(|p| object.pointer(p)).is_some_and(Value::is_object)
}

/// What Go says of a value that is not of a type.
pub fn not_an(value: &Value, go: &str) -> String {
    let what = match value {
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        _ => "object",
    };
    format!("json: cannot unmarshal {what} into Go value of type {go}")
}

/// RFC 7396: objects merge, null removes, everything else replaces.
pub fn merge_patch(object: &Value, patch: &Value) -> Result<Value, Error> {
    if patch.is_null() {
        return Ok(object.clone());
    }
    if !patch.is_object() {
        return Err(Error::Malformed(not_an(patch, "map[string]interface {}")));
    }
    let mut patched = object.clone();
    json_patch::merge(&mut patched, patch);
    Ok(patched)
}

/// Kubernetes' own merge patch: lists merge by the keys that the schema of the kind names, and directives in the patch
/// (`$patch`, `$retainKeys`, `$setElementOrder/…`, `$deleteFromPrimitiveList/…`) say what a merge cannot.
pub fn strategic_merge(gvk: &GroupVersionKind, object: &Value, patch: &Value) -> Result<Value, Error> {
    let node = Node::of(gvk).ok_or(Error::Unsupported)?;
    strategic::merge(node, object, patch)
}

#[cfg(test)]
mod tests;
