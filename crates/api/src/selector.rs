//! Label selectors and field selectors: parsing, matching, printing.
//!
//! A label selector comes from a query string (`app=web,tier in (a,b),!old`) or from a `LabelSelector` object; both
//! become the same list of requirements. The errors are worded as Kubernetes words them, since people read them in
//! `kubectl`. Nothing here knows which objects are selected.

mod fields;
mod lexer;
mod parse;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

pub use fields::{FieldRequirement, FieldSelector};

use crate::validate::syntax;

/// How a requirement compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// The value is one of the list. `k=v` is this with one value.
    In,
    /// The label is missing or its value is none of the list.
    NotIn,
    /// `=`.
    Equals,
    /// `==`.
    DoubleEquals,
    /// `!=`.
    NotEquals,
    /// The label is there.
    Exists,
    /// The label is missing.
    DoesNotExist,
    /// The value is a whole number above.
    GreaterThan,
    /// The value is a whole number below.
    LessThan,
}

impl Operator {
    fn symbol(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::NotIn => "notin",
            Self::Equals => "=",
            Self::DoubleEquals => "==",
            Self::NotEquals => "!=",
            Self::Exists => "exists",
            Self::DoesNotExist => "!",
            Self::GreaterThan => "gt",
            Self::LessThan => "lt",
        }
    }
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    key: String,
    operator: Operator,
    /// Sorted, each once.
    values: Vec<String>,
}

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

impl Requirement {
    /// Checks and makes a requirement. Values are sorted and kept once.
    pub fn new(key: &str, operator: Operator, values: Vec<String>) -> Result<Self, Error> {
        use Operator::{DoesNotExist, DoubleEquals, Equals, Exists, GreaterThan, In, LessThan, NotEquals, NotIn};
        check_key(key)?;
        let mut values = values;
        values.sort();
        values.dedup();
        let list = || serde_json::to_string(&values).unwrap_or_default();
        let complaint = match operator {
            In | NotIn if values.is_empty() => "for 'in', 'notin' operators, values set can't be empty",
            Equals | DoubleEquals | NotEquals if values.len() != 1 => "exact-match compatibility requires one single value",
            Exists | DoesNotExist if !values.is_empty() => "values set must be empty for exists and does not exist",
            GreaterThan | LessThan if values.len() != 1 => "for 'Gt', 'Lt' operators, exactly one value is required",
            GreaterThan | LessThan if values[0].parse::<i64>().is_err() => {
                let quoted = crate::status::quote(&values[0]);
                return Err(Error(format!(
                    "values[0]: Invalid value: {quoted}: for 'Gt', 'Lt' operators, the value must be an integer"
                )));
            }
            _ => "",
        };
        if !complaint.is_empty() {
            return Err(Error(format!("values: Invalid value: {}: {complaint}", list())));
        }
        for (index, value) in values.iter().enumerate() {
            if let Some(text) = syntax::label_value(value).into_iter().next() {
                let quoted = crate::status::quote(value);
                return Err(Error(format!("values[{index}][{key}]: Invalid value: {quoted}: {text}")));
            }
        }
        Ok(Self { key: key.to_owned(), operator, values })
    }

    /// The label.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How it compares.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// The values it compares with, sorted.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether labels fulfil it.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        let found = labels.label(&self.key);
        let listed = |value: &str| self.values.iter().any(|v| v == value);
        let compare = |test: fn(&i64, &i64) -> bool| {
            let wanted = self.values.first().and_then(|v| v.parse::<i64>().ok());
            match (found.and_then(|v| v.parse::<i64>().ok()), wanted) {
                (Some(found), Some(wanted)) => test(&found, &wanted),
                _ => false,
            }
        };
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => found.is_some_and(listed),
            Operator::NotIn | Operator::NotEquals => !found.is_some_and(listed),
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
            Operator::GreaterThan => compare(i64::gt),
            Operator::LessThan => compare(i64::lt),
        }
    }
}

fn check_key(key: &str) -> Result<(), Error> {
    match syntax::qualified_name(key).into_iter().next() {
        Some(text) => {
            Err(Error(format!("key: Invalid value: {}: {text}", crate::status::quote(key))))
        }
        None => Ok(()),
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
            requirements.push(Requirement::new(expression["key"].as_str().unwrap_or_default(), operator, values)?);
        }
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
            Requirement::new(key, Operator::In, vec![value.as_str().unwrap_or_default().to_owned()])
                .map(|r| Requirement { operator: Operator::Equals, ..r })
        })
        .collect()
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let first = self.values.first().map_or("", String::as_str);
        match self.operator {
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::In | Operator::NotIn => {
                write!(f, "{key} {} ({})", self.operator.symbol(), self.values.join(","))
            }
            Operator::GreaterThan => write!(f, "{key}>{first}"),
            Operator::LessThan => write!(f, "{key}<{first}"),
            other => write!(f, "{key}{}{first}", other.symbol()),
        }
    }
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
