//! The types of what expressions of admission name, and the parts of a Namespace that they see.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value};

use super::Expression;
use crate::cel::types::{Field, Object, Type};

fn object(name: &str, fields: &[(&str, Type)]) -> Type {
    Type::Object(Arc::new(plain(name, fields)))
}

fn plain(name: &str, fields: &[(&str, Type)]) -> Object {
    let field = |(name, ty): &(&str, Type)| ((*name).into(), Field { json: (*name).into(), ty: ty.clone() });
    Object { name: name.to_owned(), fields: fields.iter().map(field).collect(), open: false }
}

const TEXT: Type = Type::String(None);

/// `request`: an `AdmissionRequest` without the objects.
pub fn request_type() -> &'static Type {
    static TYPE: LazyLock<Type> = LazyLock::new(|| {
        let kind =
            object("kubernetes.GroupVersionKind", &[("group", TEXT), ("version", TEXT), ("kind", TEXT)]);
        let resource = object(
            "kubernetes.GroupVersionResource",
            &[("group", TEXT), ("version", TEXT), ("resource", TEXT)],
        );
        let user = object(
            "kubernetes.UserInfo",
            &[
                ("username", TEXT),
                ("uid", TEXT),
                ("groups", Type::list(TEXT)),
                ("extra", Type::map(Type::list(TEXT))),
            ],
        );
        object(
            "kubernetes.AdmissionRequest",
            &[
                ("kind", kind.clone()),
                ("resource", resource.clone()),
                ("subResource", TEXT),
                ("requestKind", kind),
                ("requestResource", resource),
                ("requestSubResource", TEXT),
                ("name", TEXT),
                ("namespace", TEXT),
                ("operation", TEXT),
                ("userInfo", user),
                ("dryRun", Type::Bool),
                ("options", Type::Dyn),
            ],
        )
    });
    &TYPE
}

/// `namespaceObject`.
pub(super) fn namespace_type() -> &'static Type {
    static TYPE: LazyLock<Type> = LazyLock::new(|| {
        let metadata = object(
            "kubernetes.NamespaceMetadata",
            &[
                ("name", TEXT),
                ("generateName", TEXT),
                ("namespace", TEXT),
                ("labels", Type::map(TEXT)),
                ("annotations", Type::map(TEXT)),
                ("UID", TEXT),
                ("creationTimestamp", Type::Timestamp),
                ("deletionGracePeriodSeconds", Type::Int),
                ("deletionTimestamp", Type::Timestamp),
                ("generation", Type::Int),
                ("resourceVersion", TEXT),
                ("finalizers", Type::list(TEXT)),
            ],
        );
        let condition = object(
            "kubernetes.NamespaceCondition",
            &[
                ("status", TEXT),
                ("type", TEXT),
                ("lastTransitionTime", Type::Timestamp),
                ("message", TEXT),
                ("reason", TEXT),
            ],
        );
        let spec = object("kubernetes.NamespaceSpec", &[("finalizers", Type::list(TEXT))]);
        let status =
            object("kubernetes.NamespaceStatus", &[("conditions", Type::list(condition)), ("phase", TEXT)]);
        object("kubernetes.Namespace", &[("metadata", metadata), ("spec", spec), ("status", status)])
    });
    &TYPE
}

/// Of a Namespace what expressions see.
pub fn namespace_object(namespace: &Value) -> Value {
    const METADATA: [&str; 12] = [
        "name",
        "generateName",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "labels",
        "annotations",
        "finalizers",
    ];
    let metadata: Map<String, Value> = METADATA
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), namespace["metadata"].get(*name)?.clone())))
        .collect();
    let part = |name: &str| namespace.get(name).cloned().unwrap_or_else(|| Map::new().into());
    let fields = [("metadata", metadata.into()), ("spec", part("spec")), ("status", part("status"))];
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// `Object{...}` and what is below it.
pub(super) fn apply_configuration() -> Object {
    Object { name: "Object".into(), fields: BTreeMap::new(), open: true }
}

/// `JSONPatch{...}`.
pub(super) fn json_patch() -> Object {
    plain("JSONPatch", &[("op", TEXT), ("path", TEXT), ("from", TEXT), ("value", Type::Dyn)])
}

/// `variables`.
pub(super) fn variables(all: &[(Box<str>, Expression)]) -> Type {
    let fields: Vec<(&str, Type)> = all
        .iter()
        .map(|(name, made)| {
            let name = name.strip_prefix("variables.").unwrap_or(name);
            (name, of_variable(made.program.as_ref().ok().map(crate::cel::Program::ty)))
        })
        .collect();
    object("kubernetes.variables", &fields)
}

/// What is known of a variable: simple types, lists and maps of them.
pub(super) fn of_variable(found: Option<&Type>) -> Type {
    match found {
        Some(Type::List(of, ..)) => Type::list(of_variable(Some(of))),
        Some(Type::Map(key, value, _)) => {
            Type::Map(Arc::new(of_variable(Some(key))), Arc::new(of_variable(Some(value))), None)
        }
        Some(Type::String(_)) => TEXT,
        Some(Type::Bytes(_)) => Type::Bytes(None),
        Some(
            simple @ (Type::Bool
            | Type::Double
            | Type::Duration
            | Type::Int
            | Type::Null
            | Type::Timestamp
            | Type::Uint),
        ) => simple.clone(),
        _ => Type::Dyn,
    }
}
