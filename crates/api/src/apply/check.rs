//! Whether a configuration fits the schema of its kind, before it is applied: what an apply does not know it could not own.

use serde_json::Value;

use super::walk::item_element;
use crate::schema::{Form, ListType, Node, Type, schema};
use crate::status::go_value;

/// What does not fit, in the words of Kubernetes; `None` if all does.
pub(super) fn complaint(node: Node<'_>, config: &Value) -> Option<String> {
    let mut found = Vec::new();
    walk(node, config, &mut String::new(), &mut found);
    match found.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("errors:\n  {}", many.join("\n  "))),
    }
}

fn walk(node: Node<'_>, value: &Value, path: &mut String, found: &mut Vec<String>) {
    // Of custom resources only what their own schema says is known, and that is checked when they are stored.
    let Node::Typed(ty, _) = node else { return };
    if value.is_null() {
        return;
    }
    let mut wrong = |what: String, path: &str| {
        found.push(if path.is_empty() { what } else { format!("{path}: {what}") });
    };
    let scalar = |what: &str| format!("expected {what}, got {}", shown(value));
    match ty {
        Type::String | Type::Bytes if !value.is_string() => wrong(scalar("string"), path),
        Type::Boolean if !value.is_boolean() => {
            wrong(format!("expected boolean, got {}", reference(value)), path)
        }
        Type::Int32 | Type::Int64 | Type::Double if !value.is_number() => {
            wrong(format!("expected numeric (int or float), got {}", go_type(value)), path);
        }
        Type::List(_) => match value {
            Value::Array(items) => list(node, items, path, found),
            other => wrong(format!("expected list, got {}", reference(other)), path),
        },
        Type::Map(_) => match value {
            Value::Object(_) => fields(node, value, path, found),
            other => wrong(format!("expected map, got {}", reference(other)), path),
        },
        Type::Ref(id) => match (schema().get(id).form, value) {
            (Form::Struct, Value::Object(_)) => fields(node, value, path, found),
            (Form::Struct | Form::Free, other) if !other.is_object() => {
                wrong(format!("expected map, got {}", reference(other)), path);
            }
            (Form::Time | Form::MicroTime, other) if !other.is_string() => wrong(scalar("string"), path),
            (Form::Quantity | Form::IntOrString, Value::Object(_) | Value::Array(_)) => {
                wrong(format!("expected any scalar, got {}", reference(value)), path);
            }
            _ => {}
        },
        _ => {}
    }
}

fn fields(node: Node<'_>, value: &Value, path: &mut String, found: &mut Vec<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let before = path.len();
        path.push('.');
        path.push_str(name);
        match node.field(name) {
            Some(child) => walk(child, value, path, found),
            None => found.push(format!("{path}: field not declared in schema")),
        }
        path.truncate(before);
    }
}

fn list(node: Node<'_>, items: &[Value], path: &mut String, found: &mut Vec<String>) {
    let (kind, item_node) = (node.list_type(), node.item());
    let mut seen = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let before = path.len();
        if kind == ListType::Atomic {
            path.push_str(&format!("[{index}]"));
        } else {
            let Some(element) = item_element(&kind, item_node, item) else {
                let what = format!("expected map, got {}", reference(item));
                found.push(format!("{path}: element {index}: {what}"));
                return;
            };
            if seen.contains(&element) {
                found.push(format!("{path}: duplicate entries for key {element}"));
            }
            path.push_str(&element.to_string());
            seen.push(element);
        }
        walk(item_node, item, path, found);
        path.truncate(before);
    }
}

/// As Go's `%#v` shows a value of the merging library.
fn shown(value: &Value) -> String {
    format!("&value.valueUnstructured{{Value:{value}}}")
}

/// As Go's `%v` shows a reference to one.
fn reference(value: &Value) -> String {
    format!("&{{{}}}", go_value(value))
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
        _ => "<nil>",
    }
}
