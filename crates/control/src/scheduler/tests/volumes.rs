//! Claims decide about places, and places about claims.

use serde_json::{Value, json};

use super::*;
use crate::scheduler::volumes::{Prepared, prepare};

fn claim(name: &str, more: Value) -> Value {
    let mut claim = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "local-path"},
        "status": {"phase": "Pending"},
    });
    merge(&mut claim, more);
    claim
}

fn bound(volume: &str) -> Value {
    json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": volume}, "status": {"phase": "Bound"}})
}

fn volume(name: &str, node: &str, more: Value) -> Value {
    let term =
        json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]});
    let mut volume = json!({
        "metadata": {"name": name, "uid": name, "resourceVersion": "1"},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "by-hand",
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}},
        "status": {"phase": "Available"},
    });
    merge(&mut volume, more);
    volume
}

/// Nodes `a`, which makes no volumes, and `b`, which does; the classes `local-path` and `by-hand`.
fn world(storage: &[Value]) -> Snapshot {
    let able = json!({"metadata": {"annotations": {"dunlin.io/volumes": "/v"}}});
    let mut snapshot = cluster([node("a", "4", json!({})), node("b", "4", able)]);
    for (name, provisioner) in
        [("local-path", "dunlin.io/local-path"), ("by-hand", "kubernetes.io/no-provisioner")]
    {
        let class = json!({"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer"});
        snapshot.set_storage_class(Arc::new(serde_json::from_value(class).expect("a class")));
    }
    for object in storage {
        match object["spec"].get("capacity") {
            Some(_) => {
                snapshot.set_volume(Arc::new(serde_json::from_value(object.clone()).expect("a volume")))
            }
            None => snapshot.set_claim(Arc::new(serde_json::from_value(object.clone()).expect("a claim"))),
        }
    }
    snapshot
}

fn user(name: &str, claims: &[&str]) -> Arc<Pod> {
    let volumes: Vec<Value> = claims
        .iter()
        .map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}))
        .collect();
    pod(name, "1", json!({"spec": {"volumes": volumes}}))
}

#[test]
fn claims_choose_nodes_or_say_why_not() {
    let everywhere = |why: &str| format!("0/2 nodes are available: {why}.");
    let affinity =
        "0/2 nodes are available: 2 node(s) didn't match PersistentVolume's node affinity.".to_owned();
    let nothing =
        "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind.".to_owned();
    let by_hand = || claim("c", json!({"spec": {"storageClassName": "by-hand"}}));
    let taken = json!({"spec": {"claimRef": {"namespace": "x", "name": "y", "uid": "z"}}});
    for (case, storage, want) in [
        ("missing", vec![], everywhere("persistentvolumeclaim \"c\" not found")),
        ("made where it can be", vec![claim("c", json!({}))], "b".to_owned()),
        ("bound", vec![claim("c", bound("v")), volume("v", "a", json!({}))], "a".to_owned()),
        ("bound elsewhere", vec![claim("c", bound("v")), volume("v", "z", json!({}))], affinity),
        (
            "immediate",
            vec![claim("c", json!({"spec": {"storageClassName": ""}}))],
            everywhere("pod has unbound immediate PersistentVolumeClaims"),
        ),
        (
            "deleted",
            vec![claim("c", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}))],
            everywhere("persistentvolumeclaim \"c\" is being deleted"),
        ),
        (
            "lost",
            vec![claim("c", json!({"spec": {"volumeName": "v"}, "status": {"phase": "Lost"}}))],
            everywhere("persistentvolumeclaim \"c\" bound to non-existent persistentvolume \"v\""),
        ),
        ("free", vec![by_hand(), volume("v", "a", json!({}))], "a".to_owned()),
        ("taken", vec![by_hand(), volume("v", "a", taken)], nothing.clone()),
        ("none", vec![by_hand()], nothing.clone()),
        (
            "told",
            vec![claim(
                "c",
                json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "a"}}}),
            )],
            nothing,
        ),
    ] {
        println!("{case}");
        check(&world(&storage), &user("p", &["c"]), &want);
    }
}

#[test]
fn two_claims_do_not_get_one_volume() {
    let by_hand = |name: &str| claim(name, json!({"spec": {"storageClassName": "by-hand"}}));
    let mut snapshot = world(&[by_hand("c"), by_hand("d"), volume("v", "a", json!({}))]);
    let nothing = "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind.";
    check(&snapshot, &user("p", &["c", "d"]), nothing);
    snapshot.set_volume(Arc::new(serde_json::from_value(volume("w", "a", json!({}))).expect("a volume")));
    check(&snapshot, &user("p", &["c", "d"]), "a");
}

#[test]
fn one_pod_alone_has_a_claim_for_one_pod() {
    let mut snapshot = world(&[
        claim("c", bound("v")),
        claim("only", json!({"spec": {"accessModes": ["ReadWriteOncePod"]}})),
        volume("v", "b", json!({})),
    ]);
    for name in ["c", "only"] {
        snapshot.assume(&user(&format!("first-{name}"), &[name]), &"b".into());
    }
    check(&snapshot, &user("p", &["c"]), "b");
    check(
        &snapshot,
        &user("p", &["only"]),
        "0/2 nodes are available: 2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode.",
    );
}

#[test]
fn a_place_is_told_to_claims_before_the_pod_is_bound() {
    let told = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "b"}}});
    let writes = |snapshot: &Snapshot, node: &str| match prepare(snapshot, &user("p", &["c"]), node) {
        Prepared::Writes(writes) => writes,
        other => panic!("{other:?}"),
    };
    let made = writes(&world(&[claim("c", json!({}))]), "b");
    assert!(matches!(&made[..], [Action::Patch { patch, .. }] if *patch == told), "{made:?}");
    assert_eq!(writes(&world(&[claim("c", told)]), "b"), []);

    let by_hand = claim("c", json!({"spec": {"storageClassName": "by-hand"}}));
    let kept = writes(&world(&[by_hand.clone(), volume("v", "a", json!({}))]), "a");
    assert!(
        matches!(&kept[..], [Action::Patch { patch, .. }] if patch["spec"]["claimRef"]["uid"] == "c"),
        "{kept:?}"
    );
    assert_eq!(
        prepare(&world(&[by_hand, volume("v", "a", json!({}))]), &user("p", &["c"]), "b"),
        Prepared::Lost
    );

    let ready = world(&[claim("c", bound("v")), volume("v", "a", json!({}))]);
    assert_eq!(prepare(&ready, &user("p", &["c"]), "a"), Prepared::Ready);
    assert_eq!(prepare(&ready, &user("p", &["c"]), "b"), Prepared::Lost);
    assert_eq!(prepare(&ready, &pod("p", "1", json!({})), "b"), Prepared::Ready);
}

#[test]
fn a_cluster_has_volumes_of_its_own_only() {
    let check_on = |storage: &[Value], want: &str| {
        let mut snapshot = world(storage);
        for name in ["a", "b"] {
            snapshot.remove_node(name);
        }
        let virtual_node = json!({"metadata": {"labels": {"dunlin.io/virtual-node": "cluster"}}});
        snapshot.set_node(node("site", "4", virtual_node));
        check(&snapshot, &user("p", &["c"]), want);
    };
    let everywhere = json!({"spec": {"nodeAffinity": null}});
    let below = json!({"metadata": {"labels": {"dunlin.io/volume-node": "site"}}});
    let by_hand = claim("c", json!({"spec": {"storageClassName": "by-hand"}}));
    let nothing = "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind.";
    check_on(&[claim("c", json!({}))], "site");
    check_on(&[claim("c", bound("v")), volume("v", "site", below)], "site");
    check_on(
        &[claim("c", bound("v")), volume("v", "x", everywhere.clone())],
        "0/1 nodes are available: 1 cluster(s) can't use volumes of their parent.",
    );
    check_on(&[by_hand, volume("v", "x", everywhere)], nothing);
}
