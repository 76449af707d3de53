//! OpenAPI documents out of the table: version 3 for one group and version, version 2 for all that is served.
//!
//! Clients read them for three things: `kubectl explain` walks the schemas, `kubectl apply` and `diff` look up merge
//! keys and whether a path takes `fieldValidation`, and generators want the rest. There is no prose in them, since the
//! table has none. The caller keeps the encoded document; building one takes a few milliseconds.

mod paths;
mod schemas;

use serde_json::{Map, Value, json};

use crate::gvk::GroupVersionKind;

/// A resource that the server serves.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Group, version and kind of its objects.
    pub gvk: GroupVersionKind,
    /// Plural name.
    pub plural: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs as in discovery: `create`, `delete`, `deletecollection`, `get`, `list`, `patch`, `update`, `watch`.
    pub verbs: Vec<String>,
    /// Subresources, for example `status`.
    pub subresources: Vec<Subresource>,
    /// The schema of a custom resource (`openAPIV3Schema`); `None` for kinds of the table.
    pub schema: Option<Value>,
}

/// A subresource of a [`Resource`].
#[derive(Clone, Debug)]
pub struct Subresource {
    /// Name in the path.
    pub name: String,
    /// What it reads and writes: the kind itself for `status`, `autoscaling/v1 Scale` for `scale`.
    pub gvk: GroupVersionKind,
    /// Verbs as in discovery; `create` and `get` of `exec` and its like mean `connect`.
    pub verbs: Vec<String>,
}

/// Which form of document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn reference(self, name: &str) -> Value {
        let place = match self {
            Dialect::V2 => "#/definitions/",
            Dialect::V3 => "#/components/schemas/",
        };
        json!({ "$ref": format!("{place}{name}") })
    }
}

/// The path of a group and version below `/openapi/v3/`: `api/v1`, `apis/apps/v1`.
pub fn v3_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The index at `/openapi/v3`: for each group and version, a hash that changes when its document does.
pub fn v3_index<'a>(documents: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>) -> Value {
    let mut paths = Map::new();
    for (group, version, hash) in documents {
        let path = v3_path(group, version);
        let url = format!("/openapi/v3/{path}?hash={hash}");
        paths.insert(path, json!({ "serverRelativeURL": url }));
    }
    json!({ "paths": paths })
}

/// The OpenAPI v3 document of one group and version. Resources of other groups and versions are ignored.
pub fn v3_document(group: &str, version: &str, resources: &[Resource]) -> Value {
    let served = || resources.iter().filter(|r| r.gvk.group == group && r.gvk.version == version);
    let mut schemas = schemas::Schemas::new(Dialect::V3);
    let mut paths = Map::new();
    for resource in served() {
        paths::add(Dialect::V3, resource, &mut schemas, &mut paths);
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": paths,
        "components": {"schemas": schemas.finish()},
    })
}

/// The OpenAPI v2 document of everything that is served.
pub fn v2_document(resources: &[Resource]) -> Value {
    let mut schemas = schemas::Schemas::new(Dialect::V2);
    let mut paths = Map::new();
    for resource in resources {
        paths::add(Dialect::V2, resource, &mut schemas, &mut paths);
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": paths,
        "definitions": schemas.finish(),
    })
}

#[cfg(test)]
mod tests;
