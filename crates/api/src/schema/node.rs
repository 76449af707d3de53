//! One place in an object, and what a schema says of it.
//!
//! Patches and server-side apply walk an object and its schema side by side. They see a [`Node`], and need not know
//! whether it comes from the built-in table, from the schema of a custom resource, or from nowhere at all: an unknown
//! place is judged by its value (objects merge by field, lists are replaced), as Kubernetes does.

use serde_json::Value;

use super::{Form, Rules, Schema, Type, TypeId, schema};
use crate::gvk::GroupVersionKind;
use crate::structural::{List, Schema as Structural};

/// A place in an object, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub enum Node<'a> {
    /// A place in a built-in kind; rules are those of the field that holds it.
    Typed(Type, Option<&'static Rules>),
    /// The root of a custom resource, or an embedded resource: its schema, to which `apiVersion`, `kind` and
    /// `metadata` are added. `None`: nothing else is known.
    Resource(Option<&'a Structural>),
    /// A place inside a custom resource.
    Structural(&'a Structural),
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
        Node::of(gvk).unwrap_or(Node::Resource(None))
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
            Node::Resource(None) => Some(Node::Unknown),
            Node::Resource(Some(s)) | Node::Structural(s) => Some(s.field(name).map_or(Node::Unknown, below)),
            Node::Unknown => Some(Node::Unknown),
        }
    }

    /// Whether the schema names this field, rather than allowing it as one entry of a map among others.
    pub fn declares(&self, name: &str) -> bool {
        match *self {
            Node::Typed(Type::Ref(id), _) => schema().field(id, name).is_some(),
            Node::Typed(..) | Node::Unknown => false,
            Node::Resource(_) if matches!(name, "apiVersion" | "kind" | "metadata") => true,
            Node::Resource(None) => false,
            Node::Resource(Some(s)) | Node::Structural(s) => s.property(name).is_some(),
        }
    }

    /// The items of a list.
    pub fn item(&self) -> Node<'a> {
        match *self {
            Node::Typed(Type::List(e), _) => Node::Typed(schema().element(e), None),
            Node::Structural(s) => s.items.as_deref().map_or(Node::Unknown, below),
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
            Node::Structural(s) => match &s.list {
                List::Set => ListType::Set,
                List::Map(keys) if !keys.is_empty() => ListType::Map(keys.iter().map(|k| &**k).collect()),
                _ => ListType::Atomic,
            },
            _ => ListType::Atomic,
        }
    }

    /// Whether an apply replaces this object as one.
    pub fn is_atomic_map(&self) -> bool {
        match *self {
            Node::Typed(_, Some(rules)) if rules.granular => false,
            Node::Typed(_, Some(rules)) if rules.atomic => true,
            Node::Typed(Type::Ref(id), _) => schema().get(id).atomic,
            Node::Structural(s) | Node::Resource(Some(s)) => s.atomic_map,
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
            Node::Structural(s) | Node::Resource(Some(s)) => s.property(field)?.default.as_deref().cloned(),
            _ => None,
        }
    }
}

fn below(s: &Structural) -> Node<'_> {
    if s.embedded { Node::Resource(Some(s)) } else { Node::Structural(s) }
}
