//! What an extension server says it serves, in the form of the aggregated discovery. Pure.

use serde_json::{Map, Value, json};

use crate::object::{list, text};

/// More resources than this one version does not have.
const MOST: usize = 1000;

/// The resources of an `APIResourceList` as those of an `APIVersionDiscovery`.
///
/// # Errors
/// What is wrong with the document.
pub fn resources(document: &Value, group: &str, version: &str) -> Result<Vec<Value>, String> {
    let wanted = format!("{group}/{version}");
    if text(document, &["groupVersion"]) != wanted {
        return Err(format!("it describes {:?} and not {wanted:?}", text(document, &["groupVersion"])));
    }
    let all = list(document, &["resources"]);
    if all.len() > MOST {
        return Err(format!("it lists {} resources; at most {MOST} are taken", all.len()));
    }
    let kind_of = |row: &Value| {
        let own = |field: &str, usual: &str| match text(row, &[field]) {
            "" => usual.to_owned(),
            other => other.to_owned(),
        };
        json!({"group": own("group", group), "version": own("version", version), "kind": text(row, &["kind"])})
    };
    let mut found: Vec<Map<String, Value>> = Vec::new();
    for row in all.iter().filter(|row| !text(row, &["name"]).contains('/')) {
        let mut value = Map::new();
        value.insert("resource".into(), json!(text(row, &["name"])));
        value.insert("responseKind".into(), kind_of(row));
        let scope = if row["namespaced"] == true { "Namespaced" } else { "Cluster" };
        value.insert("scope".into(), json!(scope));
        value.insert("singularResource".into(), json!(text(row, &["singularName"])));
        for field in ["verbs", "shortNames", "categories"] {
            if field == "verbs" || !list(row, &[field]).is_empty() {
                value.insert(field.into(), json!(list(row, &[field])));
            }
        }
        found.push(value);
    }
    for row in all {
        let Some((parent, name)) = text(row, &["name"]).split_once('/') else { continue };
        let Some(parent) = found.iter_mut().find(|r| r["resource"] == parent) else { continue };
        let sub = json!({"subresource": name, "responseKind": kind_of(row), "verbs": list(row, &["verbs"])});
        match parent.get_mut("subresources").and_then(Value::as_array_mut) {
            Some(subs) => subs.push(sub),
            None => {
                parent.insert("subresources".into(), json!([sub]));
            }
        }
    }
    Ok(found.into_iter().map(Value::Object).collect())
}

/// The query under which the OpenAPI document of a version can be asked for, from an `/openapi/v3` index; none if there
/// is none.
pub fn openapi(index: &Value, group: &str, version: &str) -> Option<String> {
    let url =
        index.get("paths")?.get(format!("apis/{group}/{version}"))?.get("serverRelativeURL")?.as_str()?;
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let clean = query.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
    clean.then(|| query.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_resources_becomes_a_discovery() {
        let document = json!({"groupVersion": "x.io/v1", "resources": [
            {"name": "things/scale", "namespaced": true, "kind": "Scale", "group": "autoscaling", "version": "v1",
             "verbs": ["get"]},
            {"name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing", "verbs": ["get", "list"],
             "shortNames": ["th"]},
            {"name": "nobody/status", "kind": "Nobody", "verbs": []},
        ]});
        let found = resources(&document, "x.io", "v1").unwrap();
        assert_eq!(
            found,
            [json!({"resource": "things", "singularResource": "thing", "scope": "Namespaced",
                "responseKind": {"group": "x.io", "version": "v1", "kind": "Thing"}, "verbs": ["get", "list"],
                "shortNames": ["th"],
                "subresources": [{"subresource": "scale", "verbs": ["get"],
                    "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}}]})]
        );
        assert!(resources(&document, "y.io", "v1").unwrap_err().contains("y.io/v1"));
        assert!(resources(&json!([1]), "x.io", "v1").is_err());
    }

    #[test]
    fn the_query_of_an_openapi_document_is_found() {
        let url = "/openapi/v3/apis/x.io/v1?hash=AB";
        let index = json!({"paths": {"apis/x.io/v1": {"serverRelativeURL": url}}});
        assert_eq!(openapi(&index, "x.io", "v1").as_deref(), Some("hash=AB"));
        assert_eq!(openapi(&index, "x.io", "v2"), None);
        assert_eq!(openapi(&Value::Null, "x.io", "v1"), None);
    }
}
