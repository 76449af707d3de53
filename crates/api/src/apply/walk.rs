//! Which fields a configuration speaks of: the set of an object, and the identity of list items.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Error;
use super::set::{Element, FieldSet, canonical};
use crate::schema::{ListType, Node};

/// The set of the fields in an object, as an apply of it would own them. Refuses lists whose items cannot be told
/// apart: items without their keys, or two with the same.
pub fn field_set(node: Node<'_>, object: &Value) -> Result<FieldSet, Error> {
    let mut path = String::new();
    match object {
        Value::Object(fields) => fields_of(node, fields, &mut path),
        _ => Ok(FieldSet::default()),
    }
}

fn fields_of(node: Node<'_>, fields: &Map<String, Value>, path: &mut String) -> Result<FieldSet, Error> {
    let mut set = FieldSet::default();
    for (name, value) in fields {
        let element = Element::field(name);
        let before = path.len();
        path.push('.');
        path.push_str(name);
        let below = value_of(node.field(name).unwrap_or(Node::Unknown), value, path)?;
        path.truncate(before);
        // An empty list is owned too, unlike in Kubernetes, where applying one twice removes and restores it.
        let empty = match value {
            Value::Null => true,
            Value::Object(fields) => fields.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        if below.is_none() || empty || !node.declares(name) {
            set.insert(element.clone());
        }
        set.insert_below(element, below.unwrap_or_default());
    }
    Ok(set)
}

/// What lies below a value; `None` if it is owned as one.
fn value_of(node: Node<'_>, value: &Value, path: &mut String) -> Result<Option<FieldSet>, Error> {
    match value {
        Value::Object(fields) if !node.is_atomic_map() => fields_of(node, fields, path).map(Some),
        Value::Array(items) => {
            let list = node.list_type();
            if list == ListType::Atomic {
                return Ok(None);
            }
            let item_node = node.item();
            let mut set = FieldSet::default();
            let mut seen = BTreeSet::new();
            for (index, item) in items.iter().enumerate() {
                let Some(element) = item_element(&list, item_node, item) else {
                    let what = "associative list with keys has an element that omits its keys";
                    return Err(Error::Invalid(format!("{path}: element {index}: {what}")));
                };
                if !seen.insert(element.clone()) {
                    return Err(Error::Invalid(format!("{path}: duplicate entries for key {element}")));
                }
                let before = path.len();
                path.push_str(&element.to_string());
                let below = value_of(item_node, item, path)?;
                path.truncate(before);
                set.insert(element.clone());
                set.insert_below(element, below.unwrap_or_default());
            }
            Ok(Some(set))
        }
        _ => Ok(None),
    }
}

/// What names an item of a list that merges. A key that is absent has its default; without one it is left out.
pub(super) fn item_element(list: &ListType<'_>, item_node: Node<'_>, item: &Value) -> Option<Element> {
    match list {
        ListType::Atomic => None,
        ListType::Set => Some(Element::Value(canonical(item))),
        ListType::Map(keys) => {
            let item = item.as_object()?;
            let mut found = Map::new();
            for key in keys {
                if let Some(value) = item.get(*key).cloned().or_else(|| item_node.default(key)) {
                    found.insert((*key).to_owned(), value);
                }
            }
            Some(Element::Key(canonical(&Value::Object(found))))
        }
    }
}

/// The items of a list by name, in order; `None` if the list is atomic or its items cannot be told apart, which the
/// caller then treats as one value.
pub(super) fn elements<'v>(node: Node<'_>, items: &'v [Value]) -> Option<Vec<(Element, &'v Value)>> {
    let list = node.list_type();
    if list == ListType::Atomic {
        return None;
    }
    let item_node = node.item();
    let named: Option<Vec<_>> = items.iter().map(|i| Some((item_element(&list, item_node, i)?, i))).collect();
    let named = named?;
    let distinct: BTreeSet<&Element> = named.iter().map(|(e, _)| e).collect();
    (distinct.len() == named.len()).then_some(named)
}
