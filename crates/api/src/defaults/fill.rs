//! How a default is set: only where nothing stands. Three notions of nothing exist, as in Kubernetes' types: a pointer
//! that is null, a text that is empty, and a number that is 0.

use serde_json::{Map, Value};

use crate::quantity::Quantity;

pub(super) type Object = Map<String, Value>;

/// Sets a field that is missing or null.
pub(super) fn set(object: &mut Object, key: &str, value: impl Into<Value>) {
    if object.get(key).is_none_or(Value::is_null) {
        object.insert(key.to_owned(), value.into());
    }
}

/// Sets a text that is missing, null or empty.
pub(super) fn set_text(object: &mut Object, key: &str, value: &str) {
    if object.get(key).is_none_or(|v| v.is_null() || v == "") {
        object.insert(key.to_owned(), value.into());
    }
}

/// Sets a number that is missing, null or 0.
pub(super) fn set_number(object: &mut Object, key: &str, value: i64) {
    if object.get(key).is_none_or(|v| v.is_null() || v.as_i64() == Some(0)) {
        object.insert(key.to_owned(), value.into());
    }
}

/// The text of a field; empty when there is none.
pub(super) fn text<'a>(object: &'a Object, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a field holds anything but null.
pub(super) fn has(object: &Object, key: &str) -> bool {
    object.get(key).is_some_and(|v| !v.is_null())
}

/// The object in a field.
pub(super) fn child<'a>(object: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    object.get_mut(key)?.as_object_mut()
}

/// The object at the end of a path of fields.
pub(super) fn at<'a>(object: &'a mut Object, path: &[&str]) -> Option<&'a mut Object> {
    path.iter().try_fold(object, |object, key| child(object, key))
}

/// The object in a field, made empty if there is none; `None` if something else stands there.
pub(super) fn ensure<'a>(object: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    set(object, key, Object::new());
    child(object, key)
}

/// The objects in a list.
pub(super) fn items<'a>(object: &'a mut Object, key: &str) -> impl Iterator<Item = &'a mut Object> {
    object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Brings one quantity into canonical form.
pub(super) fn quantity(object: &mut Object, key: &str) {
    if let Some(value) = object.get_mut(key)
        && let Ok(quantity) = Quantity::from_value(value)
    {
        *value = quantity.to_string().into();
    }
}

/// Brings the quantities of a resource list into canonical form, rounded up to thousandths.
pub(super) fn resource_list(object: &mut Object, key: &str) {
    for value in child(object, key).into_iter().flat_map(|list| list.values_mut()) {
        if let Ok(quantity) = Quantity::from_value(value) {
            *value = quantity.round_to_milli().to_string().into();
        }
    }
}

/// `requests` and `limits` of a field named `resources`.
pub(super) fn resources(object: &mut Object) {
    if let Some(resources) = child(object, "resources") {
        resource_list(resources, "requests");
        resource_list(resources, "limits");
    }
}
