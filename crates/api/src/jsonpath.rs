//! The JSON paths of printer columns: fields, indexes, wildcards and the filter that compares one field.
//!
//! Kubernetes takes kubectl's template language there and uses the first thing that a path finds. What columns really
//! use is read here; slices, unions, recursion (`..`) and scripts are refused with the definition.

use serde_json::Value;

/// Longer paths are refused.
const LONGEST: usize = 1024;

/// A path, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Path(Box<[Step]>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(Box<str>),
    Index(i64),
    All,
    Filter { field: Box<[Box<str>]>, equal: bool, value: Value },
}

impl Path {
    /// Reads a path as `.spec.rules[0].host` or `.status.conditions[?(@.type=="Ready")].status`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("must be no more than {LONGEST} bytes"));
        }
        let text = text.trim();
        let text = text.strip_prefix('$').unwrap_or(text);
        if !text.starts_with(['.', '[']) {
            return Err("must be a simple json path starting with .".into());
        }
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (step, after) = if let Some(inside) = rest.strip_prefix('[') {
                bracket(inside)?
            } else if let Some(after) = rest.strip_prefix('.') {
                if after.is_empty() && steps.is_empty() {
                    break;
                }
                if after.starts_with('.') {
                    return Err("recursive descent (..) is not supported".into());
                }
                if after.starts_with('[') {
                    rest = after;
                    continue;
                }
                field(after)?
            } else {
                return Err(format!("unexpected {:?}", rest.chars().next().unwrap_or_default()));
            };
            steps.push(step);
            rest = after;
        }
        Ok(Self(steps.into()))
    }

    /// The names, if the path is nothing but fields.
    pub fn fields(&self) -> Option<Vec<String>> {
        let name = |step: &Step| match step {
            Step::Field(name) => Some(name.to_string()),
            _ => None,
        };
        self.0.iter().map(name).collect()
    }

    /// Everything that the path finds, in order.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|v| step.from(v)).collect();
        }
        found
    }
}

/// A field after a dot; a backslash takes the next character as it is, as in `.metadata.labels.app\.io/name`.
fn field(text: &str) -> Result<(Step, &str), String> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => {
                end = at;
                break;
            }
            c if c.is_whitespace() || matches!(c, '{' | '}' | '(' | ')' | ']') => {
                return Err(format!("unexpected {c:?}"));
            }
            c => name.push(c),
        }
    }
    if name.is_empty() {
        return Err("a field has no name".into());
    }
    let step = if name == "*" { Step::All } else { Step::Field(name.into()) };
    Ok((step, &text[end..]))
}

/// What stands between brackets.
fn bracket(text: &str) -> Result<(Step, &str), String> {
    if let Some(inside) = text.strip_prefix("?(") {
        let end = inside.find(")]").ok_or("unterminated filter")?;
        return Ok((filter(&inside[..end])?, &inside[end + 2..]));
    }
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '\'' | '"')) {
        let inside = &text[1..];
        let end = inside.find(quote).ok_or("unterminated quote")?;
        let after = inside[end + 1..].strip_prefix(']').ok_or("unterminated [")?;
        return Ok((Step::Field(inside[..end].into()), after));
    }
    let end = text.find(']').ok_or("unterminated [")?;
    let (inside, after) = (text[..end].trim(), &text[end + 1..]);
    if inside == "*" {
        return Ok((Step::All, after));
    }
    let index = inside.parse().map_err(|_| format!("[{inside}] is neither an index, nor *, nor a filter"))?;
    Ok((Step::Index(index), after))
}

fn filter(text: &str) -> Result<Step, String> {
    let wrong = || format!("the filter {text:?} is not of the form @.field==\"value\"");
    let (left, equal, right) = match (text.split_once("=="), text.split_once("!=")) {
        (Some((l, r)), _) => (l, true, r),
        (None, Some((l, r))) => (l, false, r),
        _ => return Err(wrong()),
    };
    let (left, right) = (left.trim(), right.trim());
    let field: Box<[Box<str>]> =
        left.strip_prefix("@.").ok_or_else(wrong)?.split('.').map(Into::into).collect();
    let quoted = |q: char| right.strip_prefix(q).and_then(|r| r.strip_suffix(q));
    let value = match quoted('"').or(quoted('\'')) {
        Some(inside) => Value::String(inside.to_owned()),
        None => serde_json::from_str(right).map_err(|_| wrong())?,
    };
    Ok(Step::Filter { field, equal, value })
}

impl Step {
    fn from<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Step::Field(name) => value.get(&**name).into_iter().collect(),
            Step::Index(index) => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                let at = if *index < 0 { items.len() as i64 + index } else { *index };
                usize::try_from(at).ok().and_then(|at| items.get(at)).into_iter().collect()
            }
            Step::All => match value {
                Value::Array(items) => items.iter().collect(),
                Value::Object(fields) => fields.values().collect(),
                _ => Vec::new(),
            },
            Step::Filter { field, equal, value: wanted } => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                let found = |item: &&Value| {
                    let at = field.iter().try_fold(*item, |v, name| v.get(&**name));
                    at.is_some_and(|v| (v == wanted) == *equal)
                };
                items.iter().filter(found).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_find_what_kubernetes_finds() {
        let object = json!({"spec": {"rules": [{"host": "a"}, {"host": "b"}], "a.b/c": 7},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "X", "status": "False"}]}});
        for (path, want) in [
            (".spec.rules[0].host", json!(["a"])),
            (".spec.rules[-1].host", json!(["b"])),
            (".spec.rules[*].host", json!(["a", "b"])),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
            (r#".status.conditions[?(@.type!='Ready')].status"#, json!(["False"])),
            (r".spec.a\.b/c", json!([7])),
            (".spec['a.b/c']", json!([7])),
            (".spec.nothing.there", json!([])),
        ] {
            let found = Path::parse(path).unwrap();
            assert_eq!(json!(found.find(&object)), want, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in ["", "spec", "..spec", ".spec[", ".spec[?(@.a)]", ".spec[1:2]", ".a.", ".a b"] {
            assert!(Path::parse(path).is_err(), "{path:?}");
        }
    }
}
