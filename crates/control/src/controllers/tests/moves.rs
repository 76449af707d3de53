//! Moves of pods: who counts, who is made, who goes, and who is refused.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{NOW, json_patch_merge, pod, set, writes};
use crate::controllers::{endpointslice, migration, replicaset};
use crate::model::{EndpointSlice, Key, Migration, Node, Pod, Service};
use crate::plan::{Action, Plan};
use crate::view::View;

const READY: bool = true;

/// A ReplicaSet of one, its ready pod `old` on the machine `a`, a machine `b`, and a Migration of `old` to `b`.
fn world() -> View {
    let mut view = View::default();
    view.replica_sets.upsert(set(1));
    view.pods.upsert(pod("old", READY, json!({})));
    for name in ["a", "b"] {
        view.nodes.upsert(node(name, json!({"kubernetes.io/hostname": name})));
    }
    view.migrations.upsert(order(json!({})));
    view
}

fn node(name: &str, labels: Value) -> Node {
    serde_json::from_value(json!({"metadata": {"name": name, "uid": name, "labels": labels}}))
        .expect("a Node")
}

fn order(more: Value) -> Migration {
    let mut order = json!({
        "metadata": {"name": "m", "namespace": "n", "uid": "m", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"pod": "old", "machine": "b", "timeoutSeconds": 60},
    });
    json_patch_merge(&mut order, more);
    serde_json::from_value(order).expect("a Migration")
}

fn moved(view: &View, now: i64) -> Plan {
    migration::plan(view, &Key::new("migrations.dunlin.io", "n", "m"), now, 0).0
}

/// A ReplicaSet whose template names the machine `a`.
fn pinned() -> crate::model::ReplicaSet {
    let mut set = set(1);
    let mut template = (*set.spec.template).clone();
    template["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "a", "disk": "fast"});
    set.spec.template = Arc::new(template);
    set
}

/// What the plan says in the Migration's status.
fn status(plan: &Plan) -> Value {
    plan.actions
        .iter()
        .find_map(|action| match action {
            Action::Patch { patch, subresource: Some("status"), .. } => Some(patch["status"].clone()),
            _ => None,
        })
        .unwrap_or_default()
}

/// Takes the plan's status into the Migration and its pod into the view, as ready or not.
fn take(view: &mut View, plan: &Plan) {
    let mut all = json!({"status": status(plan)});
    let old = view.migrations.get("n", "m").expect("the Migration").status.clone();
    for (name, value) in [("podUID", &old.pod_uid), ("replacement", &old.replacement)] {
        if all["status"][name].is_null() {
            all["status"][name] = json!(value);
        }
    }
    for (name, value) in [("startTime", old.start_time), ("switchTime", old.switch_time)] {
        if all["status"].get(name).is_none() {
            all["status"][name] = json!(value.map(|at| at.to_string()));
        }
    }
    if all["status"]["phase"].is_null() {
        all["status"]["phase"] = json!(old.phase);
    }
    view.migrations.upsert(order(all));
}

fn made(plan: &Plan) -> Value {
    plan.actions
        .iter()
        .find_map(|action| match action {
            Action::Create { object, .. } => Some(object.clone()),
            _ => None,
        })
        .expect("a pod is made")
}

/// The new pod in the state that its node would report.
fn successor(object: &Value, ready: bool) -> Pod {
    let name = object["metadata"]["name"].as_str().expect("a name");
    let more =
        json!({"metadata": {"annotations": object["metadata"]["annotations"]}, "spec": {"nodeName": "b"}});
    pod(name, ready, more)
}

fn set_writes(view: &View) -> Vec<String> {
    let (plan, _) = replicaset::plan(view, &Key::new("replicasets.apps", "n", "web"), NOW, 0);
    writes(&plan).into_iter().filter(|write| !write.starts_with("patch")).collect()
}

/// The world after the Migration made its pod.
fn begun(ready: bool) -> (View, Pod) {
    let mut view = world();
    let plan = moved(&view, NOW);
    take(&mut view, &plan);
    let new = successor(&made(&plan), ready);
    view.pods.upsert(new.clone());
    (view, new)
}

#[test]
fn makes_the_new_pod_at_its_place_under_the_same_owner() {
    let mut view = world();
    view.replica_sets.upsert(pinned());
    let plan = moved(&view, NOW);
    assert_eq!(writes(&plan), ["patch m status", "create pods"]);
    assert_eq!(status(&plan)["phase"], "Migrating");
    let pod = made(&plan);
    assert_eq!(
        pod["metadata"]["annotations"],
        json!({"dunlin.io/replaces": "old", "dunlin.io/machine": "b"})
    );
    assert_eq!(pod["spec"]["nodeSelector"], json!({"kubernetes.io/hostname": "b", "disk": "fast"}));
    assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], "set");
    assert_eq!(pod["metadata"]["name"], made(&moved(&view, NOW + 5))["metadata"]["name"], "it is made once");
}

#[test]
fn the_new_pod_counts_when_it_is_ready_and_the_old_one_no_more() {
    let (mut view, new) = begun(!READY);
    assert!(set_writes(&view).is_empty(), "one of the two counts: {:?}", set_writes(&view));
    assert!(writes(&moved(&view, NOW + 1)).is_empty());

    view.pods.upsert(successor_of(&new, READY));
    assert!(set_writes(&view).is_empty(), "the Migration, not the set, ends the old one");
    let plan = moved(&view, NOW + 2);
    assert_eq!(writes(&plan), ["patch m status"], "the old one leaves its Services before it ends");
    take(&mut view, &plan);
    assert!(writes(&moved(&view, NOW + 3)).is_empty());
    assert_eq!(writes(&moved(&view, NOW + 4)), ["delete old"]);

    view.pods.upsert(pod("old", READY, json!({"metadata": {"deletionTimestamp": "2027-01-15T08:00:00Z"}})));
    assert!(writes(&moved(&view, NOW + 5)).is_empty());
    assert!(set_writes(&view).is_empty());
    view.pods.remove("n", "old");
    let plan = moved(&view, NOW + 6);
    assert_eq!(status(&plan)["phase"], "Succeeded");
    assert!(set_writes(&view).is_empty());
}

fn successor_of(new: &Pod, ready: bool) -> Pod {
    let object =
        json!({"metadata": {"name": new.metadata.name, "annotations": {"dunlin.io/replaces": "old"}}});
    successor(&object, ready)
}

#[test]
fn the_old_pod_waits_for_the_slices_that_list_it_but_not_forever() {
    let (mut view, _) = begun(READY);
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": {"name": "s", "namespace": "n", "uid": "s"},
        "endpoints": [{"targetRef": {"uid": "old"}}],
    }))
    .expect("a slice");
    view.endpoint_slices.upsert(slice);
    let plan = moved(&view, NOW);
    take(&mut view, &plan);
    assert!(writes(&moved(&view, NOW + 5)).is_empty());
    assert_eq!(writes(&moved(&view, NOW + 10)), ["delete old"]);
    view.endpoint_slices.remove("n", "s");
    assert_eq!(writes(&moved(&view, NOW + 5)), ["delete old"]);
}

#[test]
fn the_old_pod_leaves_its_services_when_the_new_one_is_ready() {
    let (mut view, new) = begun(!READY);
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "n", "uid": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    }))
    .expect("a Service");
    view.services.upsert(service);
    for (name, ip) in [("old", "10.0.0.1"), (&*new.metadata.name, "10.0.0.2")] {
        let mut with_ip = Pod::clone(view.pods.get("n", name).expect("there"));
        with_ip.status.pod_ip = ip.into();
        view.pods.upsert(with_ip);
    }
    let endpoints = |view: &View| {
        let (plan, _) = endpointslice::plan(view, &Key::new("services", "n", "web"), NOW, 0);
        let object = made(&plan);
        let all = object["endpoints"].as_array().cloned().unwrap_or_default();
        let ready = all.into_iter().filter(|e| e["conditions"]["ready"] == true);
        ready.map(|e| e["addresses"][0].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(endpoints(&view), ["10.0.0.1"]);
    let mut ready = successor_of(&new, READY);
    ready.status.pod_ip = "10.0.0.2".into();
    view.pods.upsert(ready);
    assert_eq!(endpoints(&view), ["10.0.0.2"]);
}

#[test]
fn a_pod_that_never_gets_ready_is_taken_back_and_the_old_one_stays() {
    let (mut view, new) = begun(!READY);
    let name = new.metadata.name.clone();
    assert!(writes(&moved(&view, NOW + 59)).is_empty());
    assert_eq!(moved(&view, NOW + 59).again_at, Some(NOW + 60));
    let plan = moved(&view, NOW + 60);
    assert_eq!(writes(&plan), [format!("delete {name}"), "patch m status".to_owned()]);
    assert_eq!(status(&plan)["phase"], "Failed");
    assert_eq!(status(&plan)["reason"], "TimedOut");
    assert!(set_writes(&view).is_empty(), "nothing happens to the old pod");

    let failed = json!({"status": {"phase": "Failed", "reason": "ClusterRefused"}});
    let mut object = json!({"metadata": {"annotations": {"dunlin.io/replaces": "old"}}});
    json_patch_merge(&mut object, failed);
    view.pods.upsert(pod(&name, !READY, object));
    let plan = moved(&view, NOW + 1);
    assert_eq!(status(&plan)["reason"], "ReplacementFailed");
    assert!(status(&plan)["message"].as_str().expect("a message").contains("ClusterRefused"));
}

#[test]
fn a_new_pod_that_falls_ill_again_gives_the_place_back() {
    let (mut view, new) = begun(READY);
    let plan = moved(&view, NOW);
    take(&mut view, &plan);
    view.pods.upsert(successor_of(&new, !READY));
    let plan = moved(&view, NOW + 5);
    assert!(status(&plan)["switchTime"].is_null() && !status(&plan).is_null());
    assert_eq!(writes(&plan), ["patch m status"], "the old pod is not deleted");
}

#[test]
fn a_move_that_is_called_off_leaves_one_pod() {
    let (mut view, new) = begun(!READY);
    view.migrations.upsert(order(json!({"status": {"phase": "Failed"}})));
    assert_eq!(set_writes(&view), [format!("delete {}", new.metadata.name)], "nobody conducts it any more");
    view.migrations.remove("n", "m");
    assert_eq!(set_writes(&view), [format!("delete {}", new.metadata.name)]);
    view.pods.upsert(successor_of(&new, READY));
    assert_eq!(set_writes(&view), ["delete old"]);
}

#[test]
fn the_new_pod_counts_at_once_if_the_old_one_ends_by_itself() {
    let (mut view, _) = begun(!READY);
    view.pods.upsert(pod("old", !READY, json!({"status": {"phase": "Failed"}})));
    assert!(set_writes(&view).is_empty(), "no third pod is made");
    view.replica_sets.upsert(set(0));
    assert_eq!(set_writes(&view).len(), 1, "and it goes when none is wanted");
}

#[test]
fn finished_migrations_go_after_their_time() {
    let mut view = world();
    let done =
        json!({"status": {"phase": "Succeeded", "completionTime": crate::model::Time(NOW).to_string()}});
    view.migrations.upsert(order(done));
    assert_eq!(moved(&view, NOW + 3599).again_at, Some(NOW + 3600));
    assert_eq!(writes(&moved(&view, NOW + 3600)), ["delete m"]);
}

#[test]
fn what_cannot_move_is_refused_with_the_reason() {
    let refused = |change: &dyn Fn(&mut View)| {
        let mut view = world();
        change(&mut view);
        let plan = moved(&view, NOW);
        assert_eq!(writes(&plan), ["patch m status"], "nothing else is touched");
        assert_eq!(status(&plan)["phase"], "Failed");
        status(&plan)["reason"].as_str().unwrap_or_default().to_owned()
    };
    let owned_by = |kind: &'static str| {
        move |view: &mut View| {
            let owner = json!([{"kind": kind, "name": "web", "uid": "set", "controller": true}]);
            view.pods.upsert(pod("old", READY, json!({"metadata": {"ownerReferences": owner}})));
        }
    };
    let with = |more: Value| {
        move |view: &mut View| {
            view.pods.upsert(pod("old", READY, more.clone()));
        }
    };
    let to = |spec: Value| {
        move |view: &mut View| {
            view.migrations.upsert(order(json!({"spec": spec.clone()})));
        }
    };
    for kind in ["StatefulSet", "DaemonSet", "Job", "Wheel"] {
        assert_eq!(refused(&owned_by(kind)), "NotMovable", "{kind}");
    }
    assert_eq!(refused(&with(json!({"metadata": {"ownerReferences": []}}))), "NoController");
    let claim = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    assert_eq!(refused(&with(json!({"spec": {"volumes": claim}}))), "TiedToClaim");
    let device = json!([{"name": "c", "resources": {"limits": {"dunlin.io/video": 1}}}]);
    assert_eq!(refused(&with(json!({"spec": {"containers": device}}))), "TiedToDevice");
    assert_eq!(refused(&with(json!({"status": {"phase": "Failed"}}))), "PodGone");
    let dangling = json!({"status": {"conditions": [{"type": "dunlin.io/Dangling", "status": "True"}]}});
    assert_eq!(refused(&with(dangling)), "Dangling");
    assert_eq!(refused(&to(json!({"pod": "nobody"}))), "NotFound");
    assert_eq!(refused(&to(json!({"machine": null}))), "NoTarget");
    assert_eq!(refused(&to(json!({"machine": "c"}))), "NoSuchTarget");
    assert_eq!(refused(&to(json!({"machine": "a"}))), "AlreadyThere");
    assert_eq!(refused(&to(json!({"machine": "b", "cluster": "elsewhere"}))), "NoSuchTarget");
    let older = json!({"metadata": {"name": "l", "uid": "l"}});
    assert_eq!(refused(&|view| drop(view.migrations.upsert(order(older.clone())))), "AlreadyMigrating");
}

#[test]
fn a_child_cluster_is_told_the_machine_by_annotation() {
    let mut view = world();
    let labels = json!({"dunlin.io/virtual-node": "cluster", "dunlin.io/cluster": "garching"});
    view.nodes.upsert(node("garching", labels));
    view.replica_sets.upsert(pinned());
    view.migrations.upsert(order(json!({"spec": {"cluster": "garching", "machine": "site/e580"}})));
    let pod = made(&moved(&view, NOW));
    assert_eq!(pod["metadata"]["annotations"]["dunlin.io/machine"], "site/e580");
    assert_eq!(pod["spec"]["nodeSelector"], json!({"dunlin.io/cluster": "garching", "disk": "fast"}));
}

#[test]
fn a_machine_that_is_lost_meanwhile_does_not_hold_the_move_up() {
    let (mut view, _) = begun(READY);
    let dangling = json!({"status": {"conditions": [{"type": "dunlin.io/Dangling", "status": "True"}]}});
    view.pods.upsert(pod("old", READY, dangling));
    let plan = moved(&view, NOW + 1);
    assert_eq!(writes(&plan), ["patch m status"], "what is out of reach is not deleted for that");
    assert_eq!(status(&plan)["phase"], "Succeeded");
    take(&mut view, &plan);
    assert!(set_writes(&view).is_empty());
    view.pods.upsert(pod("old", READY, json!({})));
    assert_eq!(set_writes(&view), ["delete old"], "its machine is back, and its place is taken");
}

#[test]
fn a_pod_that_is_about_to_take_a_place_does_not_move_on() {
    let (mut view, new) = begun(!READY);
    let onwards = json!({
        "metadata": {"name": "m2", "namespace": "n", "uid": "m2"},
        "spec": {"pod": new.metadata.name, "machine": "a"},
    });
    view.migrations.upsert(serde_json::from_value::<Migration>(onwards).expect("a Migration"));
    let at = Key::new("migrations.dunlin.io", "n", "m2");
    assert_eq!(status(&migration::plan(&view, &at, NOW, 0).0)["reason"], "AlreadyMigrating");
    view.pods.remove("n", "old");
    assert_eq!(status(&migration::plan(&view, &at, NOW, 0).0)["phase"], "Migrating");
}
