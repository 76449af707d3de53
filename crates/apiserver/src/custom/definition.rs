//! From a definition to the rows that it makes the server serve. Pure.

use std::cmp::Reverse;
use std::sync::Arc;

use dunlin_api::structural::{Rules, Schema};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::columns::Column;
use super::{Custom, Scale, Storage, is_going, webhook};
use crate::object::{at, list, text};
use crate::resources::{GPU, Resource, Sub, Text};

/// What can be done with every custom resource, in the order of Kubernetes' discovery.
const VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// What rows depend on, beside the object's identity.
pub fn mark(definition: &Value) -> String {
    format!(
        "{} {} {}",
        definition["metadata"]["generation"],
        is_going(definition),
        definition["status"]["storedVersions"]
    )
}

/// A row for each version that is served.
pub fn rows(definition: &Value, ended: &CancellationToken) -> Vec<Arc<Resource>> {
    let versions = list(definition, &["spec", "versions"]);
    let group = text(definition, &["spec", "group"]);
    let Some(stored) = versions.iter().find(|v| v["storage"] == true) else { return Vec::new() };
    let storage = Arc::new(Storage {
        api_version: format!("{group}/{}", text(stored, &["name"])),
        schema: Arc::new(schema(stored)),
        webhook: webhook::Webhook::of(definition),
    });
    let served = versions.iter().filter(|v| v["served"] == true);
    served.map(|version| Arc::new(row(definition, version, &storage, ended))).collect()
}

fn schema(version: &Value) -> Schema {
    Schema::parse(at(version, &["schema", "openAPIV3Schema"]).unwrap_or(&Value::Null))
}

fn texts(list: &[Value]) -> Vec<Text> {
    list.iter().filter_map(|v| v.as_str().map(|t| Text::Owned(t.to_owned()))).collect()
}

fn row(definition: &Value, version: &Value, storage: &Arc<Storage>, ended: &CancellationToken) -> Resource {
    let own = |value: &Value, path: &[&str]| Text::Owned(text(value, path).to_owned());
    let names = &definition["spec"]["names"];
    let (group, name, kind) =
        (own(definition, &["spec", "group"]), own(version, &["name"]), own(names, &["kind"]));
    let plural = own(names, &["plural"]);
    let scale = at(version, &["subresources", "scale"]).filter(|s| s.is_object());
    let mut subs = Vec::new();
    if at(version, &["subresources", "status"]).is_some_and(Value::is_object) {
        subs.push(Sub {
            name: "status",
            group: group.clone(),
            version: name.clone(),
            kind: kind.clone(),
            verbs: GPU,
        });
    }
    if scale.is_some() {
        subs.push(Sub {
            name: "scale",
            group: "autoscaling".into(),
            version: "v1".into(),
            kind: "Scale".into(),
            verbs: GPU,
        });
    }
    // The version that is stored has its schema already.
    let schema = match version["storage"] == true {
        true => storage.schema.clone(),
        false => Arc::new(schema(version)),
    };
    let stored = list(definition, &["status", "storedVersions"]);
    let alone = stored.len() == 1 && stored[0] == version["name"] && version["storage"] == true;
    let warning = (version["deprecated"] == true).then(|| match text(version, &["deprecationWarning"]) {
        "" => format!("{group}/{name} {kind} is deprecated").into(),
        warning => warning.into(),
    });
    let custom = Custom {
        list_kind: text(names, &["listKind"]).into(),
        columns: Column::all(version),
        selectable: list(version, &["selectableFields"])
            .iter()
            .map(|f| text(f, &["jsonPath"]).trim_start_matches('.').into())
            .collect(),
        scale: scale.map(|s| Scale {
            replicas: path(text(s, &["specReplicasPath"])),
            status: path(text(s, &["statusReplicasPath"])),
            selector: path(text(s, &["labelSelectorPath"])),
        }),
        warning,
        storage: storage.clone(),
        raw: alone && !schema.has_defaults(),
        going: is_going(definition),
        ended: ended.clone(),
        rules: Rules::of(&schema),
        schema,
    };
    Resource {
        stored: Text::Owned(format!("{plural}.{group}")),
        group,
        version: name,
        kind,
        singular: own(names, &["singular"]),
        short: texts(list(names, &["shortNames"])),
        categories: texts(list(names, &["categories"])),
        namespaced: text(definition, &["spec", "scope"]) == "Namespaced",
        verbs: VERBS,
        subs,
        plural,
        generation: true,
        custom: Some(Arc::new(custom)),
    }
}

/// The fields of a simple path, as `.spec.replicas`.
fn path(text: &str) -> Box<[Box<str>]> {
    text.split('.').filter(|p| !p.is_empty()).map(Into::into).collect()
}

/// How much clients should prefer a version: `v2` before `v1`, `v1` before `v1beta2`, these before `v1alpha1`, and all
/// of them before other names.
fn rank(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let major = rest[..end].parse().ok()?;
    match &rest[end..] {
        "" => Some((3, major, 0)),
        pre => {
            let (stage, minor) = pre
                .strip_prefix("beta")
                .map(|m| (2, m))
                .or_else(|| pre.strip_prefix("alpha").map(|m| (1, m)))?;
            Some((stage, major, minor.parse().ok()?))
        }
    }
}

/// Brings rows into the order of discovery: by group, better versions first, then by name.
pub fn order(rows: &mut [Arc<Resource>]) {
    rows.sort_by(|a, b| {
        let key = |r: &Resource| (Reverse(rank(&r.version)), r.version.clone());
        a.group.cmp(&b.group).then_with(|| key(a).cmp(&key(b))).then_with(|| a.plural.cmp(&b.plural))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_kubernetes_order() {
        let mut all = ["v1alpha1", "v1", "foo", "v2beta1", "v10", "v2", "v1beta2"];
        all.sort_by_key(|v| (Reverse(rank(v)), *v));
        assert_eq!(all, ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "foo"]);
    }
}
