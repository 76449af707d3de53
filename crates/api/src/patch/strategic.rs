//! Strategic merge patch: objects and directives. Lists are in [`list`].
//!
//! The behaviour is that of Kubernetes' `strategicpatch` as its API server uses it: nulls that match nothing are
//! dropped, and a list merges only where the schema gives it the patch strategy `merge`.
//! See <https://git.k8s.io/community/contributors/devel/sig-api-machinery/strategic-merge-patch.md>.

mod list;

use serde_json::{Map, Value};

use super::Error;
use crate::schema::Node;
use crate::status::go_value;

pub(super) const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_PRIMITIVE: &str = "$deleteFromPrimitiveList/";

type Object = Map<String, Value>;

/// Merges a patch into an object whose schema is known.
pub(super) fn merge(node: Node<'_>, object: &Value, patch: &Value) -> Result<Value, Error> {
    if patch.is_null() {
        return Ok(object.clone());
    }
    let Value::Object(patch) = patch else {
        return Err(Error::NoObject(super::not_an(patch, "map[string]interface {}")));
    };
    let original = object.as_object().cloned().unwrap_or_default();
    merge_object(node, original, patch).map(Value::Object)
}

fn merge_object(node: Node<'_>, mut original: Object, patch: &Object) -> Result<Object, Error> {
    match patch.get(DIRECTIVE) {
        None => {}
        Some(Value::String(word)) if word == "replace" => {
            let mut replaced = patch.clone();
            replaced.remove(DIRECTIVE);
            return Ok(replaced);
        }
        Some(Value::String(word)) if word == "delete" => return Ok(Object::new()),
        Some(Value::String(word)) if word == "merge" => {}
        Some(other) => {
            let (word, map) = (go_value(other), go_value(&Value::Object(patch.clone())));
            return Err(Error::Strategic(format!("unknown patch type: {word} in map: {map}")));
        }
    }
    if let Some(keys) = patch.get(RETAIN_KEYS) {
        retain_keys(&mut original, patch, keys)?;
    }
    // Orders are about the lists as they were.
    let ordered = patch.keys().filter_map(|name| name.strip_prefix(SET_ORDER));
    let before: Object = ordered.filter_map(|f| Some((f.to_owned(), original.get(f)?.clone()))).collect();
    for (name, value) in patch {
        if let Some(field) = name.strip_prefix(DELETE_PRIMITIVE) {
            delete_primitives(&mut original, field, value)?;
        } else if !name.starts_with(SET_ORDER) && name != DIRECTIVE && name != RETAIN_KEYS {
            let child = node.field(name).unwrap_or(Node::Unknown);
            merge_field(child, &mut original, name, value)?;
        }
    }
    for (name, order) in patch {
        if let Some(field) = name.strip_prefix(SET_ORDER) {
            let child = node.field(field).unwrap_or(Node::Unknown);
            let before = before.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            in_order_of(child, patch.get(field), order)?;
            set_order(child, &mut original, field, order, before)?;
        }
    }
    Ok(original)
}

fn merge_field(node: Node<'_>, original: &mut Object, name: &str, value: &Value) -> Result<(), Error> {
    if value.is_null() {
        original.remove(name);
        return Ok(());
    }
    let replace = node.rules().is_some_and(|r| r.replace);
    let merged = match (original.remove(name), value) {
        (Some(Value::Object(old)), Value::Object(patch)) if !replace => {
            Value::Object(merge_object(node, old, patch)?)
        }
        (Some(Value::Array(old)), Value::Array(patch)) if node.rules().is_some_and(|r| r.merge) => {
            Value::Array(list::merge(node, old, patch)?)
        }
        // A list whose order is the same object's business is taken as it is, and so is everything without a match.
        (_, value) => without_directives(value),
    };
    original.insert(name.to_owned(), merged);
    Ok(())
}

/// Removes the fields that the patch does not list in `$retainKeys`; what it sets it must list.
fn retain_keys(original: &mut Object, patch: &Object, keys: &Value) -> Result<(), Error> {
    let list = keys.as_array().and_then(|a| a.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    let keep = list.ok_or(Error::Directive("retainKeys"))?;
    for (name, value) in patch {
        if !name.starts_with('$') && !value.is_null() && !keep.contains(&name.as_str()) {
            return Err(Error::Directive("retainKeys"));
        }
    }
    original.retain(|name, _| keep.contains(&name.as_str()));
    Ok(())
}

fn delete_primitives(original: &mut Object, field: &str, values: &Value) -> Result<(), Error> {
    let values = values.as_array().ok_or(Error::Directive("deleteFromPrimitiveList"))?;
    if let Some(Value::Array(items)) = original.get_mut(field) {
        items.retain(|item| !values.contains(item));
    }
    Ok(())
}

/// What a patch puts into a list has to have a place in the order that it gives.
fn in_order_of(node: Node<'_>, patch: Option<&Value>, order: &Value) -> Result<(), Error> {
    let (Some(Value::Array(items)), Some(order)) = (patch, order.as_array()) else { return Ok(()) };
    let key = node.rules().and_then(|r| r.merge_key);
    let id = |item: &Value| key.map_or_else(|| Some(item.clone()), |key| item.get(key).cloned());
    let placed: Vec<Option<Value>> = order.iter().map(id).collect();
    let deleted = |item: &Value| item.get(DIRECTIVE).is_some();
    if items.iter().all(|item| deleted(item) || placed.contains(&id(item))) {
        return Ok(());
    }
    let shown = |list: &[Value]| go_value(&Value::Array(list.to_vec()));
    Err(Error::Strategic(format!(
        "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
        shown(items),
        shown(order)
    )))
}

fn set_order(
    node: Node<'_>,
    original: &mut Object,
    field: &str,
    order: &Value,
    before: &[Value],
) -> Result<(), Error> {
    let order = order.as_array().ok_or(Error::Directive("setElementOrder"))?;
    if let Some(Value::Array(items)) = original.get_mut(field) {
        let key = node.rules().and_then(|r| r.merge_key);
        *items = list::in_order(std::mem::take(items), order, before, key);
    }
    Ok(())
}

/// A new value out of a patch: directives and nulls are gone.
pub(super) fn without_directives(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            if fields.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
                return Value::Object(Object::new());
            }
            let kept = fields.iter().filter(|(name, value)| {
                let directive = *name == DIRECTIVE
                    || *name == RETAIN_KEYS
                    || name.starts_with(SET_ORDER)
                    || name.starts_with(DELETE_PRIMITIVE);
                !directive && !value.is_null()
            });
            Value::Object(kept.map(|(name, value)| (name.clone(), without_directives(value))).collect())
        }
        Value::Array(items) => Value::Array(
            items
                .iter()
                .filter(|i| i.get(DIRECTIVE).and_then(Value::as_str) != Some("delete"))
                .filter(|i| i.as_object().is_none_or(|o| o.len() != 1 || !o.contains_key(DIRECTIVE)))
                .map(without_directives)
                .collect(),
        ),
        other => other.clone(),
    }
}
