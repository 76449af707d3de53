//! The `APIService` objects of what this server serves itself.

use futures_util::future::try_join_all;
use serde_json::{Value, json};

use crate::failure::Result;
use crate::handlers::{decode, prepare};
use crate::model;
use crate::object::{self, at};
use crate::resources::{self, BUILTIN, known};
use crate::server::Inner;
use crate::time;

/// Tells who keeps an `APIService`: the server at its start, or all the time.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// How much a group is preferred among groups, and a version among the versions of its group. Groups that are not
/// named here are custom.
const PRIORITIES: &[(&str, &str, i64, i64)] = &[
    ("", "v1", 18_000, 1),
    ("apps", "v1", 17_800, 15),
    ("events.k8s.io", "v1", 17_750, 15),
    ("authentication.k8s.io", "v1", 17_700, 15),
    ("authorization.k8s.io", "v1", 17_600, 15),
    ("autoscaling", "v1", 17_500, 15),
    ("autoscaling", "v2", 17_500, 30),
    ("batch", "v1", 17_400, 15),
    ("certificates.k8s.io", "v1", 17_300, 15),
    ("networking.k8s.io", "v1", 17_200, 15),
    ("policy", "v1", 17_100, 15),
    ("rbac.authorization.k8s.io", "v1", 17_000, 15),
    ("storage.k8s.io", "v1", 16_800, 15),
    ("admissionregistration.k8s.io", "v1", 16_700, 15),
    ("apiextensions.k8s.io", "v1", 16_700, 15),
    ("scheduling.k8s.io", "v1", 16_600, 15),
    ("coordination.k8s.io", "v1", 16_500, 15),
    ("node.k8s.io", "v1", 16_300, 15),
    ("discovery.k8s.io", "v1", 16_200, 15),
    ("resource.k8s.io", "v1", 16_200, 21),
    ("flowcontrol.apiserver.k8s.io", "v1", 16_100, 21),
    ("metrics.k8s.io", "v1beta1", 100, 100),
];
const CUSTOM: (i64, i64) = (1000, 100);

/// The group of the `APIService` itself, which has none.
pub const GROUP: &str = "apiregistration.k8s.io";

/// Makes those of the built-in groups that are missing.
pub async fn built_in(server: &Inner) -> Result<()> {
    let all = resources::groups(&BUILTIN).into_iter().filter(|(group, _)| *group != GROUP);
    let pairs = all.flat_map(|(group, versions)| versions.into_iter().map(move |version| (group, version)));
    try_join_all(pairs.map(|(group, version)| make(server, group, version, "onstart"))).await.map(drop)
}

/// Makes those of custom resources that are missing, and removes those of which nothing is served any more.
pub async fn custom(server: &Inner) -> Result<()> {
    let resource = known(GROUP, "apiservices");
    let there = server.all(resource, None).await?;
    let all = server.custom.all();
    let mut wanted = Vec::new();
    for row in all.iter().filter(|r| r.custom.is_some()) {
        let pair = (&*row.group, &*row.version);
        if !wanted.contains(&pair) {
            wanted.push(pair);
        }
    }
    let named = |group: &str, version: &str| format!("{version}.{group}");
    for (group, version) in &wanted {
        if !there.iter().any(|o| object::name(o) == named(group, version)) {
            make(server, group, version, "true").await?;
        }
    }
    for object in &there {
        let ours = at(object, &["metadata", "labels", MANAGED]) == Some(&json!("true"));
        if !ours || wanted.iter().any(|(g, v)| named(g, v) == object::name(object)) {
            continue;
        }
        server.discard(resource, object::name(object)).await?;
    }
    Ok(())
}

/// What a new object without a service is at once.
pub fn available(value: &mut Value) {
    if at(value, &["spec", "service"]).is_none_or(Value::is_null) {
        object::map(value, "status").insert(
            "conditions".into(),
            json!([{"type": "Available", "status": "True", "lastTransitionTime": time::now(),
                "reason": "Local", "message": "Local APIServices are always available"}]),
        );
    }
}

async fn make(server: &Inner, group: &str, version: &str, managed: &str) -> Result<()> {
    let resource = known(GROUP, "apiservices");
    let known = PRIORITIES.iter().find(|(g, v, ..)| (*g, *v) == (group, version));
    let (of_group, of_version) = known.map_or(CUSTOM, |(_, _, group, version)| (*group, *version));
    let mut value = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("{version}.{group}"), "labels": {MANAGED: managed}},
        "spec": {"version": version, "groupPriorityMinimum": of_group, "versionPriority": of_version},
    });
    if !group.is_empty() {
        value["spec"]["group"] = json!(group);
    }
    model::track(resource, None, &mut value, "kube-apiserver", "");
    prepare::new_object(resource, &mut value);
    available(&mut value);
    server.ensure(resource, decode::typed(resource, value)?).await
}
