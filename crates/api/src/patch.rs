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
    /// A JSON patch that is well formed does not fit the object: a path is missing, or a test failed.
    #[error("the server rejected our request due to an error in our request: {0}")]
    Inapplicable(String),
    /// A JSON patch has more than [`MAX_JSON_PATCH_OPERATIONS`] operations.
    #[error("The allowed maximum operations in a JSON patch is {MAX_JSON_PATCH_OPERATIONS}, got {0}")]
    TooMany(usize),
    /// A strategic merge patch contradicts the schema or itself at a path.
    #[error("invalid strategic merge patch at {path}: {detail}")]
    Strategic {
        /// Where, for example `spec.containers[0]`.
        path: String,
        /// What is wrong there.
        detail: String,
    },
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
            Error::Malformed(_) | Error::Strategic { .. } => (400, "BadRequest"),
            Error::Inapplicable(_) => (422, "Invalid"),
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
    let patch: json_patch::Patch =
        serde_json::from_value(patch.clone()).map_err(|e| Error::Malformed(e.to_string()))?;
    let mut patched = object.clone();
    json_patch::patch(&mut patched, &patch).map_err(|e| Error::Inapplicable(e.to_string()))?;
    Ok(patched)
}

/// RFC 7396: objects merge, null removes, everything else replaces.
pub fn merge_patch(object: &Value, patch: &Value) -> Result<Value, Error> {
    if !patch.is_object() {
        return Err(Error::Malformed("a merge patch is a JSON object".into()));
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
