//! One place in an object, and what a schema says of it.
//!
//! Patches and server-side apply walk an object and its schema side by side. They see a [`Node`], and need not know
//! whether it comes from the built-in table, from the schema of a custom resource, or from nowhere at all: an unknown
//! place is judged by its value (objects merge by field, lists are replaced), as Kubernetes does.

use serde_json::Value;

use super::{Form, Rules, Schema, Type, TypeId, schema};
use crate::gvk::GroupVersionKind;

/// A place in an object, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub enum Node<'a> {
    /// A place in a built-in kind; rules are those of the field that holds it.
    Typed(Type, Option<&'static Rules>),
    /// The root of a custom resource, or an embedded resource: its OpenAPI schema, to which `apiVersion`, `kind` and
    /// `metadata` are added.
    Resource(&'a Value),
    /// A place inside a custom resource: an OpenAPI schema.
    OpenApi(&'a Value),
    /// Nothing is known.
    Unknown,
}

/// How a list is merged by an apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListType<'a> {
    /// Replaced as one.
    Atomic,
    /// Items are their own keys.
    Set,
    /// Items are objects with these keys.
    Map(Vec<&'a str>),
}

fn object_meta() -> Node<'static> {
    let id = schema().named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    id.map_or(Node::Unknown, |id| Node::Typed(Type::Ref(id), None))
}

impl<'a> Node<'a> {
    /// The root of a kind of the built-in table.
    pub fn of(gvk: &GroupVersionKind) -> Option<Node<'static>> {
        schema().of(gvk).map(|id| Node::Typed(Type::Ref(id), None))
    }

    /// The root of a kind; of a kind that is not in the table only `metadata` is known.
    pub fn of_or_unknown(gvk: &GroupVersionKind) -> Node<'static> {
        static NOTHING: Value = Value::Null;
        Node::of(gvk).unwrap_or(Node::Resource(&NOTHING))
    }

    /// The type of the table that describes this place, if one does.
    pub fn type_id(&self) -> Option<TypeId> {
        match self {
            Node::Typed(Type::Ref(id), _) => Some(*id),
            _ => None,
        }
    }

    /// The rules of the field that holds this place.
    pub fn rules(&self) -> Option<&'static Rules> {
        match self {
            Node::Typed(_, rules) => *rules,
            _ => None,
        }
    }

    /// The field of an object, or the value of a map. `None`: the schema knows no such field.
    pub fn field(&self, name: &str) -> Option<Node<'a>> {
        let schema: &'static Schema = schema();
        match *self {
            Node::Typed(Type::Ref(id), _) => match schema.get(id).form {
                Form::Struct => schema.field(id, name).map(|f| Node::Typed(f.ty, Some(schema.rules(f)))),
                Form::Free | Form::Any => Some(Node::Unknown),
                _ => None,
            },
            Node::Typed(Type::Map(e), _) => Some(Node::Typed(schema.element(e), None)),
            Node::Typed(..) => None,
            Node::Resource(_) if name == "metadata" => Some(object_meta()),
            Node::Resource(_) if name == "apiVersion" || name == "kind" => {
                Some(Node::Typed(Type::String, None))
            }
            Node::Resource(s) | Node::OpenApi(s) => Some(openapi_field(s, name)),
            Node::Unknown => Some(Node::Unknown),
        }
    }

    /// Whether the schema names this field, rather than allowing it as one entry of a map among others.
    pub fn declares(&self, name: &str) -> bool {
        match *self {
            Node::Typed(Type::Ref(id), _) => schema().field(id, name).is_some(),
            Node::Typed(..) | Node::Unknown => false,
            Node::Resource(_) if matches!(name, "apiVersion" | "kind" | "metadata") => true,
            Node::Resource(s) | Node::OpenApi(s) => {
                s.get("properties").is_some_and(|p| p.get(name).is_some())
            }
        }
    }

    /// The items of a list.
    pub fn item(&self) -> Node<'a> {
        match *self {
            Node::Typed(Type::List(e), _) => Node::Typed(schema().element(e), None),
            Node::OpenApi(s) | Node::Resource(s) => s.get("items").map_or(Node::Unknown, openapi),
            _ => Node::Unknown,
        }
    }

    /// How an apply merges this list.
    pub fn list_type(&self) -> ListType<'a> {
        match *self {
            Node::Typed(_, Some(rules)) if !rules.map_keys.is_empty() => {
                ListType::Map(rules.map_keys.clone())
            }
            Node::Typed(_, Some(rules)) if rules.set => ListType::Set,
            Node::OpenApi(s) | Node::Resource(s) => {
                match s.get("x-kubernetes-list-type").and_then(Value::as_str) {
                    Some("set") => ListType::Set,
                    Some("map") => {
                        let keys = s.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
                        let keys: Vec<&str> = keys.into_iter().flatten().filter_map(Value::as_str).collect();
                        if keys.is_empty() { ListType::Atomic } else { ListType::Map(keys) }
                    }
                    _ => ListType::Atomic,
                }
            }
            _ => ListType::Atomic,
        }
    }

    /// Whether an apply replaces this object as one.
    pub fn is_atomic_map(&self) -> bool {
        match *self {
            Node::Typed(_, Some(rules)) if rules.granular => false,
            Node::Typed(_, Some(rules)) if rules.atomic => true,
            Node::Typed(Type::Ref(id), _) => schema().get(id).atomic,
            Node::OpenApi(s) | Node::Resource(s) => {
                s.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic")
            }
            _ => false,
        }
    }

    /// The value that the field has when it is absent; needed only for the keys of list items.
    pub fn default(&self, field: &str) -> Option<Value> {
        match *self {
            Node::Typed(Type::Ref(id), _) => {
                let field = schema().field(id, field)?;
                schema().rules(field).default.map(Value::from)
            }
            Node::OpenApi(s) | Node::Resource(s) => s.get("properties")?.get(field)?.get("default").cloned(),
            _ => None,
        }
    }
}

fn openapi(s: &Value) -> Node<'_> {
    if s.get("x-kubernetes-embedded-resource").and_then(Value::as_bool) == Some(true) {
        return Node::Resource(s);
    }
    Node::OpenApi(s)
}

fn openapi_field<'a>(s: &'a Value, name: &str) -> Node<'a> {
    let known = s.get("properties").and_then(|p| p.get(name));
    let additional = s.get("additionalProperties").filter(|a| a.is_object());
    known.or(additional).map_or(Node::Unknown, openapi)
}
