//! One condition on one label.

use std::fmt;

use super::{Error, Labels};
use crate::status::quote;
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

impl Requirement {
    /// Checks and makes a requirement. Values are sorted and kept once.
    pub fn new(key: &str, operator: Operator, values: Vec<String>) -> Result<Self, Error> {
        use Operator::{
            DoesNotExist, DoubleEquals, Equals, Exists, GreaterThan, In, LessThan, NotEquals, NotIn,
        };
        check_key(key)?;
        let mut values = values;
        values.sort();
        values.dedup();
        let list = || serde_json::to_string(&values).unwrap_or_default();
        let complaint = match operator {
            In | NotIn if values.is_empty() => "for 'in', 'notin' operators, values set can't be empty",
            Equals | DoubleEquals | NotEquals if values.len() != 1 => {
                "exact-match compatibility requires one single value"
            }
            Exists | DoesNotExist if !values.is_empty() => {
                "values set must be empty for exists and does not exist"
            }
            GreaterThan | LessThan if values.len() != 1 => {
                "for 'Gt', 'Lt' operators, exactly one value is required"
            }
            GreaterThan | LessThan if values[0].parse::<i64>().is_err() => {
                let quoted = quote(&values[0]);
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
                let quoted = quote(value);
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

pub(super) fn check_key(key: &str) -> Result<(), Error> {
    match syntax::qualified_name(key).into_iter().next() {
        Some(text) => Err(Error(format!("<nil>: Invalid value: {}: {text}", quote(key)))),
        None => Ok(()),
    }
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
