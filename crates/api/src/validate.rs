//! What is wrong with an object, field by field, in Kubernetes' words.
pub mod error;
pub mod syntax;
pub use error::{ErrorKind, FieldError};
use serde_json::Value;
pub fn validate_create(_gvk: &crate::gvk::GroupVersionKind, _new: &Value) -> Vec<FieldError> { Vec::new() }
pub fn validate_update(_gvk: &crate::gvk::GroupVersionKind, _new: &Value, _old: &Value) -> Vec<FieldError> { Vec::new() }
