//! Fields that are written although nobody has set them.
//!
//! Kubernetes keeps objects in Go structs, and its encoder leaves out only what is marked so: a pod's container has
//! `resources: {}`, its conditions `lastProbeTime: null`, a new deployment `status: {}`. Clients compare objects with what
//! they sent, and field managers own these fields, so they are facts of the API like other defaults.

use serde_json::{Map, Value};

use crate::schema::{Form, Schema, Type, TypeId, schema};

/// Adds to a value of type `id`, at any depth, what is always written.
pub(super) fn fill(id: TypeId, object: &mut Map<String, Value>) {
    let schema = schema();
    if schema.get(id).form != Form::Struct {
        return;
    }
    for field in schema.fields(id) {
        match object.get_mut(field.name) {
            Some(value) if !value.is_null() => below(schema, field.ty, value),
            _ if !field.always => {}
            _ => {
                let mut value = if field.pointer { Value::Null } else { zero(schema, field.ty) };
                below(schema, field.ty, &mut value);
                object.insert(field.name.to_owned(), value);
            }
        }
    }
}

fn below(schema: &Schema, ty: Type, value: &mut Value) {
    match (ty, value) {
        (Type::Ref(id), Value::Object(object)) => fill(id, object),
        (Type::List(element), Value::Array(items)) => {
            items.iter_mut().for_each(|item| below(schema, schema.element(element), item));
        }
        (Type::Map(element), Value::Object(entries)) => {
            entries.values_mut().for_each(|value| below(schema, schema.element(element), value));
        }
        _ => {}
    }
}

/// What Go's encoder writes for a field that holds nothing.
fn zero(schema: &Schema, ty: Type) -> Value {
    match ty {
        Type::String => "".into(),
        Type::Boolean => false.into(),
        Type::Int32 | Type::Int64 | Type::Double => 0.into(),
        Type::Bytes | Type::List(_) | Type::Map(_) => Value::Null,
        Type::Ref(id) => match schema.get(id).form {
            Form::Struct => Value::Object(Map::new()),
            Form::Quantity => "0".into(),
            Form::IntOrString => 0.into(),
            Form::Time | Form::MicroTime | Form::Free | Form::Any => Value::Null,
        },
    }
}
