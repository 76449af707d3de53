//! Stable names, order, claims and updates of StatefulSets.

use super::*;
use crate::model::{ControllerRevision, Object, StatefulSet};

fn key() -> Key {
    Key::new("statefulsets.apps", "n", "web")
}

fn stateful(replicas: i32, more: Value) -> StatefulSet {
    let mut set = json!({
        "metadata": {"name": "web", "namespace": "n", "uid": "set", "generation": 1},
        "spec": {"replicas": replicas, "serviceName": "peers", "podManagementPolicy": "OrderedReady",
            "selector": {"matchLabels": {"app": "web"}}, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "two"}]}}},
        "status": {"currentRevision": "web-old"},
    });
    json_patch_merge(&mut set, more);
    serde_json::from_value(set).expect("a StatefulSet")
}

fn revision(name: &str, number: i64, image: &str) -> ControllerRevision {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": "web"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "set", "controller": true}]},
        "data": {"spec": {"template": {"$patch": "replace", "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": image}]}}}},
        "revision": number,
    }))
    .expect("a ControllerRevision")
}

/// `NAME[!|~|x][*]`: ready, or not ready (!), being deleted (~) or finished (x); of the old revision with `*`.
fn members(view: &mut View, all: &str) {
    for word in all.split_whitespace() {
        let name = word.trim_end_matches(['!', '~', 'x', '*']);
        let n = name.rsplit('-').next().unwrap_or_default();
        let revision = if word.ends_with('*') { "web-old" } else { "web-new" };
        let mut more = json!({"metadata": {"labels": {"controller-revision-hash": revision,
                "statefulset.kubernetes.io/pod-name": name, "apps.kubernetes.io/pod-index": n},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "set", "controller": true}]}});
        if word.contains('~') {
            more["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        if word.contains('x') {
            more["status"]["phase"] = json!("Failed");
        }
        view.pods.upsert(pod(name, !word.contains(['!', 'x']), more));
    }
}

/// A set of three at its new revision, with `pods`.
fn world(pods: &str, more: Value) -> View {
    let mut view = View::default();
    view.stateful_sets.upsert(stateful(3, more));
    view.controller_revisions.upsert(revision("web-old", 1, "one"));
    view.controller_revisions.upsert(revision("web-new", 2, "two"));
    members(&mut view, pods);
    view
}

/// The pods that are made and deleted.
fn moves(view: &View) -> String {
    let (plan, _) = statefulset::plan(view, &key(), NOW, 0);
    let moves = plan.actions.iter().filter_map(|action| match action {
        Action::Create { resource, object, .. } if &**resource == "pods" => {
            let revision = &object["metadata"]["labels"]["controller-revision-hash"];
            let old = if revision == "web-old" { "*" } else { "" };
            Some(format!("+{}{old}", object["metadata"]["name"].as_str().unwrap_or_default()))
        }
        Action::Delete { target, .. } if &*target.resource == "pods" => Some(format!("-{}", target.name)),
        _ => None,
    });
    moves.collect::<Vec<_>>().join(" ")
}

#[test]
fn pods_come_go_and_are_updated_in_order() {
    let parallel = || json!({"spec": {"podManagementPolicy": "Parallel"}});
    let strategy = |rolling: Value| json!({"spec": {"updateStrategy": {"rollingUpdate": rolling}}});
    let on_delete = json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}});
    for (pods, more, want) in [
        // Making: one after the other, each only behind an available one.
        ("", json!({}), "+web-0"),
        ("web-0!", json!({}), ""),
        ("web-0", json!({}), "+web-1"),
        ("web-0 web-2", json!({}), "+web-1"),
        ("web-0~", json!({}), ""),
        ("web-0x", json!({}), "-web-0"),
        ("web-0", json!({"spec": {"minReadySeconds": 1_000_000_000}}), ""),
        ("", parallel(), "+web-0 +web-1 +web-2"),
        ("web-1!", parallel(), "+web-0 +web-2"),
        ("", json!({"spec": {"ordinals": {"start": 5}}}), "+web-5"),
        ("web-5 web-6", json!({"spec": {"ordinals": {"start": 5}}}), "+web-7"),
        // Going: the highest first, when all others are well.
        ("web-0 web-1 web-2 web-3 web-4", json!({}), "-web-4"),
        ("web-0 web-1 web-2 web-3 web-4~", json!({}), ""),
        ("web-0 web-1 web-2 web-3! web-4", json!({}), "-web-4"),
        ("web-0 web-1 web-2 web-3! web-4!", json!({}), ""),
        ("web-0 web-1 web-2 web-3 web-4!", json!({}), "-web-4"),
        ("web-0 web-1! web-2 web-3", json!({}), ""),
        ("web-0 web-1! web-2 web-3 web-4", parallel(), "-web-4 -web-3"),
        // Updates: from the top, one at a time, down to the partition.
        ("web-0* web-1* web-2*", json!({}), "-web-2"),
        ("web-0* web-1* web-2", json!({}), "-web-1"),
        ("web-0* web-1* web-2!", json!({}), ""),
        ("web-0* web-1* web-2!", parallel(), ""),
        ("web-0* web-1!* web-2", parallel(), "-web-1"),
        ("web-0* web-1* web-2*", strategy(json!({"partition": 2})), "-web-2"),
        ("web-0* web-1* web-2", strategy(json!({"partition": 2})), ""),
        ("web-0* web-1*", strategy(json!({"partition": 2})), "+web-2"),
        ("web-0* web-2", strategy(json!({"partition": 2})), "+web-1*"),
        ("web-0* web-1* web-2*", strategy(json!({"maxUnavailable": 2})), "-web-2 -web-1"),
        ("web-0* web-1* web-2*", strategy(json!({"maxUnavailable": "50%"})), "-web-2 -web-1"),
        ("web-0* web-1* web-2*", on_delete.clone(), ""),
        ("web-0* web-1*", on_delete, "+web-2"),
        // Strangers with a number that the set would not give.
        ("web-00 web-x", json!({}), "+web-0"),
    ] {
        assert_eq!(moves(&world(pods, more.clone())), want, "{pods} {more}");
    }
}

#[test]
fn a_pod_has_its_name_its_host_name_and_its_claims() {
    let claim = json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
        "template": {"spec": {"volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]}},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}}});
    let mut view = world("", claim);
    let first = |view: &View| {
        let (plan, _) = statefulset::plan(view, &key(), NOW, 0);
        plan.actions
            .into_iter()
            .find_map(|action| match action {
                Action::Create { resource, object, .. } if &*resource != "controllerrevisions.apps" => {
                    Some(object)
                }
                _ => None,
            })
            .expect("something is made")
    };
    let claim = first(&view);
    assert_eq!(claim["metadata"]["name"], "data-web-0");
    assert_eq!(claim["metadata"]["labels"], json!({"app": "web"}));
    assert_eq!(claim["metadata"]["ownerReferences"][0]["uid"], "set");
    view.objects.upsert(claim_object("data-web-0", json!([])));
    let pod = first(&view);
    assert_eq!(pod["metadata"]["name"], "web-0");
    assert_eq!(pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"], "web-0");
    assert_eq!(pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"], "0");
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("web-0"), &json!("peers")));
    assert_eq!(
        pod["spec"]["volumes"],
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-0"}}, {"name": "tmp", "emptyDir": {}}])
    );
}

fn claim_object(name: &str, owners: Value) -> Object {
    let meta = json!({"name": name, "namespace": "n", "uid": name, "ownerReferences": owners});
    Object {
        resource: "persistentvolumeclaims".into(),
        metadata: std::sync::Arc::new(serde_json::from_value(meta).expect("metadata")),
    }
}

#[test]
fn claims_are_owned_as_the_retention_policy_says() {
    let set = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "set", "controller": true}]);
    let pod =
        json!([{"apiVersion": "v1", "kind": "Pod", "name": "web-3", "uid": "web-3", "controller": true}]);
    // Ordinal, policy, owners before, uids of the owners that it gets (none: it keeps them).
    for (n, deleted, scaled, before, want) in [
        (0, "Retain", "Retain", json!([]), None),
        (0, "Retain", "Retain", set.clone(), Some(vec![])),
        (0, "Delete", "Retain", json!([]), Some(vec!["set"])),
        (0, "Delete", "Delete", set.clone(), None),
        (0, "Retain", "Delete", json!([]), None),
        (3, "Delete", "Delete", set.clone(), Some(vec!["web-3"])),
        (3, "Retain", "Delete", json!([]), Some(vec!["web-3"])),
        (3, "Delete", "Retain", json!([]), Some(vec!["set"])),
        (3, "Retain", "Delete", pod.clone(), None),
    ] {
        let more = json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"}}],
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled}}});
        let mut view = world("web-0 web-1 web-2 web-3", more);
        view.objects.upsert(claim_object(&format!("data-web-{n}"), before.clone()));
        let (plan, _) = statefulset::plan(&view, &key(), NOW, 0);
        let got = plan.actions.iter().find_map(|action| match action {
            Action::Patch { target, patch, .. } if &*target.resource == "persistentvolumeclaims" => Some(
                patch["metadata"]["ownerReferences"]
                    .as_array()
                    .expect("owners")
                    .iter()
                    .map(|owner| owner["uid"].as_str().expect("a uid").to_owned())
                    .collect::<Vec<_>>(),
            ),
            _ => None,
        });
        let want = want.map(|uids: Vec<&str>| uids.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(got, want, "{n} {deleted} {scaled} {before}");
    }
    // A claim that goes with its former pod is not used by the next of that name.
    let more = json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"}}]}});
    let mut view = world("web-0 web-1 web-2", more);
    std::sync::Arc::make_mut(&mut view.settings);
    view.stateful_sets
        .upsert(stateful(4, json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"}}]}})));
    view.objects.upsert(claim_object("data-web-3", pod));
    assert_eq!(moves(&view), "");
    view.objects.upsert(claim_object("data-web-3", json!([])));
    assert_eq!(moves(&view), "+web-3");
}

#[test]
fn revisions_are_numbered_reused_and_forgotten() {
    let plan = |view: &View| statefulset::plan(view, &key(), NOW, 0).0;
    // A new template gets a revision of its own.
    let mut view =
        world("", json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "three"}]}}}}));
    let made = |view: &View| {
        plan(view).actions.into_iter().find_map(|action| match action {
            Action::Create { resource, object, .. } if &*resource == "controllerrevisions.apps" => {
                Some(object)
            }
            _ => None,
        })
    };
    let third = made(&view).expect("a revision");
    assert_eq!(
        (&third["revision"], &third["data"]["spec"]["template"]["$patch"]),
        (&json!(3), &json!("replace"))
    );
    // Another template of the same name changes the salt.
    let name = third["metadata"]["name"].as_str().expect("a name").to_owned();
    view.controller_revisions.upsert(revision(&name, 3, "other"));
    assert_ne!(made(&view).expect("a revision")["metadata"]["name"], name.as_str());
    // Going back to a template numbers its revision anew.
    let back =
        world("", json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "one"}]}}}}));
    assert!(plan(&back).actions.iter().any(|action| matches!(action,
        Action::Patch { target, patch, .. } if &*target.name == "web-old" && patch["revision"] == 3)));
    // Beyond the limit the oldest go, but neither the one in use nor the one come from.
    let mut view = world(
        "web-0*",
        json!({"spec": {"revisionHistoryLimit": 1}, "status": {"currentRevision": "web-new"}}),
    );
    for n in 3..6 {
        view.controller_revisions.upsert(revision(&format!("web-{n}"), n, &n.to_string()));
    }
    let gone: Vec<_> = plan(&view)
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Delete { target, .. } => Some(target.name.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(gone, ["web-3", "web-4"]);
}

#[test]
fn the_status_moves_to_the_new_revision_when_all_pods_have_it() {
    let status = |pods: &str| {
        let (plan, _) = statefulset::plan(&world(pods, json!({})), &key(), NOW, 0);
        plan.actions
            .into_iter()
            .find_map(|action| match action {
                Action::Patch { subresource: Some("status"), patch, .. } => Some(patch["status"].clone()),
                _ => None,
            })
            .expect("a status")
    };
    let half = status("web-0* web-1* web-2");
    assert_eq!(
        (
            &half["currentRevision"],
            &half["updateRevision"],
            &half["currentReplicas"],
            &half["updatedReplicas"]
        ),
        (&json!("web-old"), &json!("web-new"), &json!(2), &json!(1))
    );
    assert_eq!(status("web-0 web-1! web-2")["currentRevision"], "web-old");
    let whole = status("web-0 web-1 web-2");
    assert_eq!((&whole["currentRevision"], &whole["currentReplicas"]), (&json!("web-new"), &json!(3)));
    assert_eq!(whole["availableReplicas"], 3);
}

#[test]
fn a_plan_visits_its_own_pods_and_those_of_its_namespace() {
    let mut view = world("web-0 web-1 web-2", json!({}));
    for n in 0..1000 {
        view.pods.upsert(pod(
            &format!("web-{n}"),
            true,
            json!({"metadata": {"namespace": "elsewhere", "ownerReferences": null}}),
        ));
        view.objects.upsert(claim_object(&format!("data-other-{n}"), json!([])));
    }
    let before = view.visited();
    moves(&view);
    assert!(view.visited() - before <= 12, "{}", view.visited() - before);
}
