//! The structural schema of a custom resource, compact: what its objects look like, and what may be in them.
//!
//! A definition's `openAPIV3Schema` is mostly prose. What pruning, defaulting, checking and server-side apply need of it
//! is a small tree, which is all that a server keeps of a definition while it exists. [`Schema::parse`] takes any JSON
//! and leaves out what it does not understand; whether a schema is a good one is [`crate::validate`]'s question, asked
//! before a definition is stored.
//!
//! The rules are those of apiextensions.k8s.io/v1 (KEP-2337 for defaults, KEP-1101 for structural schemas).

mod check;
mod defaults;
mod formats;
mod lists;
mod parse;
mod prune;
mod rules;
mod types;

use serde_json::Value;

pub use check::check;
pub use defaults::fill;
pub(crate) use formats::fits;
pub use prune::prune;
pub use rules::Rules;

/// What expressions see of a custom resource.
pub(crate) fn declared(schema: &Schema) -> crate::cel::types::Type {
    types::declare(schema, true).ty
}

/// What JSON type a value has to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// An object.
    Object,
    /// An array.
    Array,
    /// A string.
    String,
    /// A number without a fraction.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
}

impl Type {
    /// The name in a schema.
    pub fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// How the items of a list are told apart (`x-kubernetes-list-type`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum List {
    /// They are not.
    #[default]
    Atomic,
    /// By their value.
    Set,
    /// By the values of these fields.
    Map(Box<[Box<str>]>),
}

/// What fields beside the named ones may be there (`additionalProperties`).
#[derive(Clone, Debug, Default)]
pub enum Additional {
    /// Nothing is said.
    #[default]
    Unsaid,
    /// Any, of any form.
    Any,
    /// Any, of this form.
    Of(Box<Schema>),
}

/// One place of a schema, with everything below it.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// `type`; none stands for any, as under `x-kubernetes-int-or-string`.
    pub ty: Option<Type>,
    /// Whether null may stand here.
    pub nullable: bool,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserve: bool,
    /// `x-kubernetes-embedded-resource`: `apiVersion`, `kind` and `metadata` are there without being named.
    pub embedded: bool,
    /// `x-kubernetes-int-or-string`.
    pub int_or_string: bool,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic_map: bool,
    /// `x-kubernetes-list-type`.
    pub list: List,
    /// Fields, ordered by name.
    pub properties: Box<[(Box<str>, Schema)]>,
    /// Other fields.
    pub additional: Additional,
    /// The items of a list.
    pub items: Option<Box<Schema>>,
    /// What stands here when nothing does.
    pub default: Option<Box<Value>>,
    /// Conditions on the value.
    pub checks: Option<Box<Checks>>,
    /// `x-kubernetes-validations`, as they are written; [`Rules`] are what becomes of them.
    pub rules: Box<[Rule]>,
}

/// Conditions on a value that do not change its form.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    format: Option<Box<str>>,
    pattern: Option<Box<str>>,
    minimum: Option<(f64, bool)>,
    maximum: Option<(f64, bool)>,
    multiple_of: Option<f64>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    min_properties: Option<u64>,
    max_properties: Option<u64>,
    unique: bool,
    required: Box<[Box<str>]>,
    values: Box<[Value]>,
    all_of: Box<[Schema]>,
    any_of: Box<[Schema]>,
    one_of: Box<[Schema]>,
    not: Option<Box<Schema>>,
}

/// One of `x-kubernetes-validations`, as it is written.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// The expression.
    pub rule: Box<str>,
    /// What is said when it is broken.
    pub message: Box<str>,
    /// An expression that makes what is said.
    pub message_expression: Box<str>,
    /// `FieldValueInvalid` and its like; empty for that one.
    pub reason: Box<str>,
    /// The field that is named as wrong, below this place.
    pub field_path: Box<str>,
    /// Whether `oldSelf` is an optional, so that the rule holds for new values, too.
    pub optional_old_self: bool,
}

impl Schema {
    /// The named field.
    pub fn property(&self, name: &str) -> Option<&Schema> {
        let found = self.properties.binary_search_by(|(n, _)| (**n).cmp(name)).ok()?;
        Some(&self.properties[found].1)
    }

    /// The form of any field: the named one, or that of all others.
    pub fn field(&self, name: &str) -> Option<&Schema> {
        self.property(name).or(match &self.additional {
            Additional::Of(schema) => Some(schema),
            _ => None,
        })
    }

    /// The form of the value at the end of a path of fields.
    pub fn at(&self, path: &[&str]) -> Option<&Schema> {
        path.iter().try_fold(self, |schema, name| schema.property(name))
    }

    /// Whether a default stands anywhere in it.
    pub fn has_defaults(&self) -> bool {
        let below = |s: &Schema| s.default.is_some() || s.has_defaults();
        self.properties.iter().any(|(_, s)| below(s))
            || self.items.as_deref().is_some_and(below)
            || matches!(&self.additional, Additional::Of(s) if below(s))
    }

    /// `format`, which tells times from other strings.
    pub(crate) fn format(&self) -> Option<&str> {
        self.checks.as_deref()?.format.as_deref()
    }

    /// Whether the field has to be there.
    pub(crate) fn requires(&self, name: &str) -> bool {
        self.checks.as_deref().is_some_and(|c| c.required.iter().any(|r| &**r == name))
    }
}

#[cfg(test)]
mod tests;
