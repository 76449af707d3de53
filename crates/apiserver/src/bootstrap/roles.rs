//! The roles and bindings that Kubernetes' documentation promises to every cluster.

use serde_json::{Value, json};

const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];
const ALL: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

fn rule(verbs: &[&str], group: &str, resources: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": [group], "resources": resources})
}

fn role(name: &str, rules: Vec<Value>) -> (&'static str, Value) {
    let mut meta = meta(name);
    if let Some(target) = match name {
        "system:aggregate-to-view" => Some("view"),
        "system:aggregate-to-edit" => Some("edit"),
        "system:aggregate-to-admin" => Some("admin"),
        _ => None,
    } {
        meta["labels"][format!("rbac.authorization.k8s.io/aggregate-to-{target}")] = json!("true");
    }
    let value = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": meta, "rules": rules,
    });
    ("clusterroles", value)
}

fn meta(name: &str) -> Value {
    json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    })
}

/// A role that is the sum of others; the rules stand in it, too, as the controller of Kubernetes would write them.
fn aggregate(name: &str, parts: &[&str], rules: Vec<Value>) -> (&'static str, Value) {
    let (plural, mut value) = role(name, rules);
    let selectors: Vec<Value> = parts
        .iter()
        .map(|p| json!({"matchLabels": {format!("rbac.authorization.k8s.io/aggregate-to-{p}"): "true"}}))
        .collect();
    value["aggregationRule"] = json!({"clusterRoleSelectors": selectors});
    (plural, value)
}

fn bind(name: &str, groups: &[&str]) -> (&'static str, Value) {
    let subjects: Vec<Value> = groups
        .iter()
        .map(|g| json!({"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": g}))
        .collect();
    let value = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": meta(name),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": subjects,
    });
    ("clusterrolebindings", value)
}

fn view() -> Vec<Value> {
    vec![
        rule(
            &READ,
            "",
            &[
                "bindings",
                "configmaps",
                "endpoints",
                "events",
                "limitranges",
                "namespaces",
                "namespaces/status",
                "persistentvolumeclaims",
                "persistentvolumeclaims/status",
                "pods",
                "pods/log",
                "pods/status",
                "replicationcontrollers",
                "replicationcontrollers/scale",
                "replicationcontrollers/status",
                "resourcequotas",
                "resourcequotas/status",
                "serviceaccounts",
                "services",
                "services/status",
            ],
        ),
        rule(
            &READ,
            "apps",
            &[
                "controllerrevisions",
                "daemonsets",
                "daemonsets/status",
                "deployments",
                "deployments/scale",
                "deployments/status",
                "replicasets",
                "replicasets/scale",
                "replicasets/status",
                "statefulsets",
                "statefulsets/scale",
                "statefulsets/status",
            ],
        ),
        rule(&READ, "autoscaling", &["horizontalpodautoscalers", "horizontalpodautoscalers/status"]),
        rule(&READ, "batch", &["cronjobs", "cronjobs/status", "jobs", "jobs/status"]),
        rule(&READ, "metrics.k8s.io", &["nodes", "pods"]),
        rule(&READ, "discovery.k8s.io", &["endpointslices"]),
        rule(&READ, "dunlin.io", &["migrations", "migrations/status"]),
        rule(&READ, "events.k8s.io", &["events"]),
        rule(&READ, "networking.k8s.io", &["ingresses", "ingresses/status", "networkpolicies"]),
        rule(&READ, "policy", &["poddisruptionbudgets", "poddisruptionbudgets/status"]),
        rule(
            &READ,
            "resource.k8s.io",
            &["resourceclaims", "resourceclaims/status", "resourceclaimtemplates"],
        ),
    ]
}

fn edit() -> Vec<Value> {
    vec![
        rule(
            &READ,
            "",
            &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"],
        ),
        rule(&["impersonate"], "", &["serviceaccounts"]),
        rule(
            &WRITE,
            "",
            &[
                "pods",
                "pods/attach",
                "pods/exec",
                "pods/portforward",
                "pods/proxy",
                "configmaps",
                "events",
                "persistentvolumeclaims",
                "replicationcontrollers",
                "replicationcontrollers/scale",
                "secrets",
                "serviceaccounts",
                "services",
                "services/proxy",
            ],
        ),
        rule(&["create"], "", &["pods/eviction", "serviceaccounts/token"]),
        rule(
            &WRITE,
            "apps",
            &[
                "daemonsets",
                "deployments",
                "deployments/rollback",
                "deployments/scale",
                "replicasets",
                "replicasets/scale",
                "statefulsets",
                "statefulsets/scale",
            ],
        ),
        rule(&WRITE, "autoscaling", &["horizontalpodautoscalers"]),
        rule(&WRITE, "batch", &["cronjobs", "jobs"]),
        rule(&WRITE, "dunlin.io", &["migrations"]),
        rule(&WRITE, "networking.k8s.io", &["ingresses", "networkpolicies"]),
        rule(&WRITE, "policy", &["poddisruptionbudgets"]),
        rule(&WRITE, "resource.k8s.io", &["resourceclaims", "resourceclaimtemplates"]),
        rule(&ALL, "coordination.k8s.io", &["leases"]),
    ]
}

fn admin() -> Vec<Value> {
    vec![
        rule(&["create"], "authorization.k8s.io", &["localsubjectaccessreviews"]),
        rule(&ALL, "rbac.authorization.k8s.io", &["rolebindings", "roles"]),
    ]
}

/// All of them, with their resource.
pub fn all() -> Vec<(&'static str, Value)> {
    let join = |parts: &[Vec<Value>]| parts.concat();
    let reviews = [
        rule(&["create"], "authorization.k8s.io", &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
        rule(&["create"], "authentication.k8s.io", &["selfsubjectreviews"]),
    ];
    let paths = json!({"verbs": ["get"], "nonResourceURLs": [
        "/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version",
        "/version/",
    ]});
    vec![
        role(
            "cluster-admin",
            vec![
                json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
                json!({"verbs": ["*"], "nonResourceURLs": ["*"]}),
            ],
        ),
        role("system:aggregate-to-view", view()),
        role("system:aggregate-to-edit", edit()),
        role("system:aggregate-to-admin", admin()),
        aggregate("view", &["view"], view()),
        aggregate("edit", &["edit", "view"], join(&[edit(), view()])),
        aggregate("admin", &["admin", "edit", "view"], join(&[admin(), edit(), view()])),
        role("system:basic-user", reviews.to_vec()),
        role("system:discovery", vec![paths]),
        role(
            "system:public-info-viewer",
            vec![
                json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"]}),
            ],
        ),
        role(
            "system:monitoring",
            vec![
                json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/readyz", "/readyz/*"]}),
            ],
        ),
        role(
            "system:auth-delegator",
            vec![
                rule(&["create"], "authentication.k8s.io", &["tokenreviews"]),
                rule(&["create"], "authorization.k8s.io", &["subjectaccessreviews"]),
            ],
        ),
        // Extension servers find out by it how to know us.
        ("roles", {
            let mut meta = meta("extension-apiserver-authentication-reader");
            meta["namespace"] = json!("kube-system");
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta, "rules": [
                {"verbs": READ, "apiGroups": [""], "resources": ["configmaps"],
                 "resourceNames": ["extension-apiserver-authentication"]}]})
        }),
        role(
            "system:service-account-issuer-discovery",
            vec![
                json!({"verbs": ["get"], "nonResourceURLs": ["/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks", "/openid/v1/jwks/"]}),
            ],
        ),
        bind("cluster-admin", &["system:masters"]),
        bind("system:basic-user", &["system:authenticated"]),
        bind("system:discovery", &["system:authenticated"]),
        bind("system:public-info-viewer", &["system:authenticated", "system:unauthenticated"]),
        bind("system:monitoring", &["system:monitoring"]),
        bind("system:service-account-issuer-discovery", &["system:serviceaccounts"]),
    ]
}
