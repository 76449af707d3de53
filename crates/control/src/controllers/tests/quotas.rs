//! What is counted against quotas.

use super::*;
use crate::model::{Claim, Object, ResourceQuota, Service};

fn quota(hard: Value, more: Value) -> ResourceQuota {
    let mut quota = json!({"metadata": {"name": "q", "namespace": "n", "uid": "q"}, "spec": {"hard": hard}});
    json_patch_merge(&mut quota, more);
    serde_json::from_value(quota).expect("a ResourceQuota")
}

fn world() -> View {
    let mut view = View::default();
    let ask = json!({"spec": {"priorityClassName": "high", "containers": [{"resources":
        {"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"cpu": "1"}}}]}});
    view.pods.upsert(pod("a", true, ask.clone()));
    view.pods.upsert(pod("b", true, ask.clone()));
    view.pods.upsert(pod("free", true, json!({})));
    let mut done = ask;
    json_patch_merge(&mut done, json!({"status": {"phase": "Succeeded"}}));
    view.pods.upsert(pod("done", false, done));
    view.pods.upsert(pod("far", true, json!({"metadata": {"namespace": "elsewhere"}})));
    let service =
        json!({"metadata": {"name": "s", "namespace": "n"}, "spec": {"type": "NodePort", "ports": [{}, {}]}});
    view.services.upsert(serde_json::from_value::<Service>(service).expect("a Service"));
    let claim = json!({"metadata": {"name": "c", "namespace": "n"}, "spec": {"storageClassName": "fast",
        "resources": {"requests": {"storage": "1Gi"}}}});
    view.claims.upsert(serde_json::from_value::<Claim>(claim).expect("a Claim"));
    for name in ["x", "y"] {
        let metadata = json!({"name": name, "namespace": "n", "uid": name});
        view.objects.upsert(Object {
            resource: "configmaps".into(),
            metadata: std::sync::Arc::new(serde_json::from_value(metadata).expect("metadata")),
        });
    }
    view
}

fn status(view: &View) -> Option<Value> {
    let (plan, _) = quota::plan(view, &Key::new("resourcequotas", "n", "q"), NOW, 0);
    plan.actions.into_iter().find_map(|action| match action {
        Action::Patch { patch, .. } => Some(patch["status"].clone()),
        _ => None,
    })
}

#[test]
fn quotas_count_what_is_there_and_only_what_they_limit() {
    let scope = |scope: &str| json!({"spec": {"scopes": [scope]}});
    for (hard, more, used) in [
        (
            json!({"pods": "5", "count/pods": "9", "requests.cpu": "1", "memory": "1Gi", "limits.cpu": "4"}),
            json!({}),
            json!({"pods": "3", "count/pods": "4", "requests.cpu": "500m", "memory": "128Mi", "limits.cpu": "2"}),
        ),
        (json!({"pods": "5"}), scope("BestEffort"), json!({"pods": "1"})),
        (
            json!({"pods": "5", "services": "2"}),
            scope("NotBestEffort"),
            json!({"pods": "2", "services": "0"}),
        ),
        (
            json!({"pods": "5"}),
            json!({"spec": {"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}}),
            json!({"pods": "2"}),
        ),
        (
            json!({"services.nodeports": "2", "services": "2", "services.loadbalancers": "0"}),
            json!({}),
            json!({"services.nodeports": "2", "services": "1", "services.loadbalancers": "0"}),
        ),
        (
            json!({"requests.storage": "10Gi", "fast.storageclass.storage.k8s.io/requests.storage": "5Gi", "persistentvolumeclaims": "1"}),
            json!({}),
            json!({"requests.storage": "1Gi", "fast.storageclass.storage.k8s.io/requests.storage": "1Gi", "persistentvolumeclaims": "1"}),
        ),
        (
            json!({"configmaps": "5", "count/configmaps": "5", "count/deployments.apps": "1"}),
            json!({}),
            json!({"configmaps": "2", "count/configmaps": "2", "count/deployments.apps": "0"}),
        ),
    ] {
        let mut view = world();
        view.quotas.upsert(quota(hard.clone(), more));
        let status = status(&view).expect("a status");
        assert_eq!(status["used"], used);
        assert_eq!(status["hard"], hard);
    }
}

#[test]
fn a_status_that_is_right_is_left_alone_and_old_names_go() {
    let mut view = world();
    // The same amount in other words.
    view.quotas.upsert(quota(
        json!({"cpu": "1"}),
        json!({"status": {"hard": {"cpu": "1000m"}, "used": {"cpu": "0.5"}}}),
    ));
    assert_eq!(status(&view), None);
    view.quotas.upsert(quota(
        json!({"cpu": "1"}),
        json!({"status": {"hard": {"pods": "1"}, "used": {"pods": "1"}}}),
    ));
    assert_eq!(
        status(&view),
        Some(json!({"hard": {"cpu": "1", "pods": null}, "used": {"cpu": "500m", "pods": null}}))
    );
}
