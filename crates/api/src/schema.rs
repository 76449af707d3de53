//! The published types of the Kubernetes API, as one compact table.
//!
//! Decoding, patches, server-side apply and OpenAPI all need to know what fields a kind has and how its lists are
//! merged. Generated Rust types would know neither, and cost megabytes; here the facts are a text of about 140 KB
//! inside the program, parsed once on first use into a few flat vectors (some 200 KB of heap), whose strings are
//! slices of that text.
//!
//! It must not know how anything is decoded or merged; it answers questions about types only.

mod node;
pub mod openapi;
mod parse;

use std::sync::OnceLock;

pub use node::{ListType, Node};

use crate::gvk::GroupVersionKind;

/// Position of a type in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(u16);

/// The type of a field, of a list item or of a map value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A JSON string.
    String,
    /// A JSON boolean.
    Boolean,
    /// An integer that fits 32 bits.
    Int32,
    /// An integer that fits 64 bits.
    Int64,
    /// Any number.
    Double,
    /// Base64 text.
    Bytes,
    /// Another type of the table.
    Ref(TypeId),
    /// A list; [`Schema::element`] tells of what.
    List(u16),
    /// A map from strings; [`Schema::element`] tells to what.
    Map(u16),
}

/// What a type of the table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An object with fields.
    Struct,
    /// `resource.Quantity`: a string or a number.
    Quantity,
    /// RFC 3339 with seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    /// A string or a 32-bit integer.
    IntOrString,
    /// An object whose fields are not known: `RawExtension`, `FieldsV1`.
    Free,
    /// Any JSON at all: `JSON`, `JSONSchemaPropsOrBool`.
    Any,
}

/// How a patch treats a field, and how an apply does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `x-kubernetes-list-type: set`.
    pub set: bool,
    /// `x-kubernetes-list-type: atomic`, or `x-kubernetes-map-type: atomic` on a map.
    pub atomic: bool,
    /// `x-kubernetes-map-type: granular`, which overrides the type's own.
    pub granular: bool,
    /// `x-kubernetes-list-map-keys`; not empty for `x-kubernetes-list-type: map`.
    pub map_keys: Vec<&'static str>,
    /// Patch strategy `merge`.
    pub merge: bool,
    /// `x-kubernetes-patch-merge-key`.
    pub merge_key: Option<&'static str>,
    /// Patch strategy `retainKeys`.
    pub retain_keys: bool,
    /// Patch strategy `replace`.
    pub replace: bool,
    /// The value that a list key has when it is absent.
    pub default: Option<&'static str>,
}

/// One field of a type.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name in JSON.
    pub name: &'static str,
    /// Type of the value.
    pub ty: Type,
    /// Whether the published schema requires it.
    pub required: bool,
    /// Whether Kubernetes writes it even if nothing was set: then it holds its zero value.
    pub always: bool,
    /// Whether "nothing" and the zero value are told apart (a pointer in Go). Of other fields zero values are left out,
    /// unless they are written always.
    pub pointer: bool,
    rules: u16,
}

/// One type of the table.
#[derive(Clone, Debug)]
pub struct TypeDef {
    /// Package, for example `io.k8s.api.core.v1`.
    pub package: &'static str,
    /// Name inside the package, for example `PodSpec`.
    pub name: &'static str,
    /// What it is.
    pub form: Form,
    /// `x-kubernetes-map-type: atomic` on the type.
    pub atomic: bool,
    fields: std::ops::Range<u16>,
}

impl TypeDef {
    /// The published name, for example `io.k8s.api.core.v1.PodSpec`.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.package, self.name)
    }
}

#[derive(Clone, Copy, Debug)]
struct Kind {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    ty: TypeId,
}

/// The table. There is one, which [`schema`] returns.
#[derive(Debug)]
pub struct Schema {
    types: Vec<TypeDef>,
    fields: Vec<Field>,
    elements: Vec<Type>,
    rules: Vec<Rules>,
    kinds: Vec<Kind>,
}

/// The table of the published types; parsed by the first caller.
pub fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| parse::parse(include_str!("schema/types.txt")))
}

impl Schema {
    /// The type of a kind. `DeleteOptions` and `WatchEvent` are known in every group and version.
    pub fn of(&self, gvk: &GroupVersionKind) -> Option<TypeId> {
        self.find_kind(&gvk.group, &gvk.version, &gvk.kind).or_else(|| self.find_kind("*", "", &gvk.kind))
    }

    fn find_kind(&self, group: &str, version: &str, kind: &str) -> Option<TypeId> {
        let at = self
            .kinds
            .binary_search_by(|k| (k.group, k.version, k.kind).cmp(&(group, version, kind)))
            .ok()?;
        Some(self.kinds[at].ty)
    }

    /// The type with this published name, for example `io.k8s.api.core.v1.PodSpec`.
    pub fn named(&self, full_name: &str) -> Option<TypeId> {
        let (package, name) = full_name.rsplit_once('.')?;
        let at = self.types.binary_search_by(|t| (t.package, t.name).cmp(&(package, name))).ok()?;
        Some(TypeId(at as u16))
    }

    /// The group, version and kinds of a type; `*` as a group means every group and version.
    pub fn kinds_of(
        &self,
        id: TypeId,
    ) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> + '_ {
        self.kinds.iter().filter(move |k| k.ty == id).map(|k| (k.group, k.version, k.kind))
    }

    /// A type of the table.
    pub fn get(&self, id: TypeId) -> &TypeDef {
        &self.types[usize::from(id.0)]
    }

    /// The fields of a type, ordered by name.
    pub fn fields(&self, id: TypeId) -> &[Field] {
        let range = &self.get(id).fields;
        &self.fields[usize::from(range.start)..usize::from(range.end)]
    }

    /// One field of a type.
    pub fn field(&self, id: TypeId, name: &str) -> Option<&Field> {
        let fields = self.fields(id);
        fields.binary_search_by(|f| f.name.cmp(name)).ok().map(|at| &fields[at])
    }

    /// What a list or a map holds.
    pub fn element(&self, element: u16) -> Type {
        self.elements[usize::from(element)]
    }

    /// How a field is merged.
    pub fn rules(&self, field: &Field) -> &Rules {
        &self.rules[usize::from(field.rules)]
    }

    /// Follows field names from a kind through structs, lists and maps: the last field's type and rules.
    /// List items and map values are entered without a name of their own, so `["spec", "containers", "image"]`
    /// is the image of a pod's container.
    pub fn path(&self, root: TypeId, names: &[&str]) -> Option<&Field> {
        let (last, parents) = names.split_last()?;
        let mut at = root;
        for name in parents {
            let mut ty = self.field(at, name)?.ty;
            while let Type::List(e) | Type::Map(e) = ty {
                ty = self.element(e);
            }
            let Type::Ref(id) = ty else { return None };
            at = id;
        }
        self.field(at, last)
    }

    /// Number of types.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Whether there are no types; never true of the built-in table.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }
}

#[cfg(test)]
mod tests;
