//! Functions of texts: the strings extension, regular expressions, and `format`. Places are counted in characters.

use std::borrow::Cow;

use crate::cel::value::Val;
use crate::cel::{Failed, duration};
use crate::pattern;

type Answer<'a> = Option<Result<Val<'a>, Failed>>;

fn error<'a>(message: impl Into<String>) -> Answer<'a> {
    Some(Err(Failed::Error(message.into())))
}

/// The place in bytes of a place in characters.
fn byte(text: &str, at: i64) -> Option<usize> {
    let at = usize::try_from(at).ok()?;
    text.char_indices().map(|(i, _)| i).chain([text.len()]).nth(at)
}

fn place(text: &str, found: Option<usize>) -> Val<'static> {
    Val::Int(found.map_or(-1, |at| text[..at].chars().count() as i64))
}

pub(super) fn call<'a>(name: &str, text: &Cow<'a, str>, args: &[Val<'a>]) -> Answer<'a> {
    let value = match (name, args) {
        ("size", []) => Val::Int(text.chars().count() as i64),
        ("contains", [Val::Text(part)]) => Val::Bool(text.contains(&**part)),
        ("startsWith", [Val::Text(part)]) => Val::Bool(text.starts_with(&**part)),
        ("endsWith", [Val::Text(part)]) => Val::Bool(text.ends_with(&**part)),
        ("matches", [Val::Text(expression)]) => match pattern::compile(expression) {
            Ok(pattern) => Val::Bool(pattern.is_match(text)),
            Err(why) => return error(why),
        },
        ("find", [Val::Text(expression)]) => match pattern::compile(expression) {
            Ok(pattern) => Val::text(pattern.find(text).map_or("", |m| m.as_str())),
            Err(why) => return error(why),
        },
        ("findAll", [Val::Text(expression), rest @ ..]) => match pattern::compile(expression) {
            Ok(pattern) => {
                let most = match rest {
                    [] => usize::MAX,
                    [Val::Int(n)] => usize::try_from(*n).unwrap_or(usize::MAX),
                    _ => return None,
                };
                Val::list(pattern.find_iter(text).take(most).map(|m| Val::text(m.as_str())).collect())
            }
            Err(why) => return error(why),
        },
        ("charAt", [Val::Int(at)]) => match byte(text, *at) {
            Some(start) => Val::text(text[start..].chars().next().map_or(String::new(), String::from)),
            None => return error(format!("index out of range: {at}")),
        },
        ("indexOf", [Val::Text(part), rest @ ..]) => {
            let from = match rest {
                [] => 0,
                [Val::Int(n)] => match byte(text, *n) {
                    Some(from) => from,
                    None => return error(format!("index out of range: {n}")),
                },
                _ => return None,
            };
            place(text, text[from..].find(&**part).map(|at| at + from))
        }
        ("lastIndexOf", [Val::Text(part), rest @ ..]) => {
            let upto = match rest {
                [] => text.len(),
                [Val::Int(n)] => match byte(text, *n) {
                    Some(at) => (at + part.len()).min(text.len()),
                    None => return error(format!("index out of range: {n}")),
                },
                _ => return None,
            };
            let found = text.get(..upto).unwrap_or(text).rfind(&**part);
            place(text, found)
        }
        ("lowerAscii", []) => Val::text(text.to_ascii_lowercase()),
        ("upperAscii", []) => Val::text(text.to_ascii_uppercase()),
        ("trim", []) => Val::text(text.trim()),
        ("reverse", []) => Val::text(text.chars().rev().collect::<String>()),
        ("replace", [Val::Text(from), Val::Text(to), rest @ ..]) => {
            let times = match rest {
                [] => usize::MAX,
                [Val::Int(n)] => usize::try_from(*n).unwrap_or(usize::MAX),
                _ => return None,
            };
            // What a replacement makes longer is bounded by what a request can carry.
            let many = text.matches(&**from).take(times).count();
            if many.saturating_mul(to.len()).saturating_add(text.len()) > crate::cel::types::REQUEST as usize
            {
                return error("the replaced text is too long");
            }
            Val::text(text.replacen(&**from, to, times))
        }
        ("split", [Val::Text(at), rest @ ..]) => {
            let most = match rest {
                [] => usize::MAX,
                [Val::Int(n)] => usize::try_from(*n).unwrap_or(usize::MAX),
                _ => return None,
            };
            let own = |part: &str| Val::text(part);
            let parts: Vec<Val<'a>> = match most {
                0 => Vec::new(),
                _ if at.is_empty() => {
                    let chars: Vec<String> = text.chars().map(String::from).collect();
                    if chars.len() <= most {
                        chars.into_iter().map(Val::text).collect()
                    } else {
                        let (head, tail) = chars.split_at(most - 1);
                        head.iter().cloned().chain([tail.concat()]).map(Val::text).collect()
                    }
                }
                usize::MAX => text.split(&**at).map(own).collect(),
                most => text.splitn(most, &**at).map(own).collect(),
            };
            Val::list(parts)
        }
        ("substring", [Val::Int(from), rest @ ..]) => {
            let end = match rest {
                [] => Some(text.len()),
                [Val::Int(n)] => byte(text, *n),
                _ => return None,
            };
            match (byte(text, *from), end) {
                (Some(from), Some(end)) if from <= end => Val::text(&text[from..end]),
                (Some(_), Some(_)) => return error("invalid substring range"),
                _ => return error(format!("index out of range: {from}")),
            }
        }
        ("format", [Val::List(args)]) => {
            return Some(args.items().and_then(|args| format(text, &args)).map(Val::text));
        }
        _ => return None,
    };
    Some(Ok(value))
}

/// `"%s is %d".format([...])`.
fn format(text: &str, args: &[Val<'_>]) -> Result<String, Failed> {
    let wrong = |why: String| Failed::Error(format!("error during formatting: {why}"));
    let mut out = String::new();
    let mut args = args.iter();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let mut precision = None;
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            precision =
                Some(after[..end].parse::<usize>().map_err(|_| wrong("bad precision".into()))?.min(64));
            rest = &after[end..];
        }
        let verb = rest.chars().next().ok_or_else(|| wrong("unexpected end of string".into()))?;
        rest = &rest[verb.len_utf8()..];
        if verb == '%' {
            out.push('%');
            continue;
        }
        let arg = args.next().ok_or_else(|| wrong("index out of range".into()))?;
        let number = match arg {
            Val::Int(n) => Some(i128::from(*n)),
            Val::Uint(n) => Some(i128::from(*n)),
            _ => None,
        };
        let float = match arg {
            Val::Double(n) => Some(*n),
            _ => number.map(|n| n as f64),
        };
        match (verb, number, float) {
            ('s', ..) => out.push_str(&plain(arg)),
            ('d', Some(n), _) => out.push_str(&n.to_string()),
            ('d', None, Some(n)) => out.push_str(&n.to_string()),
            ('b', Some(n), _) => out.push_str(&format!("{n:b}")),
            ('o', Some(n), _) => out.push_str(&format!("{n:o}")),
            ('x', Some(n), _) => out.push_str(&format!("{n:x}")),
            ('X', Some(n), _) => out.push_str(&format!("{n:X}")),
            ('x' | 'X', None, None) => {
                let bytes = match arg {
                    Val::Text(text) => text.as_bytes().to_vec(),
                    Val::Bytes(bytes) => bytes.to_vec(),
                    other => {
                        return Err(wrong(format!("no formatting clause for type {}", other.type_name())));
                    }
                };
                let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
                out.push_str(&if verb == 'x' { hex } else { hex.to_uppercase() });
            }
            ('b', None, _) if matches!(arg, Val::Bool(_)) => {
                out.push(if matches!(arg, Val::Bool(true)) { '1' } else { '0' });
            }
            ('f', _, Some(n)) => out.push_str(&format!("{n:.*}", precision.unwrap_or(6))),
            ('e', _, Some(n)) => out.push_str(&exponent(n, precision.unwrap_or(6))),
            (other, ..) => {
                return Err(wrong(format!(
                    "unrecognized formatting clause \"{other}\" for {}",
                    arg.type_name()
                )));
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// `1.500000e+03`.
fn exponent(n: f64, precision: usize) -> String {
    let text = format!("{n:.precision$e}");
    let Some((mantissa, power)) = text.split_once('e') else { return text };
    let (sign, digits) = match power.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', power),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// A value as `%s` shows it.
pub(super) fn plain(value: &Val<'_>) -> String {
    match value {
        Val::Text(text) => text.to_string(),
        Val::Null => "null".into(),
        Val::Duration(nanos) => duration::print(*nanos),
        Val::Type(name) => name.to_string(),
        Val::List(list) => {
            let items = list.items().unwrap_or_default();
            format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", "))
        }
        Val::Map(map) => {
            let mut entries: Vec<String> = map
                .entries()
                .unwrap_or_default()
                .iter()
                .map(|(k, v)| format!("{}: {}", plain(k), plain(v)))
                .collect();
            entries.sort();
            format!("{{{}}}", entries.join(", "))
        }
        other => other
            .to_json()
            .map_or_else(String::new, |v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)),
    }
}
