//! Reading a descriptor field by field: every field is taken once, and what is left over is unknown.

use dunlin_api::quantity::Quantity;
use dunlin_api::validate::syntax;
use serde_json::{Map, Value};

/// What is wrong with a descriptor, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct Wrong {
    /// File, and path of the field, as in `web.yaml: requirements.cpu`.
    pub path: String,
    /// What is wrong and what to do.
    pub problem: String,
}

impl Wrong {
    pub(super) fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into() }
    }
}

/// A mapping of which fields are taken.
pub(super) struct Fields<'a> {
    /// The file, and where in it.
    at: String,
    prefix: String,
    known: Vec<&'static str>,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(value: &'a Value, at: &str, prefix: &str) -> Result<Self, Wrong> {
        let path = if prefix.is_empty() { at.to_owned() } else { format!("{at}: {prefix}") };
        let map = value.as_object().ok_or_else(|| Wrong::new(path, "a mapping with fields is expected"))?;
        Ok(Self { at: at.to_owned(), prefix: prefix.to_owned(), known: Vec::new(), map })
    }

    /// Where a field stands, for errors.
    pub(super) fn path(&self, name: &str) -> String {
        match self.prefix.as_str() {
            "" => format!("{}: {name}", self.at),
            prefix => format!("{}: {prefix}.{name}", self.at),
        }
    }

    /// A field that is there and not null.
    pub(super) fn take(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, Wrong> {
        let wrong = self.path(name);
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => {
                Err(Wrong::new(wrong, "is empty: leave it out"))
            }
            Some(Value::String(text)) if text.len() > 1024 => {
                Err(Wrong::new(wrong, "is longer than 1024 bytes"))
            }
            Some(Value::String(text)) => Ok(Some(text.trim().to_owned())),
            // YAML reads `v1` as a text but `1` as a number.
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(Wrong::new(wrong, "a text is expected")),
        }
    }

    pub(super) fn need_text(&mut self, name: &'static str, what: &str) -> Result<String, Wrong> {
        let path = self.path(name);
        self.text(name)?.ok_or_else(|| Wrong::new(path, format!("is missing: give {what}")))
    }

    /// A text that becomes a label's value.
    pub(super) fn label(&mut self, name: &'static str) -> Result<Option<String>, Wrong> {
        let text = self.text(name)?;
        match text.as_deref().map(syntax::label_value).and_then(|found| found.into_iter().next()) {
            Some(complaint) => Err(Wrong::new(self.path(name), complaint)),
            None => Ok(text),
        }
    }

    /// An amount: a plain number in `unit` (a suffix of Kubernetes quantities, or nothing), or a quantity.
    pub(super) fn amount(&mut self, name: &'static str, unit: &str) -> Result<Option<String>, Wrong> {
        let path = self.path(name);
        let text = match self.take(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => format!("{number}{unit}"),
            Some(Value::String(text)) if text.parse::<f64>().is_ok() => format!("{text}{unit}"),
            Some(Value::String(text)) => text.clone(),
            Some(_) => return Err(Wrong::new(path, "a number is expected")),
        };
        let amount: Quantity =
            text.parse().map_err(|e| Wrong::new(&path, format!("{text:?} is no amount: {e}")))?;
        if amount.is_zero() || amount.is_negative() {
            return Err(Wrong::new(path, "must be above 0: leave it out if it does not matter"));
        }
        Ok(Some(amount.to_string()))
    }

    pub(super) fn integer(
        &mut self,
        name: &'static str,
        least: i64,
        most: i64,
    ) -> Result<Option<i64>, Wrong> {
        let path = self.path(name);
        let number = match self.take(name) {
            None => return Ok(None),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(value) => value.as_i64(),
        };
        match number.filter(|n| (least..=most).contains(n)) {
            Some(number) => Ok(Some(number)),
            None => Err(Wrong::new(path, format!("a whole number from {least} to {most} is expected"))),
        }
    }

    /// A list of texts, or one text that is split at blanks.
    pub(super) fn words(&mut self, name: &'static str) -> Result<Vec<String>, Wrong> {
        let path = self.path(name);
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(text.split_whitespace().map(str::to_owned).collect()),
            Some(Value::Array(items)) => {
                let word = |(n, item): (usize, &Value)| {
                    let text = item.as_str().map(str::to_owned);
                    text.ok_or_else(|| Wrong::new(format!("{path}[{n}]"), "a text is expected"))
                };
                items.iter().enumerate().map(word).collect()
            }
            Some(_) => Err(Wrong::new(path, "a list of texts is expected")),
        }
    }

    /// A mapping of names to texts, or a list of `NAME=text`.
    pub(super) fn settings(&mut self, name: &'static str) -> Result<Vec<(String, String)>, Wrong> {
        let path = self.path(name);
        let pairs: Vec<(String, String)> = match self.take(name) {
            None => Vec::new(),
            Some(Value::Object(map)) => {
                let plain = |(key, value): (&String, &Value)| match value {
                    Value::String(text) => Ok((key.clone(), text.clone())),
                    Value::Number(_) | Value::Bool(_) => Ok((key.clone(), value.to_string())),
                    _ => Err(Wrong::new(format!("{path}.{key}"), "a text is expected")),
                };
                map.iter().map(plain).collect::<Result<_, _>>()?
            }
            Some(Value::Array(items)) => {
                let pair = |(n, item): (usize, &Value)| {
                    let split = item.as_str().and_then(|text| text.split_once('='));
                    let wrong = || Wrong::new(format!("{path}[{n}]"), "NAME=text is expected");
                    split.map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(wrong)
                };
                items.iter().enumerate().map(pair).collect::<Result<_, _>>()?
            }
            Some(_) => return Err(Wrong::new(path, "a mapping of names to texts is expected")),
        };
        for (key, _) in &pairs {
            if let Some(complaint) = syntax::env_name(key).into_iter().next() {
                return Err(Wrong::new(format!("{path}.{key}"), complaint));
            }
        }
        Ok(pairs)
    }

    /// All fields were taken; another one is unknown.
    pub(super) fn finish(self) -> Result<(), Wrong> {
        match self.map.keys().find(|name| !self.known.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let problem = format!("is unknown here; known are {}", self.known.join(", "));
                Err(Wrong::new(self.path(name), problem))
            }
        }
    }
}

/// A name as Kubernetes wants it: lower case, and dashes for what may not stand in it.
pub(super) fn name(text: &str, path: String) -> Result<String, Wrong> {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = text.chars().map(letter).collect();
    let name = name.trim_matches('-');
    // Pods add ten characters and five more to it, and a name ends at 63.
    if name.len() > 46 {
        return Err(Wrong::new(path, "is longer than 46 characters"));
    }
    match syntax::dns1035_label(name).into_iter().next() {
        None => Ok(name.to_owned()),
        Some(complaint) => Err(Wrong::new(path, format!("{text:?} cannot be made a name: {complaint}"))),
    }
}
