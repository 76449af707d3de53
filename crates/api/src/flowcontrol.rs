//! The flow schemas and priority levels that every cluster starts with, and which of them may not be changed.
//!
//! They are those of Kubernetes 1.36, so that what administrators know about them holds here.

use serde_json::{Value, json};

/// The annotation by which the server tells that it keeps an object as it made it.
pub const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
/// The level whose requests never wait, and the schema that sends administrators there.
pub const EXEMPT: &str = "exempt";
/// The level and the schema of what nothing else fits.
pub const CATCH_ALL: &str = "catch-all";

/// Priority levels: name, shares, percent that others may borrow, and queues with hand size and length. Without queues
/// what has no place is refused.
type Level = (&'static str, i64, i64, Option<(i64, i64, i64)>);

const LEVELS: &[Level] = &[
    (CATCH_ALL, 5, 0, None),
    ("global-default", 20, 50, Some((128, 6, 50))),
    ("leader-election", 10, 0, Some((16, 4, 50))),
    ("node-high", 40, 25, Some((64, 6, 50))),
    ("system", 30, 33, Some((64, 6, 50))),
    ("workload-high", 40, 50, Some((128, 6, 50))),
    ("workload-low", 100, 90, Some((128, 6, 50))),
];

/// All priority levels.
pub fn levels() -> Vec<Value> {
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    let limited = |(_, shares, lendable, queues): &Level| {
        let response = match queues {
            None => json!({"type": "Reject"}),
            Some((queues, hand, length)) => json!({"type": "Queue",
                "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length}}),
        };
        json!({"type": "Limited", "limited": {
            "nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response}})
    };
    let mut all = vec![object("PriorityLevelConfiguration", EXEMPT, exempt)];
    all.extend(LEVELS.iter().map(|level| object("PriorityLevelConfiguration", level.0, limited(level))));
    all
}

/// All flow schemas.
pub fn schemas() -> Vec<Value> {
    let user = |name: &str| json!({"kind": "User", "user": {"name": name}});
    let group = |name: &str| json!({"kind": "Group", "group": {"name": name}});
    let system =
        || json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"}});
    let everybody = || vec![group("system:unauthenticated"), group("system:authenticated")];
    let (controllers, scheduler) = ("system:kube-controller-manager", "system:kube-scheduler");
    let leases = |verbs: &[&str]| resources(verbs, "coordination.k8s.io", &["leases"], false);
    let node = resources(&["*"], "", &["nodes", "nodes/status"], true);
    let (by_user, by_namespace) = (Some("ByUser"), Some("ByNamespace"));
    let probes = json!({"subjects": everybody(), "nonResourceRules": [
        {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]});
    vec![
        schema(EXEMPT, EXEMPT, 1, None, anything(vec![group("system:masters")])),
        schema("probes", EXEMPT, 2, None, probes),
        schema(
            "system-leader-election",
            "leader-election",
            100,
            by_user,
            json!({"subjects": [user(controllers), user(scheduler), system()],
                "resourceRules": [leases(&["get", "create", "update"])]}),
        ),
        schema(
            "system-node-high",
            "node-high",
            400,
            by_user,
            json!({"subjects": [group("system:nodes")], "resourceRules": [node, leases(&["*"])]}),
        ),
        schema("system-nodes", "system", 500, by_user, anything(vec![group("system:nodes")])),
        schema(
            "kube-controller-manager",
            "workload-high",
            800,
            by_namespace,
            anything(vec![user(controllers)]),
        ),
        schema("kube-scheduler", "workload-high", 800, by_namespace, anything(vec![user(scheduler)])),
        schema("kube-system-service-accounts", "workload-high", 900, by_namespace, anything(vec![system()])),
        schema(
            "service-accounts",
            "workload-low",
            9000,
            by_user,
            anything(vec![group("system:serviceaccounts")]),
        ),
        schema("global-default", "global-default", 9900, by_user, anything(everybody())),
        schema(CATCH_ALL, CATCH_ALL, 10_000, by_user, anything(everybody())),
    ]
}

/// The specification that an object of this kind and name must have, if its name is one of those that are fixed.
pub fn mandatory(kind: &str, name: &str) -> Option<Value> {
    if !matches!(name, EXEMPT | CATCH_ALL) {
        return None;
    }
    let all = if kind == "FlowSchema" { schemas() } else { levels() };
    all.into_iter().find(|o| o["metadata"]["name"] == name).map(|mut o| o["spec"].take())
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": kind,
        "metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}}, "spec": spec})
}

fn schema(name: &str, level: &str, precedence: i64, distinguisher: Option<&str>, rule: Value) -> Value {
    let mut spec = json!({"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence,
        "rules": [rule]});
    if let Some(method) = distinguisher {
        spec["distinguisherMethod"] = json!({"type": method});
    }
    object("FlowSchema", name, spec)
}

fn resources(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]});
    if cluster {
        rule["clusterScope"] = json!(true);
    }
    rule
}

/// A rule for whatever these subjects ask.
fn anything(subjects: Vec<Value>) -> Value {
    json!({"subjects": subjects, "resourceRules": [resources(&["*"], "*", &["*"], true)],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_names_a_level_that_is_there() {
        let names: Vec<Value> = levels().iter().map(|level| level["metadata"]["name"].clone()).collect();
        for schema in schemas() {
            assert!(names.contains(&schema["spec"]["priorityLevelConfiguration"]["name"]), "{schema}");
        }
        assert_eq!(mandatory("PriorityLevelConfiguration", CATCH_ALL).unwrap()["type"], "Limited");
        assert!(mandatory("FlowSchema", "probes").is_none());
    }
}
