//! Strategic merge patch: lists, by key or as sets, and their order.

use serde_json::Value;

use super::{DIRECTIVE, Error, Object, merge_object, without_directives};
use crate::schema::Node;
use crate::status::go_value;

/// Merges a patch into a list that has the patch strategy `merge`.
pub(super) fn merge(node: Node<'_>, old: Vec<Value>, patch: &[Value]) -> Result<Vec<Value>, Error> {
    let key = node.rules().and_then(|r| r.merge_key);
    let before = old.clone();
    let merged = match key {
        Some(_) if patch.iter().any(|p| directive(p) == Some("replace")) => {
            let rest = patch.iter().filter(|p| directive(p) != Some("replace"));
            return Ok(rest.map(without_directives).collect());
        }
        Some(key) => merge_by_key(node.item(), old, patch, key)?,
        None => merge_set(old, patch),
    };
    Ok(in_order(merged, patch, &before, key))
}

fn merge_set(mut old: Vec<Value>, patch: &[Value]) -> Vec<Value> {
    for value in patch {
        if !old.contains(value) {
            old.push(value.clone());
        }
    }
    old
}

fn merge_by_key(
    item: Node<'_>,
    mut old: Vec<Value>,
    patch: &[Value],
    key: &str,
) -> Result<Vec<Value>, Error> {
    for value in patch {
        let wrong = |why: String| Error::Strategic(format!("map: {} {why}", go_value(value)));
        let Value::Object(fields) = value else {
            return Err(wrong(format!("does not contain declared merge key: {key}")));
        };
        let Some(id) = fields.get(key).filter(|v| !v.is_null()) else {
            return Err(wrong(format!("does not contain declared merge key: {key}")));
        };
        // A missing key in the stored object is its default; protocol-like keys are never merge keys.
        let same = |candidate: &Value| candidate.get(key) == Some(id);
        match directive(value) {
            Some("delete") => old.retain(|candidate| !same(candidate)),
            Some(word) if word != "merge" => {
                let map = go_value(value);
                return Err(Error::Strategic(format!("unknown patch type: {word} in map: {map}")));
            }
            _ => match old.iter_mut().find(|c| same(c)) {
                Some(found) => {
                    let before = std::mem::take(found);
                    let before = if let Value::Object(o) = before { o } else { Object::new() };
                    *found = Value::Object(merge_object(item, before, fields)?);
                }
                None => old.push(without_directives(value)),
            },
        }
    }
    Ok(old)
}

fn directive(value: &Value) -> Option<&str> {
    value.get(DIRECTIVE)?.as_str()
}

/// Sorts a merged list by the order that a patch asks for: `$setElementOrder`, or its own list.
///
/// Items that the order does not name belong to others. They keep the order that they had in the list `before` the
/// patch, and stay in front of those named items that followed them there; new items come before them.
pub(super) fn in_order(
    items: Vec<Value>,
    order: &[Value],
    before: &[Value],
    key: Option<&str>,
) -> Vec<Value> {
    let identity = |v: &Value| key.map_or_else(|| Some(v.clone()), |k| v.get(k).cloned());
    let identities = |list: &[Value]| list.iter().map(identity).collect::<Vec<_>>();
    let (wanted, old) = (identities(order), identities(before));
    let place = |list: &[Option<Value>], v: &Value| {
        let id = identity(v)?;
        list.iter().position(|other| other.as_ref() == Some(&id))
    };
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for item in items {
        let was = place(&old, &item);
        match place(&wanted, &item) {
            Some(place) => named.push((place, was, item)),
            None => others.push((was, item)),
        }
    }
    named.sort_by_key(|(place, ..)| *place);
    others.sort_by_key(|(was, _)| *was);
    let mut merged = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for (_, was, item) in named {
        let in_front = |other: &(Option<usize>, Value)| matches!((other.0, was), (Some(o), Some(n)) if o < n);
        while let Some((_, other)) = others.next_if(in_front) {
            merged.push(other);
        }
        merged.push(item);
    }
    merged.extend(others.map(|(_, other)| other));
    merged
}
