//! The three operations on objects that an apply is made of: merge, prune, compare.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::set::{Element, FieldSet};
use super::walk::elements;
use crate::schema::Node;

/// What a write did, field by field.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

impl Changes {
    /// What has a new value.
    pub(super) fn written(&self) -> FieldSet {
        self.added.union(&self.modified)
    }

    /// Forgets what happened to top-level fields.
    pub(super) fn forget(&mut self, fields: &[&str]) {
        for set in [&mut self.added, &mut self.modified, &mut self.removed] {
            for field in fields {
                *set = std::mem::take(set).without_field(field);
            }
        }
    }

    fn put_below(&mut self, element: &Element, below: Changes) {
        self.added.insert_below(element.clone(), below.added);
        self.modified.insert_below(element.clone(), below.modified);
        self.removed.insert_below(element.clone(), below.removed);
    }
}

/// Merges a configuration into an object: what the configuration does not mention stays.
pub(super) fn merge(node: Node<'_>, live: &Value, config: &Value) -> Value {
    match (live, config) {
        (Value::Object(live), Value::Object(config)) if !node.is_atomic_map() => {
            let mut merged = live.clone();
            for (name, value) in config {
                let child = node.field(name).unwrap_or(Node::Unknown);
                let value = live.get(name).map_or_else(|| value.clone(), |old| merge(child, old, value));
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Value::Array(live), Value::Array(config)) => match (elements(node, live), elements(node, config)) {
            (Some(live), Some(config)) => Value::Array(merge_lists(node.item(), &live, &config)),
            _ => Value::Array(config.clone()),
        },
        (_, config) => config.clone(),
    }
}

/// The configuration's items keep its order; the items of others keep theirs, among them.
///
/// Both lists are walked at once. A live item that the configuration has too, but not next, is passed over: it comes
/// when the configuration says so, and the items of others behind it need not wait for it.
fn merge_lists(item: Node<'_>, live: &[(Element, &Value)], config: &[(Element, &Value)]) -> Vec<Value> {
    let old: BTreeMap<&Element, &Value> = live.iter().map(|(e, v)| (e, *v)).collect();
    let ours: BTreeSet<&Element> = config.iter().map(|(e, _)| e).collect();
    let mut shared = config.iter().map(|(e, _)| e).filter(|e| old.contains_key(e)).peekable();
    let mut placed = BTreeSet::new();
    let mut merged = Vec::with_capacity(live.len() + config.len());
    let mut theirs = live.iter().peekable();
    for (element, value) in config {
        while let Some((candidate, value)) = theirs.peek() {
            if !ours.contains(candidate) {
                merged.push((*value).clone());
            } else if candidate == element
                || (shared.peek() == Some(&candidate) && !placed.contains(candidate))
            {
                break;
            }
            theirs.next();
        }
        theirs.next_if(|(candidate, _)| candidate == element);
        shared.next_if(|next| *next == element);
        merged.push(old.get(element).map_or_else(|| (*value).clone(), |old| merge(item, old, value)));
        placed.insert(element);
    }
    merged.extend(theirs.filter(|(e, _)| !ours.contains(e)).map(|(_, v)| (*v).clone()));
    merged
}

/// Removes what a manager owned before (`last`) and nobody owns now.
///
/// What goes, goes as a whole, with what was defaulted inside it. A field of a struct stays while anything in it is
/// owned; a list item or an entry of a map stays only while it is owned itself, since without its owner's keys the rest
/// of it would mean nothing.
pub(super) fn prune(node: Node<'_>, value: Value, last: &FieldSet, owned: &FieldSet) -> Value {
    let nobody = FieldSet::default();
    let in_set =
        |set: &FieldSet, e: &Element, declared: bool| if declared { set.touches(e) } else { set.has_here(e) };
    match value {
        Value::Object(mut fields) if !node.is_atomic_map() => {
            for element in last.elements() {
                let Element::Field(name) = element else { continue };
                let declared = node.declares(name);
                if in_set(last, element, declared) && !in_set(owned, element, declared) {
                    fields.remove(name);
                } else if let Some(inner) = last.below(element).filter(|b| !b.is_empty())
                    && let Some(value) = fields.get_mut(name)
                {
                    let child = node.field(name).unwrap_or(Node::Unknown);
                    let theirs = owned.below(element).unwrap_or(&nobody);
                    let had = !is_empty(value);
                    *value = prune(child, value.take(), inner, theirs);
                    if had && is_empty(value) && !owned.has_here(element) {
                        fields.remove(name);
                    }
                }
            }
            Value::Object(fields)
        }
        Value::Array(items) => {
            let Some(named) = elements(node, &items) else { return Value::Array(items) };
            let kept = named.into_iter().filter(|(e, _)| !last.has_here(e) || owned.has_here(e));
            let below = |set: &FieldSet, e: &Element| set.below(e).cloned().unwrap_or_default();
            let pruned =
                kept.map(|(e, item)| prune(node.item(), item.clone(), &below(last, &e), &below(owned, &e)));
            Value::Array(pruned.collect())
        }
        other => other,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Compares two objects field by field.
pub(super) fn compare(node: Node<'_>, old: &Value, new: &Value) -> Changes {
    compare_fields(node, old.as_object(), new.as_object())
}

type Fields = Map<String, Value>;

fn compare_fields(node: Node<'_>, old: Option<&Fields>, new: Option<&Fields>) -> Changes {
    let mut changes = Changes::default();
    let names: BTreeSet<&String> = old.into_iter().chain(new).flat_map(Map::keys).collect();
    for name in names {
        let child = node.field(name).unwrap_or(Node::Unknown);
        let (before, after) = (old.and_then(|f| f.get(name)), new.and_then(|f| f.get(name)));
        compare_at(child, Element::field(name.as_str()), before, after, &mut changes);
    }
    changes
}

fn compare_at(
    node: Node<'_>,
    element: Element,
    old: Option<&Value>,
    new: Option<&Value>,
    changes: &mut Changes,
) {
    // Of a built-in kind a null is what was left out.
    let nothing = |value: Option<&Value>| value.is_none_or(Value::is_null);
    if old == new || (matches!(node, Node::Typed(..)) && nothing(old) && nothing(new)) {
        return;
    }
    let below = inside(node, old, new);
    let leaf = below.is_none();
    if let Some(below) = below {
        changes.put_below(&element, below);
    }
    match (old, new) {
        // What is written always (a struct that is no pointer) is there from the beginning, and nobody owns its existence.
        (None, Some(_)) => changes.added.insert(element),
        (Some(_), None) => changes.removed.insert(element),
        (Some(_), Some(_)) if leaf => changes.modified.insert(element),
        _ => {}
    }
}

/// The changes inside of two values, one of which may be absent; `None` if they are compared as one.
fn inside(node: Node<'_>, old: Option<&Value>, new: Option<&Value>) -> Option<Changes> {
    // A null takes the form of the other.
    let (old, new) = (old.filter(|v| !v.is_null()), new.filter(|v| !v.is_null()));
    match (old.or(new)?, new.or(old)?) {
        (Value::Object(a), Value::Object(b)) if !node.is_atomic_map() && (!a.is_empty() || !b.is_empty()) => {
            Some(compare_fields(node, old.and_then(Value::as_object), new.and_then(Value::as_object)))
        }
        (Value::Array(_), Value::Array(_)) => {
            let (old, new) = (old.and_then(Value::as_array), new.and_then(Value::as_array));
            let old = elements(node, old.map(Vec::as_slice).unwrap_or_default())?;
            let new = elements(node, new.map(Vec::as_slice).unwrap_or_default())?;
            if old.is_empty() && new.is_empty() {
                return None;
            }
            let old: BTreeMap<Element, &Value> = old.into_iter().collect();
            let new: BTreeMap<Element, &Value> = new.into_iter().collect();
            let mut changes = Changes::default();
            let all: BTreeSet<&Element> = old.keys().chain(new.keys()).collect();
            for e in all {
                compare_at(node.item(), e.clone(), old.get(e).copied(), new.get(e).copied(), &mut changes);
            }
            Some(changes)
        }
        _ => None,
    }
}
