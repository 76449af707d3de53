//! Label selectors and field selectors: parsing, matching, printing.
//!
//! A label selector comes from a query string (`app=web,tier in (a,b),!old`) or from a `LabelSelector` object; both
//! become the same list of requirements. The errors are worded as Kubernetes words them, since people read them in
//! `kubectl`. Nothing here knows which objects are selected.

mod fields;
mod lexer;
mod parse;
mod requirement;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

pub use fields::{FieldRequirement, FieldSelector};
pub use requirement::{Operator, Requirement};

/// Why a selector cannot be understood, in Kubernetes' words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

/// A condition on labels: all requirements must hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LabelSelector {
    /// `None` selects nothing at all, an empty list everything.
    requirements: Option<Vec<Requirement>>,
}

/// Where labels are looked up.
pub trait Labels {
    /// The value of a label.
    fn label(&self, key: &str) -> Option<&str>;
}

impl Labels for Value {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }
}

impl Labels for serde_json::Map<String, Value> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }
}

impl Labels for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl<L: Labels> Labels for Option<L> {
    fn label(&self, key: &str) -> Option<&str> {
        self.as_ref()?.label(key)
    }
}

impl<L: Labels + ?Sized> Labels for &L {
    fn label(&self, key: &str) -> Option<&str> {
        (**self).label(key)
    }
}

impl LabelSelector {
    /// Selects every object.
    pub fn everything() -> Self {
        Self { requirements: Some(Vec::new()) }
    }

    /// Selects no object.
    pub fn nothing() -> Self {
        Self { requirements: None }
    }

    /// All requirements must hold.
    pub fn all(requirements: Vec<Requirement>) -> Self {
        Self { requirements: Some(requirements) }
    }

    /// Reads the `labelSelector` of a query.
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse::parse(text).map(Self::all)
    }

    /// Reads a `LabelSelector` object. A missing one selects nothing, an empty one everything.
    pub fn from_value(value: &Value) -> Result<Self, Error> {
        if value.is_null() {
            return Ok(Self::nothing());
        }
        let mut requirements = equalities(&value["matchLabels"])?;
        for expression in value["matchExpressions"].as_array().into_iter().flatten() {
            let operator = match expression["operator"].as_str().unwrap_or_default() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(Error(format!(
                        "{} is not a valid label selector operator",
                        crate::status::quote(other)
                    )));
                }
            };
            let values = strings(&expression["values"]);
            requirements.push(Requirement::new(
                expression["key"].as_str().unwrap_or_default(),
                operator,
                values,
            )?);
        }
        requirements.sort_by(|a, b| a.key().cmp(b.key()));
        Ok(Self::all(requirements))
    }

    /// Reads a plain map of labels, as `spec.selector` of a Service is one. An empty or missing one selects nothing,
    /// as a Service without a selector selects no pods.
    pub fn from_map(value: &Value) -> Result<Self, Error> {
        let requirements = equalities(value)?;
        Ok(if requirements.is_empty() { Self::nothing() } else { Self::all(requirements) })
    }

    /// Whether it selects every object.
    pub fn is_everything(&self) -> bool {
        self.requirements.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether it can select no object.
    pub fn is_nothing(&self) -> bool {
        self.requirements.is_none()
    }

    /// The requirements; none when it selects nothing.
    pub fn requirements(&self) -> &[Requirement] {
        self.requirements.as_deref().unwrap_or_default()
    }

    /// Whether it selects an object with these labels.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        self.requirements.as_ref().is_some_and(|all| all.iter().all(|r| r.matches(labels)))
    }
}

fn equalities(labels: &Value) -> Result<Vec<Requirement>, Error> {
    let pairs = labels.as_object().into_iter().flatten();
    pairs
        .map(|(key, value)| {
            Requirement::new(key, Operator::Equals, vec![value.as_str().unwrap_or_default().to_owned()])
        })
        .collect()
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements().iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}

impl std::str::FromStr for LabelSelector {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests;
