//! Custom resources: definitions, and the objects that they allow.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Cluster, cluster};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

fn schema() -> Value {
    json!({"type": "object", "description": "A widget.", "properties": {
        "spec": {"type": "object", "required": ["size"], "description": "What is wanted.", "properties": {
            "size": {"type": "integer", "minimum": 1, "description": "How large it is."},
            "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string"}, "port": {"x-kubernetes-int-or-string": true}}}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }},
        "status": {"type": "object", "properties": {
            "replicas": {"type": "integer"}, "selector": {"type": "string"}, "phase": {"type": "string"}}},
    }})
}

fn definition() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema()},
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size",
                    "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "additionalPrinterColumns": [
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    {"name": "Phase", "type": "string", "jsonPath": ".status.phase", "priority": 1}]}]}})
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

async fn patch(c: &Cluster, path: &str, kind: &str, body: Value) -> (u16, Value) {
    let user = dunlin_apiserver::User::in_process("test");
    c.ask_as(Some(user), "PATCH", path, body, kind).await
}

fn condition<'a>(definition: &'a Value, kind: &str) -> &'a Value {
    let all = definition["status"]["conditions"].as_array().unwrap();
    all.iter().find(|c| c["type"] == kind).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn a_definition_is_served_at_once_and_everywhere() {
    let c = cluster().await;
    assert_eq!(c.ask("GET", WIDGETS, Value::Null).await.0, 404);
    c.make(CRDS, definition()).await;
    let (_, made) = c.ask("GET", &format!("{CRDS}/widgets.example.com"), Value::Null).await;
    assert_eq!(condition(&made, "Established")["status"], "True");
    assert_eq!(condition(&made, "NamesAccepted")["reason"], "NoConflicts");
    assert_eq!(made["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(made["status"]["acceptedNames"]["singular"], "widget");
    assert_eq!(made["spec"]["conversion"]["strategy"], "None");

    let (_, groups) = c.ask("GET", "/apis", Value::Null).await;
    assert!(groups["groups"].as_array().unwrap().iter().any(|g| g["name"] == "example.com"));
    let (_, list) = c.ask("GET", "/apis/example.com/v1", Value::Null).await;
    let names: Vec<&str> =
        list["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["widgets", "widgets/status", "widgets/scale"]);
    assert_eq!(list["resources"][0]["shortNames"], json!(["wd"]));
    let (_, index) = c.ask("GET", "/openapi/v3", Value::Null).await;
    let url = index["paths"]["apis/example.com/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let (_, document) = c.ask("GET", &url, Value::Null).await;
    let described = &document["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(described["properties"]["spec"]["properties"]["size"]["description"], "How large it is.");
    assert_eq!(described["x-kubernetes-group-version-kind"][0]["kind"], "Widget");
    assert!(
        document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}/status"].is_object()
    );

    let mut wider = definition();
    wider["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["new"] =
        json!({"type": "string"});
    let (code, _) =
        patch(&c, &format!("{CRDS}/widgets.example.com"), "application/merge-patch+json", wider).await;
    assert_eq!(code, 200);
    let made = c.make(WIDGETS, widget("a", json!({"size": 1, "new": "x"}))).await;
    assert_eq!(made["spec"]["new"], "x");
    let (_, index) = c.ask("GET", "/openapi/v3", Value::Null).await;
    assert_ne!(index["paths"]["apis/example.com/v1"]["serverRelativeURL"], url.as_str());
}

#[tokio::test]
async fn objects_are_pruned_defaulted_checked_and_counted() {
    let c = cluster().await;
    c.make(CRDS, definition()).await;
    let spec =
        json!({"size": 2, "unknown": 1, "free": {"any": [1]}, "ports": [{"name": "a", "port": "http"}]});
    let made = c.make(WIDGETS, widget("a", spec.clone())).await;
    assert_eq!(
        made["spec"],
        json!({"size": 2, "color": "red", "free": {"any": [1]}, "ports": [{"name": "a", "port": "http"}]})
    );
    assert_eq!(made["metadata"]["generation"], 1);
    let (code, status) = c.ask("POST", &format!("{WIDGETS}?fieldValidation=Strict"), widget("b", spec)).await;
    assert_eq!(code, 400);
    assert_eq!(
        status["message"],
        "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: unknown field \"spec.unknown\""
    );
    let (code, status) = c.ask("POST", WIDGETS, widget("b", json!({"size": 0, "color": "green"}))).await;
    assert_eq!(code, 422);
    assert_eq!(
        status["message"],
        "Widget.example.com \"b\" is invalid: [spec.color: Unsupported value: \"green\": supported values: \"red\", \
         \"blue\", spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1]"
    );
    let one = format!("{WIDGETS}/a");
    let (code, status) = patch(&c, &one, "application/strategic-merge-patch+json", json!({})).await;
    assert_eq!((code, status["reason"].as_str()), (415, Some("UnsupportedMediaType")));
    let (_, changed) = patch(&c, &one, "application/merge-patch+json", json!({"spec": {"size": 3}})).await;
    assert_eq!((&changed["spec"]["size"], &changed["metadata"]["generation"]), (&json!(3), &json!(2)));
    let op = json!([{"op": "replace", "path": "/spec/size", "value": 4}]);
    let (_, changed) = patch(&c, &one, "application/json-patch+json", op).await;
    assert_eq!(changed["spec"]["size"], 4);
    let status = json!({"spec": {"size": 9}, "status": {"phase": "Ready", "replicas": 1, "selector": "a=b"}});
    let (_, changed) = patch(&c, &format!("{one}/status"), "application/merge-patch+json", status).await;
    assert_eq!((&changed["spec"]["size"], &changed["status"]["phase"]), (&json!(4), &json!("Ready")));
    assert_eq!(changed["metadata"]["generation"], 3);
    let (_, scale) = c.ask("GET", &format!("{one}/scale"), Value::Null).await;
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(4), &json!("a=b")));
    let (code, _) =
        patch(&c, &format!("{one}/scale"), "application/merge-patch+json", json!({"spec": {"replicas": 7}}))
            .await;
    assert_eq!(code, 200);
    let (code, _) = c.ask("DELETE", &format!("{one}?dryRun=All"), Value::Null).await;
    assert_eq!(code, 200);
    assert_eq!(c.ask("GET", &one, Value::Null).await.1["spec"]["size"], 7);
}

#[tokio::test]
async fn rules_are_kept() {
    let c = cluster().await;
    let mut ruled = definition();
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    ruled.pointer_mut(spec).unwrap()["x-kubernetes-validations"] = json!([
        {"rule": "self.size < 10 || self.color == 'blue'", "message": "large ones are blue"},
        {"rule": "self.size >= oldSelf.size", "messageExpression": "'it was ' + string(oldSelf.size)"},
    ]);
    let mut wrong = ruled.clone();
    wrong.pointer_mut(spec).unwrap()["x-kubernetes-validations"][0]["rule"] = json!("self.sise < 10");
    let (code, status) = c.ask("POST", CRDS, wrong).await;
    assert_eq!(code, 422);
    assert!(status["message"].as_str().unwrap().contains("undefined field 'sise'"), "{status}");
    c.make(CRDS, ruled).await;
    let (code, status) = c.ask("POST", WIDGETS, widget("a", json!({"size": 20}))).await;
    assert_eq!(code, 422);
    assert_eq!(
        status["message"],
        "Widget.example.com \"a\" is invalid: spec: Invalid value: large ones are blue"
    );
    c.make(WIDGETS, widget("a", json!({"size": 20, "color": "blue"}))).await;
    let less = json!({"spec": {"size": 19}});
    let (code, status) = patch(&c, &format!("{WIDGETS}/a"), "application/merge-patch+json", less).await;
    assert_eq!(code, 422);
    assert!(status["message"].as_str().unwrap().ends_with("it was 20"), "{status}");
    let (code, status) = c.ask("POST", WIDGETS, widget("b", json!({"size": "x"}))).await;
    assert_eq!(code, 422);
    assert!(
        status["message"].as_str().unwrap().contains("some validation rules were not checked"),
        "{status}"
    );
}

#[tokio::test]
async fn applies_merge_lists_by_their_keys() {
    let c = cluster().await;
    c.make(CRDS, definition()).await;
    let one = format!("{WIDGETS}/a");
    let apply = |manager: &'static str, spec: Value| {
        let (c, path) = (&c, format!("{one}?fieldManager={manager}"));
        async move { patch(c, &path, "application/apply-patch+yaml", widget("a", spec)).await }
    };
    assert_eq!(apply("one", json!({"size": 1, "ports": [{"name": "x", "port": 1}]})).await.0, 201);
    let (code, both) = apply("two", json!({"size": 1, "ports": [{"name": "y", "port": 2}]})).await;
    assert_eq!((code, both["spec"]["ports"].as_array().unwrap().len()), (200, 2));
    let (code, status) = apply("two", json!({"size": 2, "ports": [{"name": "x", "port": 5}]})).await;
    assert_eq!(code, 409, "{status}");
    let fields: Vec<&str> = status["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields, [".spec.size", ".spec.ports[name=\"x\"].port"]);
    let (_, less) = apply("one", json!({"size": 1})).await;
    assert_eq!(less["spec"]["ports"], json!([{"name": "y", "port": 2}]));
}

#[tokio::test]
async fn objects_are_listed_selected_and_printed() {
    let c = cluster().await;
    c.make(CRDS, definition()).await;
    c.make(WIDGETS, widget("a", json!({"size": 1}))).await;
    c.make(WIDGETS, widget("b", json!({"size": 2, "color": "blue"}))).await;
    let (_, list) = c.ask("GET", &format!("{WIDGETS}?fieldSelector=spec.color%3Dblue"), Value::Null).await;
    assert_eq!((list["kind"].as_str(), list["items"].as_array().unwrap().len()), (Some("WidgetList"), 1));
    assert_eq!(c.ask("GET", &format!("{WIDGETS}?fieldSelector=spec.size%3D1"), Value::Null).await.0, 400);
    let request =
        http::Request::get(WIDGETS).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let mut request = request.body(http_body_util::Full::default()).unwrap();
    request.extensions_mut().insert(dunlin_apiserver::User::in_process("test"));
    let reply = c.send(request).await;
    let bytes = http_body_util::BodyExt::collect(reply.into_body()).await.unwrap().to_bytes();
    let table: Value = serde_json::from_slice(&bytes).unwrap();
    let columns: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(columns, ["Name", "Size", "Phase"]);
    assert_eq!(table["rows"][1]["cells"], json!(["b", 2, null]));
}

#[tokio::test]
async fn versions_are_views_of_one_object() {
    let c = cluster().await;
    let mut two = definition();
    let mut old = two["spec"]["versions"][0].clone();
    old["name"] = json!("v1beta1");
    old["storage"] = json!(false);
    old["deprecated"] = json!(true);
    old["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["color"]["default"] = json!("blue");
    two["spec"]["versions"].as_array_mut().unwrap().push(old);
    c.make(CRDS, two.clone()).await;
    let beta = WIDGETS.replace("/v1/", "/v1beta1/");
    let mut body = widget("a", json!({"size": 1}));
    body["apiVersion"] = json!("example.com/v1beta1");
    let made = c.make(&beta, body).await;
    assert_eq!(
        (&made["apiVersion"], &made["spec"]["color"]),
        (&json!("example.com/v1beta1"), &json!("blue"))
    );
    let (_, seen) = c.ask("GET", &format!("{WIDGETS}/a"), Value::Null).await;
    assert_eq!((&seen["apiVersion"], &seen["spec"]["color"]), (&json!("example.com/v1"), &json!("blue")));
    let (_, list) = c.ask("GET", &beta, Value::Null).await;
    assert_eq!(list["items"][0]["apiVersion"], "example.com/v1beta1");
    let (_, group) = c.ask("GET", "/apis/example.com", Value::Null).await;
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let mut only = two.clone();
    only["spec"]["versions"][0]["storage"] = json!(false);
    only["spec"]["versions"][1]["storage"] = json!(true);
    let path = format!("{CRDS}/widgets.example.com");
    let (_, turned) = patch(&c, &path, "application/merge-patch+json", only).await;
    assert_eq!(turned["status"]["storedVersions"], json!(["v1", "v1beta1"]));
    let without = json!([{"op": "remove", "path": "/spec/versions/0"}]);
    let (code, status) = patch(&c, &path, "application/json-patch+json", without).await;
    assert_eq!(code, 422);
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .contains("status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions")
    );
}

#[tokio::test]
async fn names_are_held_by_one_definition() {
    let c = cluster().await;
    c.make(CRDS, definition()).await;
    let mut other = definition();
    other["metadata"]["name"] = json!("gadgets.example.com");
    other["spec"]["names"] = json!({"plural": "gadgets", "kind": "Gadget", "shortNames": ["wd"]});
    c.make(CRDS, other).await;
    let path = format!("{CRDS}/gadgets.example.com");
    let (_, waiting) = c.ask("GET", &path, Value::Null).await;
    assert_eq!(condition(&waiting, "NamesAccepted")["message"], "\"wd\" is already in use");
    assert_eq!(condition(&waiting, "Established")["status"], "False");
    let gadgets = "/apis/example.com/v1/namespaces/default/gadgets";
    assert_eq!(c.ask("GET", gadgets, Value::Null).await.0, 404);
    assert_eq!(c.ask("DELETE", &format!("{CRDS}/widgets.example.com"), Value::Null).await.0, 200);
    for _ in 0..200 {
        if c.ask("GET", gadgets, Value::Null).await.0 == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the name was never given on");
}

#[tokio::test]
async fn a_definition_goes_after_its_objects() {
    let c = cluster().await;
    c.make(CRDS, definition()).await;
    c.make(WIDGETS, widget("free", json!({"size": 1}))).await;
    let mut held = widget("held", json!({"size": 1}));
    held["metadata"]["finalizers"] = json!(["example.com/wait"]);
    c.make(WIDGETS, held).await;
    let path = format!("{CRDS}/widgets.example.com");
    let (_, going) = c.ask("DELETE", &path, Value::Null).await;
    assert_eq!(going["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    assert_eq!(condition(&going, "Terminating")["status"], "True");
    let (code, status) = c.ask("POST", WIDGETS, widget("new", json!({"size": 1}))).await;
    assert_eq!(code, 405, "{status}");
    for round in 0.. {
        assert!(round < 200, "the free object is never deleted");
        if c.ask("GET", &format!("{WIDGETS}/free"), Value::Null).await.0 == 404 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (code, waiting) = c.ask("GET", &path, Value::Null).await;
    assert_eq!(
        (code, condition(&waiting, "Terminating")["reason"].as_str()),
        (200, Some("InstanceDeletionInProgress"))
    );
    let free = json!({"metadata": {"finalizers": null}});
    patch(&c, &format!("{WIDGETS}/held"), "application/merge-patch+json", free).await;
    for round in 0.. {
        assert!(round < 200, "the definition is never deleted");
        if c.ask("GET", &path, Value::Null).await.0 == 404 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(c.ask("GET", WIDGETS, Value::Null).await.0, 404);
    let (_, groups) = c.ask("GET", "/apis", Value::Null).await;
    assert!(!groups["groups"].as_array().unwrap().iter().any(|g| g["name"] == "example.com"));
}

#[tokio::test]
async fn bad_definitions_are_refused_in_kubernetes_words() {
    let c = cluster().await;
    let root = "spec.validation.openAPIV3Schema";
    for (pointer, value, want) in [
        ("/metadata/name", json!("x.example.com"), r#"metadata.name: Invalid value: "x.example.com": must be spec.names.plural+"."+spec.group"#.to_owned()),
        ("/spec/versions/0/schema", json!(null), "spec.versions[0].schema.openAPIV3Schema: Required value".to_owned()),
        ("/spec/versions/0/storage", json!(false), "must have exactly one version marked as storage version".to_owned()),
        ("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size", json!({}), format!("{root}.properties[spec].properties[size].type: Required value: must not be empty for specified object fields")),
        ("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size", json!({"type": "array"}), format!("{root}.properties[spec].properties[size].items: Required value: must be specified")),
        ("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/color/default", json!("green"), format!("{root}.properties[spec].properties[color].default: Unsupported value: \"green\": supported values: \"red\", \"blue\"")),
        ("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/ports/x-kubernetes-list-map-keys", json!(["id"]), format!("{root}.properties[spec].properties[ports].x-kubernetes-list-map-keys: Invalid value: [\"id\"]: entries must all be names of item properties")),
        ("/spec/versions/0/schema/openAPIV3Schema/properties/spec/anyOf", json!([{"type": "object"}]), format!("{root}.properties[spec].anyOf[0].type: Forbidden: must be empty to be structural")),
        ("/spec/versions/0/selectableFields/0/jsonPath", json!(".spec.nope"), "spec.selectableFields[0].jsonPath: Invalid value: \".spec.nope\": is an invalid path: does not refer to a valid field".to_owned()),
        ("/spec/versions/0/additionalPrinterColumns/0/type", json!("float"), "spec.additionalPrinterColumns[0].type: Invalid value: \"float\": must be one of boolean,date,integer,number,string".to_owned()),
        ("/spec/versions/0/subresources/scale/specReplicasPath", json!(".status.x"), "spec.subresources.scale.specReplicasPath: Invalid value: \".status.x\": should be a json path under .spec".to_owned()),
        ("/spec/conversion", json!({"strategy": "Webhook"}), "spec.conversion.conversionReviewVersions: Required value".to_owned()),
        ("/spec/group", json!("x.k8s.io"), "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups".to_owned()),
    ] {
        let mut bad = definition();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        bad.pointer_mut(parent).unwrap()[name] = value;
        let (code, status) = c.ask("POST", CRDS, bad).await;
        assert_eq!(code, 422, "{pointer}: {status}");
        let message = status["message"].as_str().unwrap();
        assert!(message.contains(&want), "{pointer}: {message}");
    }
}
