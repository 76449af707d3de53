//! Admission policies: what they refuse, warn of and change, from the request after they were written.

use dunlin_apiserver::User;
use serde_json::{Value, json};

use crate::support::{Cluster, cluster};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// Makes a policy for configuration maps and a binding of the same name.
async fn bind(c: &Cluster, kind: &str, mut spec: Value, binding: Value) {
    spec["matchConstraints"] = json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
        "operations": ["*"], "resources": ["configmaps"]}]});
    c.make(&format!("{GROUP}/{kind}admissionpolicies"), json!({"metadata": {"name": "p"}, "spec": spec}))
        .await;
    let mut spec = binding;
    spec["policyName"] = json!("p");
    c.make(
        &format!("{GROUP}/{kind}admissionpolicybindings"),
        json!({"metadata": {"name": "b"}, "spec": spec}),
    )
    .await;
}

#[tokio::test]
async fn what_a_policy_refuses_is_not_stored() {
    let c = cluster().await;
    let spec = json!({"validations": [{"expression": "request.operation == 'DELETE' || !('bad' in object.data)", "message": "it is bad"}]});
    bind(&c, "validating", spec, json!({"validationActions": ["Deny"]})).await;
    let (code, status) = c.ask("POST", MAPS, map("a", json!({"bad": "x"}))).await;
    let words = "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: it is bad";
    assert_eq!((code, &status["message"], &status["reason"]), (422, &json!(words), &json!("Invalid")));
    assert_eq!(c.ask("GET", &format!("{MAPS}/a"), Value::Null).await.0, 404);
    c.make(MAPS, map("a", json!({"good": "x"}))).await;
    assert_eq!(c.ask("PUT", &format!("{MAPS}/a"), map("a", json!({"bad": "x"}))).await.0, 422);
    assert_eq!(
        c.ask("DELETE", &format!("{GROUP}/validatingadmissionpolicybindings/b"), Value::Null).await.0,
        200
    );
    c.make(MAPS, map("b", json!({"bad": "x"}))).await;
}

#[tokio::test]
async fn a_policy_can_warn_only() {
    let c = cluster().await;
    let spec = json!({"validations": [{"expression": "false", "message": "well"}]});
    bind(&c, "validating", spec, json!({"validationActions": ["Warn"]})).await;
    let mut request = http::Request::post(MAPS)
        .header("content-type", JSON)
        .body(http_body_util::Full::from(map("a", json!({})).to_string()))
        .unwrap();
    request.extensions_mut().insert(User::in_process("test"));
    let reply = c.send(request).await;
    assert_eq!(reply.status(), 201);
    let warning = reply.headers()["warning"].to_str().unwrap();
    assert!(
        warning.contains("Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': well"),
        "{warning}"
    );
}

#[tokio::test]
async fn params_count_as_they_are_now() {
    let c = cluster().await;
    c.make(
        "/api/v1/namespaces/default/secrets",
        json!({"metadata": {"name": "limits"}, "stringData": {"a": "b"}}),
    )
    .await;
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "Secret"},
        "validations": [{"expression": "object.data.size() <= params.data.size()"}]});
    let binding = json!({"validationActions": ["Deny"], "paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"}});
    bind(&c, "validating", spec, binding).await;
    let two = map("a", json!({"a": "1", "b": "2"}));
    assert_eq!(c.ask("POST", MAPS, two.clone()).await.0, 422);
    let limits = "/api/v1/namespaces/default/secrets/limits";
    let more = json!({"metadata": {"name": "limits"}, "stringData": {"a": "b", "c": "d"}});
    assert_eq!(c.ask("PUT", limits, more).await.0, 200);
    c.make(MAPS, two).await;
    assert_eq!(c.ask("DELETE", limits, Value::Null).await.0, 200);
    let (code, status) = c.ask("POST", MAPS, map("b", json!({}))).await;
    assert_eq!(code, 422);
    assert!(status["message"].as_str().unwrap().ends_with(
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    ));
}

#[tokio::test]
async fn a_policy_asks_for_rights() {
    let c = cluster().await;
    let spec = json!({"validations": [{"expression": "authorizer.requestResource.check('grow').allowed()"}]});
    bind(&c, "validating", spec, json!({"validationActions": ["Deny"]})).await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    for (user, verbs) in [("jane", json!(["create"])), ("joan", json!(["create", "grow"]))] {
        let role = json!({"metadata": {"name": user}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}]});
        c.make(&format!("{rbac}/roles"), role).await;
        let binding = json!({"metadata": {"name": user},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}]});
        c.make(&format!("{rbac}/rolebindings"), binding).await;
    }
    let make = async |user: &str| {
        c.ask_as(Some(User::new(user, &[])), "POST", MAPS, map(user, json!({})), JSON).await.0
    };
    assert_eq!((make("jane").await, make("joan").await), (422, 201));
}

#[tokio::test]
async fn a_policy_changes_what_is_stored() {
    let c = cluster().await;
    let spec = json!({"reinvocationPolicy": "Never", "mutations": [
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{metadata: Object.metadata{labels: {'by': request.userInfo.username}}}"}},
        {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'add', path: '/data/seen', value: object.metadata.labels.by}]"}},
    ]});
    bind(&c, "mutating", spec, json!({})).await;
    let made = c.make(MAPS, map("a", json!({"x": "y"}))).await;
    assert_eq!(made["data"], json!({"x": "y", "seen": "test"}));
    assert_eq!(
        c.ask("GET", &format!("{MAPS}/a"), Value::Null).await.1["metadata"]["labels"],
        json!({"by": "test"})
    );
    // Without data there is nothing to add to.
    let (code, status) = c.ask("POST", MAPS, json!({"metadata": {"name": "b"}})).await;
    let words = "policy 'p' with binding 'b' denied request: JSON Patch: add operation does not apply: doc is missing path: \"/data/seen\": missing value";
    assert_eq!((code, &status["message"]), (403, &json!(words)));
}

#[tokio::test]
async fn the_status_says_what_does_not_fit() {
    let c = cluster().await;
    let spec = json!({"validations": [{"expression": "object.nope == 1"}]});
    bind(&c, "validating", spec, json!({"validationActions": ["Deny"]})).await;
    let policy = c.ask("GET", &format!("{GROUP}/validatingadmissionpolicies/p"), Value::Null).await.1;
    assert_eq!(policy["status"]["observedGeneration"], 1);
    let warning = &policy["status"]["typeChecking"]["expressionWarnings"][0];
    assert_eq!(warning["fieldRef"], "spec.validations[0].expression");
    assert!(
        warning["warning"]
            .as_str()
            .unwrap()
            .starts_with("/v1, Kind=ConfigMap: ERROR: <input>:1:7: undefined field 'nope'")
    );
}
