//! What disruption budgets allow.

use super::*;
use crate::model::{PodDisruptionBudget, StatefulSet};

fn view(spec: Value, status: Value, pods: &[(&str, bool, Value)]) -> View {
    let mut view = View::default();
    let mut budget = json!({"metadata": {"name": "b", "namespace": "n", "uid": "b", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "web"}}}});
    json_patch_merge(&mut budget, json!({"spec": spec, "status": status}));
    view.budgets.upsert(serde_json::from_value::<PodDisruptionBudget>(budget).expect("a budget"));
    view.replica_sets.upsert(set(5));
    for (name, ready, more) in pods {
        view.pods.upsert(pod(name, *ready, more.clone()));
    }
    view
}

/// `allowed current/desired/expected reason`, and what is told.
fn state(view: &View) -> (String, Vec<String>) {
    let (plan, _) = disruption::plan(view, &Key::new("poddisruptionbudgets.policy", "n", "b"), NOW, 0);
    let mut text = String::new();
    let mut told = Vec::new();
    for action in plan.actions {
        match action {
            Action::Patch { patch, .. } => {
                let s = &patch["status"];
                let n = |name: &str| s[name].as_i64().unwrap_or(-1);
                text = format!(
                    "{} {}/{}/{} {}",
                    n("disruptionsAllowed"),
                    n("currentHealthy"),
                    n("desiredHealthy"),
                    n("expectedPods"),
                    s["conditions"][0]["reason"].as_str().unwrap_or_default()
                );
                if !s["disruptedPods"].is_null() {
                    text.push_str(&format!(" {}", s["disruptedPods"]));
                }
            }
            Action::Event { reason, .. } => told.push(reason.to_string()),
            _ => {}
        }
    }
    (text, told)
}

#[test]
fn what_is_allowed_follows_the_pods_and_their_owners() {
    let three = || vec![("p", true, json!({})), ("q", true, json!({})), ("r", true, json!({}))];
    let mut ill = three();
    ill[2].1 = false;
    let mut going = three();
    going[0].2 = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let mut lone = three();
    lone.iter_mut().for_each(|pod| pod.2 = json!({"metadata": {"ownerReferences": null}}));
    let mut daemons = three();
    daemons.iter_mut().for_each(|pod| {
        pod.2 = json!({"metadata": {"ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "d", "controller": true}]}})
    });
    for (spec, pods, want) in [
        (json!({"minAvailable": 2}), three(), "1 3/2/3 SufficientPods"),
        (json!({"minAvailable": 3}), three(), "0 3/3/3 InsufficientPods"),
        (json!({"minAvailable": 2}), ill.clone(), "0 2/2/3 InsufficientPods"),
        (json!({"minAvailable": 2}), going, "0 2/2/3 InsufficientPods"),
        // Five are wanted by the ReplicaSet.
        (json!({"minAvailable": "50%"}), three(), "0 3/3/5 InsufficientPods"),
        (json!({"maxUnavailable": 3}), three(), "1 3/2/5 SufficientPods"),
        (json!({"maxUnavailable": "60%"}), ill, "0 2/2/5 InsufficientPods"),
        (json!({"minAvailable": 1}), lone.clone(), "2 3/1/3 SufficientPods"),
        (json!({"maxUnavailable": 1}), lone, "0 3/0/0 InsufficientPods"),
        (json!({"maxUnavailable": 1}), daemons, "0 -1/-1/-1 SyncFailed"),
        (json!({"minAvailable": 0}), vec![], "0 0/0/0 InsufficientPods"),
    ] {
        assert_eq!(state(&view(spec.clone(), json!({}), &pods)).0, want, "{spec}");
    }
    let mut sets = view(
        json!({"maxUnavailable": 1}),
        json!({}),
        &[(
            "p",
            true,
            json!({"metadata": {"ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "db", "controller": true}]}}),
        )],
    );
    sets.stateful_sets.upsert(
        serde_json::from_value::<StatefulSet>(
            json!({"metadata": {"name": "db", "namespace": "n", "uid": "db"}, "spec": {"replicas": 1}}),
        )
        .expect("a set"),
    );
    assert_eq!(state(&sets).0, "1 1/0/1 SufficientPods");
}

#[test]
fn granted_evictions_are_spent_until_their_pod_goes() {
    let at = |seconds: i64| crate::model::Time(NOW - seconds).to_string();
    let status = |seconds: i64| json!({"disruptedPods": {"p": at(seconds), "gone": at(1)}});
    let pods = [("p", true, json!({})), ("q", true, json!({}))];
    let spec = json!({"minAvailable": 1});
    let (text, told) = state(&view(spec.clone(), status(119), &pods));
    assert_eq!((text.as_str(), told.len()), (r#"0 1/1/2 InsufficientPods {"gone":null}"#, 0));
    let (text, told) = state(&view(spec, status(120), &pods));
    assert_eq!(
        (text.as_str(), told),
        (r#"1 2/1/2 SufficientPods {"gone":null,"p":null}"#, vec!["NotDeleted".to_owned()])
    );
}
