//! Field selectors: `metadata.name=x,status.phase!=Running`.
//!
//! Which fields of a kind can be selected is not known here: matching asks a closure, and whoever offers the fields
//! checks the names with [`FieldSelector::requirements`].

use std::fmt;

use super::Error;

/// One comparison of one field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldRequirement {
    /// Path of the field, for example `spec.nodeName`.
    pub field: String,
    /// Whether it must differ from the value.
    pub negated: bool,
    /// The value.
    pub value: String,
}

/// All comparisons must hold; none of them select everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    /// Selects every object.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Reads the `fieldSelector` of a query. In values `\`, `,` and `=` are written with a `\` before them.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut requirements = Vec::new();
        for term in split(text) {
            if term.is_empty() {
                continue;
            }
            let Some((field, negated, value)) = comparison(term) else {
                return Err(Error(format!("invalid selector: '{text}'; can't understand '{term}'")));
            };
            let value = unescape(value)?;
            requirements.push(FieldRequirement { field: field.to_owned(), negated, value });
        }
        Ok(Self { requirements })
    }

    /// Selects by equality of one field.
    pub fn equals(field: &str, value: &str) -> Self {
        let one = FieldRequirement { field: field.into(), negated: false, value: value.into() };
        Self { requirements: vec![one] }
    }

    /// Whether it selects every object.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The comparisons, in the order in which they were written.
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.requirements
    }

    /// The value that a field must have, if the selector says so.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.requirements.iter().find(|r| !r.negated && r.field == field).map(|r| r.value.as_str())
    }

    /// Whether it selects an object whose fields the closure looks up. A missing field is an empty one.
    pub fn matches<S: AsRef<str>>(&self, mut lookup: impl FnMut(&str) -> Option<S>) -> bool {
        self.requirements.iter().all(|requirement| {
            let found = lookup(&requirement.field);
            let found = found.as_ref().map_or("", |s| s.as_ref());
            (found == requirement.value) != requirement.negated
        })
    }
}

/// The terms between commas that have no `\` before them.
fn split(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == ',' {
            terms.push(&text[start..index]);
            start = index + 1;
        }
    }
    terms.push(&text[start..]);
    terms
}

fn comparison(term: &str) -> Option<(&str, bool, &str)> {
    for (index, _) in term.char_indices() {
        let rest = &term[index..];
        for (operator, negated) in [("!=", true), ("==", false), ("=", false)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Some((&term[..index], negated, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, Error> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => {
                    return Err(Error(format!("invalid field selector: invalid escape sequence: \\{c}")));
                }
                None => return Err(Error("invalid field selector: invalid escape sequence: \\".into())),
            },
            ',' | '=' => {
                return Err(Error(format!("invalid field selector: unescaped character in value: {c}")));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{}{}", requirement.field, if requirement.negated { "!=" } else { "=" })?;
            for c in requirement.value.chars() {
                if matches!(c, '\\' | ',' | '=') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

impl std::str::FromStr for FieldSelector {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}
