//! The paths of a document: collections, objects and subresources, with the parameters that clients look for.

use serde_json::{Map, Value, json};

use super::schemas::Schemas;
use super::{Dialect, Resource, v3_path};
use crate::gvk::GroupVersionKind;

const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
    "application/strategic-merge-patch+json",
];
const LIST: [(&str, &str); 10] = [
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const WRITE: [(&str, &str); 3] =
    [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const DELETE: [(&str, &str); 4] = [
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];
/// Subresources that hand the connection over.
const CONNECT: [&str; 4] = ["attach", "exec", "portforward", "proxy"];

/// What an operation takes and gives.
struct Operation<'a> {
    action: &'a str,
    gvk: &'a GroupVersionKind,
    query: Vec<(&'a str, &'a str)>,
    body: Option<Value>,
    reply: Value,
    /// Which patches it takes.
    patches: &'a [&'a str],
}

/// Adds the paths of a resource, and asks for the schemas that they need.
pub(super) fn add(
    dialect: Dialect,
    resource: &Resource,
    schemas: &mut Schemas,
    paths: &mut Map<String, Value>,
) {
    let gvk = &resource.gvk;
    let (object, list) = schemas.resource(resource);
    let status = schemas.meta("Status");
    let options = schemas.meta("DeleteOptions");
    let patch = schemas.meta("Patch");
    let base = format!("/{}", v3_path(&gvk.group, &gvk.version));
    let namespace = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{base}{namespace}/{}", resource.plural);
    let single = format!("{collection}/{{name}}");
    // What a custom resource's lists are merged by is known to applies only.
    let patches = if resource.schema.is_none() { &PATCHES[..] } else { &PATCHES[..3] };
    let can = |verb: &str| resource.verbs.iter().any(|v| v == verb);
    let operation = |action, query: &[(&'static str, &'static str)], body: Option<&Value>, reply: &Value| {
        Operation { action, gvk, query: query.to_vec(), body: body.cloned(), reply: reply.clone(), patches }
    };
    let mut put = |path: &str, method: &str, operation: Operation<'_>| {
        let item = paths.entry(path.to_owned()).or_insert_with(|| {
            let names = ["namespace", "name"].into_iter().filter(|n| path.contains(&format!("{{{n}}}")));
            let parameters: Vec<Value> = names.map(|n| parameter(dialect, "path", n, "string")).collect();
            if parameters.is_empty() { json!({}) } else { json!({ "parameters": parameters }) }
        });
        item[method] = write(dialect, path, method, operation);
    };

    if can("list") {
        put(&collection, "get", operation("list", &LIST, None, &list));
        if resource.namespaced {
            let everywhere = format!("{base}/{}", resource.plural);
            put(&everywhere, "get", operation("list", &LIST, None, &list));
        }
    }
    if can("create") {
        put(&collection, "post", operation("post", &WRITE, Some(&object), &object));
    }
    if can("deletecollection") {
        let query = [LIST.as_slice(), &DELETE].concat();
        put(&collection, "delete", operation("deletecollection", &query, Some(&options), &status));
    }
    let force = [WRITE.as_slice(), &[("force", "boolean")]].concat();
    if can("get") {
        put(&single, "get", operation("get", &[], None, &object));
    }
    if can("update") {
        put(&single, "put", operation("put", &WRITE, Some(&object), &object));
    }
    if can("patch") {
        put(&single, "patch", operation("patch", &force, Some(&patch), &object));
    }
    if can("delete") {
        put(&single, "delete", operation("delete", &DELETE, Some(&options), &status));
    }
    for sub in &resource.subresources {
        let path = format!("{single}/{}", sub.name);
        let body = if sub.gvk == *gvk { object.clone() } else { schemas.kind(&sub.gvk) };
        for verb in &sub.verbs {
            let connect = CONNECT.contains(&sub.name.as_str());
            let (method, action, query, takes) = match verb.as_str() {
                "get" => ("get", "get", &[] as &[_], None),
                "create" => ("post", "post", &WRITE as &[_], Some(body.clone())),
                "update" => ("put", "put", &WRITE as &[_], Some(body.clone())),
                "patch" => ("patch", "patch", force.as_slice(), Some(patch.clone())),
                "delete" => ("delete", "delete", &DELETE as &[_], Some(options.clone())),
                _ => continue,
            };
            let reply = if connect || sub.name == "log" { json!({"type": "string"}) } else { body.clone() };
            let mut operation =
                Operation { action, gvk: &sub.gvk, query: query.to_vec(), body: takes, reply, patches };
            if connect {
                operation = Operation { action: "connect", query: Vec::new(), body: None, ..operation };
            }
            put(&path, method, operation);
        }
    }
}

fn parameter(dialect: Dialect, place: &str, name: &str, ty: &str) -> Value {
    let mut parameter = json!({"name": name, "in": place});
    match dialect {
        Dialect::V2 => {
            parameter["type"] = ty.into();
            parameter["uniqueItems"] = true.into();
        }
        Dialect::V3 => parameter["schema"] = json!({"type": ty, "uniqueItems": true}),
    }
    if place == "path" {
        parameter["required"] = true.into();
    }
    parameter
}

fn write(dialect: Dialect, path: &str, method: &str, operation: Operation<'_>) -> Value {
    let gvk = operation.gvk;
    let types: &[&str] = if operation.action == "patch" { operation.patches } else { &["application/json"] };
    let mut parameters: Vec<Value> =
        operation.query.iter().map(|(name, ty)| parameter(dialect, "query", name, ty)).collect();
    let required = matches!(operation.action, "post" | "put" | "patch");
    let mut written = json!({
        "operationId": operation_id(path, method),
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": gvk.group, "version": gvk.version, "kind": gvk.kind},
    });
    match dialect {
        Dialect::V2 => {
            if let Some(body) = operation.body {
                parameters.push(json!({"name": "body", "in": "body", "required": required, "schema": body}));
            }
            written["consumes"] = json!(types);
            written["produces"] = json!(["application/json"]);
            written["schemes"] = json!(["https"]);
            written["responses"] = json!({
                "200": {"description": "OK", "schema": operation.reply},
                "401": {"description": "Unauthorized"},
            });
        }
        Dialect::V3 => {
            if let Some(body) = operation.body {
                let content: Map<String, Value> =
                    types.iter().map(|t| ((*t).to_owned(), json!({"schema": body}))).collect();
                written["requestBody"] = json!({"content": content, "required": required});
            }
            written["responses"] = json!({
                "200": {"description": "OK", "content": {"application/json": {"schema": operation.reply}}},
                "401": {"description": "Unauthorized"},
            });
        }
    }
    if !parameters.is_empty() {
        written["parameters"] = Value::Array(parameters);
    }
    written
}

/// A unique name for generators, from the path: `getAppsV1NamespacesNamespaceDeploymentsName`.
fn operation_id(path: &str, method: &str) -> String {
    let mut id = method.to_owned();
    for part in path.split(|c: char| !c.is_ascii_alphanumeric()).skip(2).filter(|p| !p.is_empty()) {
        let (first, rest) = part.split_at(1);
        id.push_str(&first.to_ascii_uppercase());
        id.push_str(rest);
    }
    id
}
