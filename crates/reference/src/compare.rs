//! Where two answers differ.

use serde_json::{Value, json};

use crate::mask::{mask, mask_generated, once_marked};
use crate::side::Answer;

/// One difference.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where, as `body.metadata.name`.
    pub path: String,
    /// What Kubernetes says there; `None` for nothing.
    pub expected: Option<String>,
    /// What Dunlin says.
    pub got: Option<String>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(f, "{}: Kubernetes {}, Dunlin {}", self.path, shown(&self.expected), shown(&self.got))
    }
}

/// All differences between what Kubernetes and what Dunlin answered, identities masked.
pub fn differences(kubernetes: &Answer, dunlin: &Answer) -> Vec<Difference> {
    let mut found = Vec::new();
    walk("", &shape(kubernetes), &shape(dunlin), &mut found);
    found
}

/// An answer as one value, so that everything about it has a path.
pub fn shape(answer: &Answer) -> Value {
    let mut body = answer.body.clone();
    mask_generated(&mut body);
    once_marked(&mut body);
    mask(&mut body);
    json!({
        "code": answer.code,
        "type": answer.media_type,
        "warnings": answer.warnings,
        "body": body,
    })
}

fn walk(path: &str, expected: &Value, got: &Value, found: &mut Vec<Difference>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (expected, got) {
        // An error here and an object there: the fields of the two have nothing to do with each other.
        (Value::Object(a), Value::Object(b)) if path == "body" && a.get("kind") != b.get("kind") => {
            found.push(Difference {
                path: path.to_owned(),
                expected: Some(short(expected)),
                got: Some(short(got)),
            });
        }
        (Value::Object(a), Value::Object(b)) => {
            for (name, value) in a {
                match b.get(name) {
                    Some(other) => walk(&below(name), value, other, found),
                    None => {
                        found.push(Difference { path: below(name), expected: Some(short(value)), got: None })
                    }
                }
            }
            for (name, value) in b.iter().filter(|(name, _)| !a.contains_key(*name)) {
                found.push(Difference { path: below(name), expected: None, got: Some(short(value)) });
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (value, other)) in a.iter().zip(b).enumerate() {
                walk(&below(&index.to_string()), value, other, found);
            }
        }
        _ if expected == got => {}
        _ => found.push(Difference {
            path: path.to_owned(),
            expected: Some(short(expected)),
            got: Some(short(got)),
        }),
    }
}

/// A value on one line of bearable length.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(600) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Whether `pattern` (fields with dots, `*` for any one) is `path` or lies above it.
pub fn covers(pattern: &str, path: &str) -> bool {
    let mut rest = path.split('.');
    pattern.split('.').all(|wanted| rest.next().is_some_and(|field| wanted == "*" || wanted == field))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: Value) -> Answer {
        Answer { code: 200, media_type: "application/json".to_owned(), warnings: Vec::new(), body }
    }

    #[test]
    fn every_kind_of_difference_has_its_path() {
        let a = answer(json!({"same": 1, "gone": {"x": 1}, "list": [{"n": 1}], "longer": [1, 2]}));
        let mut b = answer(json!({"same": 1, "new": true, "list": [{"n": 2}], "longer": [1]}));
        b.code = 201;
        let found: Vec<String> = differences(&a, &b).iter().map(ToString::to_string).collect();
        let mut found = found;
        found.sort();
        assert_eq!(
            found,
            [
                "body.gone: Kubernetes {\"x\":1}, Dunlin nothing",
                "body.list.0.n: Kubernetes 1, Dunlin 2",
                "body.longer: Kubernetes [1,2], Dunlin [1]",
                "body.new: Kubernetes nothing, Dunlin true",
                "code: Kubernetes 200, Dunlin 201",
            ]
        );
    }

    #[test]
    fn a_pattern_covers_what_lies_below_it() {
        assert!(covers("body.metadata", "body.metadata.name"));
        assert!(covers("body.*.name", "body.metadata.name"));
        assert!(!covers("body.metadata.name", "body.metadata"));
        assert!(!covers("body.meta", "body.metadata"));
    }
}
