//! The schemas of a document: those that its paths name, and all that these need.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Dialect, Resource};
use crate::gvk::GroupVersionKind;
use crate::schema::{Field, Form, Rules, Type, TypeId, schema};

/// Collects the schemas that are asked for, with their closure.
pub(super) struct Schemas {
    dialect: Dialect,
    wanted: Vec<TypeId>,
    seen: BTreeSet<TypeId>,
    done: Map<String, Value>,
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

fn kind_extension(gvk: &GroupVersionKind) -> Value {
    json!([{"group": gvk.group, "version": gvk.version, "kind": gvk.kind}])
}

/// The name of a custom resource's schema: `com.example.v1.Widget`.
fn custom_name(gvk: &GroupVersionKind) -> String {
    let mut parts: Vec<&str> = gvk.group.split('.').collect();
    parts.reverse();
    format!("{}.{}.{}", parts.join("."), gvk.version, gvk.kind)
}

/// What version 2 cannot say of a custom resource, or would make its readers refuse good objects, is left out.
fn plain(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    for name in ["allOf", "anyOf", "oneOf", "not", "default"] {
        map.remove(name);
    }
    let open = map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    let nullable = map.remove("nullable") == Some(Value::Bool(true));
    let either = map.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true));
    if open || nullable || either {
        for name in ["type", "properties", "items", "additionalProperties"] {
            map.remove(name);
        }
    }
    for field in
        map.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
    {
        plain(field);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(below) = map.get_mut(name) {
            plain(below);
        }
    }
}

impl Schemas {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, wanted: Vec::new(), seen: BTreeSet::new(), done: Map::new() }
    }

    /// A reference to a type of the table.
    fn want(&mut self, id: TypeId) -> Value {
        if self.seen.insert(id) {
            self.wanted.push(id);
        }
        self.dialect.reference(&schema().get(id).full_name())
    }

    /// A reference to a type of `meta/v1`, by its short name.
    pub(super) fn meta(&mut self, name: &str) -> Value {
        let id = schema().named(&format!("{META}{name}"));
        id.map_or_else(|| json!({"type": "object"}), |id| self.want(id))
    }

    /// A reference to a kind; of one that is not in the table, an open object.
    pub(super) fn kind(&mut self, gvk: &GroupVersionKind) -> Value {
        schema().of(gvk).map_or_else(|| json!({"type": "object"}), |id| self.want(id))
    }

    /// References to the objects of a resource, and to lists of them.
    pub(super) fn resource(&mut self, resource: &Resource) -> (Value, Value) {
        let gvk = &resource.gvk;
        let list = GroupVersionKind { kind: format!("{}List", gvk.kind), ..gvk.clone() };
        if resource.schema.is_none() && schema().of(gvk).is_some() {
            return (self.kind(gvk), self.kind(&list));
        }
        let (name, list_name) = (custom_name(gvk), custom_name(&list));
        if !self.done.contains_key(&name) {
            let mut object = resource.schema.clone().unwrap_or_else(|| json!({"type": "object"}));
            if self.dialect == Dialect::V2 {
                plain(&mut object);
            }
            let metadata = self.meta("ObjectMeta");
            if let Some(fields) = object.as_object_mut() {
                let properties = fields.entry("properties").or_insert_with(|| json!({}));
                if let Some(properties) = properties.as_object_mut() {
                    properties.insert("apiVersion".into(), json!({"type": "string"}));
                    properties.insert("kind".into(), json!({"type": "string"}));
                    properties.insert("metadata".into(), metadata);
                }
                fields.insert("x-kubernetes-group-version-kind".into(), kind_extension(gvk));
            }
            let list_meta = self.meta("ListMeta");
            let items = self.dialect.reference(&name);
            let list_schema = json!({
                "type": "object",
                "required": ["items"],
                "properties": {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": list_meta,
                    "items": {"type": "array", "items": items},
                },
                "x-kubernetes-group-version-kind": kind_extension(&list),
            });
            self.done.insert(name.clone(), object);
            self.done.insert(list_name.clone(), list_schema);
        }
        (self.dialect.reference(&name), self.dialect.reference(&list_name))
    }

    /// All schemas, closed under references.
    pub(super) fn finish(mut self) -> Map<String, Value> {
        while let Some(id) = self.wanted.pop() {
            let written = self.definition(id);
            self.done.insert(schema().get(id).full_name(), written);
        }
        self.done
    }

    fn definition(&mut self, id: TypeId) -> Value {
        let schema = schema();
        let def = schema.get(id);
        let v2 = self.dialect == Dialect::V2;
        match def.form {
            Form::Struct => {}
            Form::Quantity if v2 => return json!({"type": "string"}),
            Form::Quantity => return json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            Form::Time | Form::MicroTime => return json!({"type": "string", "format": "date-time"}),
            Form::IntOrString if v2 => return json!({"type": "string", "format": "int-or-string"}),
            Form::IntOrString => {
                return json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"});
            }
            Form::Free => return json!({"type": "object"}),
            Form::Any => return json!({}),
        }
        let mut written = json!({"type": "object"});
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in schema.fields(id) {
            if field.required {
                required.push(field.name);
            }
            properties.insert(field.name.to_owned(), self.field(field));
        }
        if !properties.is_empty() {
            written["properties"] = Value::Object(properties);
        }
        if !required.is_empty() {
            written["required"] = json!(required);
        }
        if def.atomic {
            written["x-kubernetes-map-type"] = "atomic".into();
        }
        // What is known in every group and version is named for the core group alone.
        let kinds: Vec<Value> = schema
            .kinds_of(id)
            .map(|(group, version, kind)| {
                let (group, version) = if group == "*" { ("", "v1") } else { (group, version) };
                json!({"group": group, "version": version, "kind": kind})
            })
            .collect();
        if !kinds.is_empty() {
            written["x-kubernetes-group-version-kind"] = Value::Array(kinds);
        }
        written
    }

    fn field(&mut self, field: &Field) -> Value {
        let mut written = self.ty(field.ty);
        let mut extensions = Map::new();
        extend(&mut extensions, schema().rules(field), field.ty);
        if extensions.is_empty() {
            return written;
        }
        if written.get("$ref").is_some() && self.dialect == Dialect::V3 {
            // Beside a `$ref` version 3 ignores everything.
            written = json!({"allOf": [written]});
        }
        if let Some(written) = written.as_object_mut() {
            written.append(&mut extensions);
        }
        written
    }

    fn ty(&mut self, ty: Type) -> Value {
        match ty {
            Type::String => json!({"type": "string"}),
            Type::Boolean => json!({"type": "boolean"}),
            Type::Int32 => json!({"type": "integer", "format": "int32"}),
            Type::Int64 => json!({"type": "integer", "format": "int64"}),
            Type::Double => json!({"type": "number", "format": "double"}),
            Type::Bytes => json!({"type": "string", "format": "byte"}),
            Type::List(e) => json!({"type": "array", "items": self.ty(schema().element(e))}),
            Type::Map(e) => json!({"type": "object", "additionalProperties": self.ty(schema().element(e))}),
            Type::Ref(id) => self.want(id),
        }
    }
}

/// Writes the rules of a field as extensions.
fn extend(to: &mut Map<String, Value>, rules: &Rules, ty: Type) {
    let mut put = |name: &str, value: Value| to.insert(format!("x-kubernetes-{name}"), value);
    if matches!(ty, Type::List(_)) {
        if !rules.map_keys.is_empty() {
            put("list-type", "map".into());
            put("list-map-keys", json!(rules.map_keys));
        } else if rules.set {
            put("list-type", "set".into());
        } else if rules.atomic {
            put("list-type", "atomic".into());
        }
    } else if rules.atomic {
        put("map-type", "atomic".into());
    } else if rules.granular {
        put("map-type", "granular".into());
    }
    if let Some(key) = rules.merge_key {
        put("patch-merge-key", key.into());
    }
    let strategies = [(rules.merge, "merge"), (rules.retain_keys, "retainKeys"), (rules.replace, "replace")];
    let strategy: Vec<&str> = strategies.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
    if !strategy.is_empty() {
        put("patch-strategy", strategy.join(",").into());
    }
    if let Some(default) = rules.default {
        to.insert("default".into(), default.into());
    }
}
