//! The rules of a schema (`x-kubernetes-validations`, KEP-2876): compiled with the definition, evaluated with each object.
//!
//! Rules hang where they are written, in a tree that has only the places that lead to some. A rule that names `oldSelf`
//! is about a change: it runs when the place can be found in the old object, which in lists takes identities.

mod compile;
mod walk;

use serde_json::Value;

use super::{Rule, Schema};
use crate::cel::Program;
use crate::cel::types::Type;
use crate::jsonpath::Path;
use crate::validate::FieldError;

/// The rules at a place and below it.
#[derive(Debug)]
pub struct Rules {
    ty: Type,
    here: Box<[Compiled]>,
    properties: Box<[(Box<str>, Rules)]>,
    items: Option<Box<Rules>>,
    /// Values of other fields.
    values: Option<Box<Rules>>,
    /// How items are told apart, for rules about changes.
    identity: Option<Box<Schema>>,
}

#[derive(Debug)]
struct Compiled {
    rule: Rule,
    program: Program,
    message: Option<Program>,
    about_change: bool,
}

impl Rules {
    /// Compiles the rules of a schema that has been checked; what does not compile is left out.
    pub fn of(schema: &Schema) -> Option<Self> {
        compile::Compiler::default().place(schema, "", Some(1), None, true)
    }

    /// What is wrong with the rules of a schema that stands at `path` of a definition.
    pub fn errors(schema: &Schema, path: &str) -> Vec<FieldError> {
        compile::errors(schema, path)
    }

    /// What rules an object breaks; `old` is what it shall replace.
    pub fn check(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        walk::check(self, new, old)
    }
}

/// The fields of a path as `.a.b` or `['a']`.
fn fields(path: &str) -> Option<Vec<String>> {
    Path::parse(path).ok()?.fields()
}
