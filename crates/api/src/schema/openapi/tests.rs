//! What clients look for in the documents is there, and no reference leads nowhere.

use super::*;

fn gvk(group: &str, version: &str, kind: &str) -> GroupVersionKind {
    GroupVersionKind::new(group, version, kind)
}

fn verbs(verbs: &str) -> Vec<String> {
    verbs.split(' ').map(str::to_owned).collect()
}

fn served() -> Vec<Resource> {
    let all = verbs("create delete deletecollection get list patch update watch");
    let deployment = gvk("apps", "v1", "Deployment");
    let scale = Subresource {
        name: "scale".into(),
        gvk: gvk("autoscaling", "v1", "Scale"),
        verbs: verbs("get patch update"),
    };
    let status =
        Subresource { name: "status".into(), gvk: deployment.clone(), verbs: verbs("get patch update") };
    let exec =
        Subresource { name: "exec".into(), gvk: gvk("", "v1", "PodExecOptions"), verbs: verbs("create get") };
    let resource = |gvk, plural: &str, namespaced, subresources, schema| Resource {
        gvk,
        plural: plural.into(),
        namespaced,
        verbs: all.clone(),
        subresources,
        schema,
    };
    let widget = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}});
    vec![
        resource(deployment, "deployments", true, vec![scale, status], None),
        resource(gvk("", "v1", "Pod"), "pods", true, vec![exec], None),
        resource(gvk("", "v1", "Node"), "nodes", false, vec![], None),
        resource(gvk("example.com", "v1", "Widget"), "widgets", true, vec![], Some(widget)),
    ]
}

fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|v| references(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

fn all_references_lead_somewhere(document: &Value) {
    let mut found = Vec::new();
    references(document, &mut found);
    assert!(found.len() > 5);
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("local");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn documents_are_closed() {
    all_references_lead_somewhere(&v3_document("apps", "v1", &served()));
    all_references_lead_somewhere(&v3_document("", "v1", &served()));
    all_references_lead_somewhere(&v3_document("example.com", "v1", &served()));
    all_references_lead_somewhere(&v2_document(&served()));
}

#[test]
fn patch_operations_tell_of_field_validation() {
    let document = v3_document("apps", "v1", &served());
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-action"], "patch");
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    let parameters = patch["parameters"].as_array().expect("parameters");
    assert!(parameters.iter().any(|p| p["name"] == "fieldValidation"));
    let scale = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"];
    assert_eq!(scale["x-kubernetes-group-version-kind"]["kind"], "Scale");
    assert!(document["paths"]["/apis/apps/v1/deployments"]["get"].is_object());
}

#[test]
fn schemas_carry_merge_rules() {
    let document = v3_document("", "v1", &served());
    let schemas = &document["components"]["schemas"];
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    let volumes = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["volumes"];
    assert_eq!(volumes["x-kubernetes-patch-strategy"], "merge,retainKeys");
    let pod = &schemas["io.k8s.api.core.v1.Pod"]["x-kubernetes-group-version-kind"];
    assert_eq!(pod, &json!([{"group": "", "version": "v1", "kind": "Pod"}]));
    let exec = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/exec"]["post"];
    assert_eq!(exec["x-kubernetes-action"], "connect");
    assert!(document["paths"]["/api/v1/nodes/{name}"]["delete"].is_object());
}

#[test]
fn custom_resources_have_schemas_of_their_own() {
    let document = v3_document("example.com", "v1", &served());
    let widget = &document["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(widget["properties"]["spec"]["properties"]["size"]["type"], "integer");
    assert!(widget["properties"]["metadata"]["$ref"].is_string());
    assert!(document["components"]["schemas"]["com.example.v1.WidgetList"].is_object());
}

#[test]
fn the_index_names_every_document() {
    let index = v3_index([("", "v1", "a1"), ("apps", "v1", "b2")]);
    assert_eq!(index["paths"]["apis/apps/v1"]["serverRelativeURL"], "/openapi/v3/apis/apps/v1?hash=b2");
    assert_eq!(index["paths"]["api/v1"]["serverRelativeURL"], "/openapi/v3/api/v1?hash=a1");
}
