//! Claims and volumes: each case is what there is, the key that is planned, and what is written.

use serde_json::{Value, json};

use super::json_patch_merge;
use crate::controllers::{claim, ephemeral, volume};
use crate::model::Key;
use crate::plan::{Action, Plan};
use crate::view::View;

const NOW: i64 = 1_800_000_000;

fn merged(base: Value, more: Value) -> Value {
    let mut object = base;
    json_patch_merge(&mut object, more);
    object
}

fn a_claim(more: Value) -> Value {
    let base = json!({
        "metadata": {"name": "c", "namespace": "n", "uid": "u1", "resourceVersion": "7", "finalizers": ["kubernetes.io/pvc-protection"]},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": ""},
        "status": {"phase": "Pending"},
    });
    merged(base, more)
}

fn a_volume(name: &str, size: &str, more: Value) -> Value {
    let base = json!({
        "metadata": {"name": name, "uid": name, "finalizers": ["kubernetes.io/pv-protection"]},
        "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
            "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "", "hostPath": {"path": "/x"}},
        "status": {"phase": "Available"},
    });
    merged(base, more)
}

fn a_class(name: &str, more: Value) -> Value {
    let base = json!({
        "metadata": {"name": name}, "provisioner": "dunlin.io/local-path", "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    });
    merged(base, more)
}

fn local_path(more: Value) -> Value {
    let base = json!({
        "metadata": {"labels": {"dunlin.io/volume-node": "a"}, "annotations": {"pv.kubernetes.io/provisioned-by": "dunlin.io/local-path"},
            "finalizers": ["kubernetes.io/pv-protection", "dunlin.io/local-path"]},
        "spec": {"persistentVolumeReclaimPolicy": "Delete", "storageClassName": "local-path", "hostPath": null, "local": {"path": "/v"}},
    });
    a_volume("pvc-u1", "1Gi", merged(base, more))
}

fn view(objects: &[Value]) -> View {
    let mut view = View::default();
    fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
        serde_json::from_value(value.clone()).expect("an object")
    }
    for object in objects {
        if object.get("provisioner").is_some() {
            view.storage_classes.upsert(read::<crate::model::StorageClass>(object));
        } else if object["spec"].get("capacity").is_some() {
            view.volumes.upsert(read::<crate::model::PersistentVolume>(object));
        } else if object["spec"].get("resources").is_some() {
            view.claims.upsert(read::<crate::model::Claim>(object));
        } else if object["spec"].get("containers").is_some() {
            view.pods.upsert(read::<crate::model::Pod>(object));
        } else {
            view.nodes.upsert(read::<crate::model::Node>(object));
        }
    }
    view
}

/// One line for each write, with what of it matters here.
fn lines(plan: &Plan) -> Vec<String> {
    let line = |action: &Action| match action {
        Action::Patch { target, subresource, patch, only_if } => {
            assert!(only_if.uid.is_some(), "every write says of which object it is right: {patch}");
            format!("{}{} {patch}", target.name, subresource.map(|s| format!("/{s}")).unwrap_or_default())
        }
        Action::Create { resource, object, .. } => {
            format!("create {resource} {}", object["metadata"]["name"])
        }
        Action::Delete { target, .. } => format!("delete {}", target.name),
        Action::Event { reason, message, .. } => format!("{reason}: {message}"),
        other => format!("{other:?}"),
    };
    plan.actions.iter().map(line).collect()
}

/// Plans the claim `c`, and finds each of `want` in the writes, in order; no write is left over.
fn check_claim(objects: &[Value], want: &[&str]) {
    let (plan, _) = claim::plan(&view(objects), &Key::new("persistentvolumeclaims", "n", "c"), NOW, 0);
    matches(&lines(&plan), want);
}

fn check_volume(objects: &[Value], name: &str, want: &[&str]) {
    let (plan, _) = volume::plan(&view(objects), &Key::new("persistentvolumes", "", name), NOW, 0);
    matches(&lines(&plan), want);
}

fn matches(got: &[String], want: &[&str]) {
    assert_eq!(got.len(), want.len(), "{got:#?}\nwanted {want:?}");
    for (got, want) in got.iter().zip(want) {
        assert!(got.contains(want), "{got}\nwanted {want}");
    }
}

#[test]
fn a_claim_gets_the_smallest_volume_that_fits() {
    let fits = |more: Value| a_volume("fits", "2Gi", more);
    let c = || a_claim(json!({}));
    let nothing = "FailedBinding: no persistent volumes available for this claim and no storage class is set";
    for (case, objects, want) in [
        (
            "smallest",
            vec![
                c(),
                fits(json!({})),
                a_volume("all", "9Gi", json!({})),
                a_volume("small", "1Mi", json!({})),
            ],
            "fits {",
        ),
        ("class", vec![c(), fits(json!({"spec": {"storageClassName": "x"}}))], nothing),
        (
            "access",
            vec![a_claim(json!({"spec": {"accessModes": ["ReadWriteMany"]}})), fits(json!({}))],
            nothing,
        ),
        ("mode", vec![a_claim(json!({"spec": {"volumeMode": "Block"}})), fits(json!({}))], nothing),
        (
            "taken",
            vec![c(), fits(json!({"spec": {"claimRef": {"namespace": "n", "name": "d", "uid": "u2"}}}))],
            nothing,
        ),
        ("released", vec![c(), fits(json!({"status": {"phase": "Released"}}))], nothing),
        (
            "deleted",
            vec![c(), fits(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}))],
            nothing,
        ),
        (
            "selector",
            vec![a_claim(json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}})), fits(json!({}))],
            nothing,
        ),
        (
            "selected",
            vec![
                a_claim(json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}})),
                fits(json!({"metadata": {"labels": {"a": "b"}}})),
            ],
            "fits {",
        ),
        (
            "kept for it, though another is smaller",
            vec![
                c(),
                a_volume("small", "1Gi", json!({})),
                fits(json!({"spec": {"claimRef": {"namespace": "n", "name": "c"}}})),
            ],
            "fits {",
        ),
        (
            "kept for a former claim of the name",
            vec![c(), fits(json!({"spec": {"claimRef": {"namespace": "n", "name": "c", "uid": "old"}}}))],
            nothing,
        ),
    ] {
        println!("{case}");
        check_claim(&objects, &[want]);
    }
}

#[test]
fn a_binding_is_written_step_by_step() {
    let kept = json!({"spec": {"claimRef": {"namespace": "n", "name": "c", "uid": "u1"}}});
    let named = json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "v"}});
    let done = json!({"status": {"phase": "Bound", "accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "capacity": {"storage": "1Gi"}}});
    let v = |more: &Value| a_volume("v", "1Gi", more.clone());
    check_claim(&[a_claim(json!({})), v(&json!({}))], &[r#""uid":"u1""#]);
    check_claim(
        &[a_claim(json!({})), v(&kept)],
        &[r#""pv.kubernetes.io/bound-by-controller":"yes"}},"spec":{"volumeName":"v"}"#],
    );
    check_claim(
        &[a_claim(named.clone()), v(&kept)],
        &[
            r#"c/status {"status":{"accessModes":["ReadWriteOnce","ReadOnlyMany"],"capacity":{"storage":"1Gi"},"phase":"Bound"}"#,
        ],
    );
    check_claim(&[a_claim(merged(named.clone(), done.clone())), v(&kept)], &[]);
    check_volume(&[a_claim(named.clone()), v(&kept)], "v", &["\"phase\":\"Bound\""]);

    // What was bound and is not any more.
    let bound = merged(named, done);
    check_claim(&[a_claim(bound.clone())], &["\"Lost\"", "ClaimLost"]);
    let other = json!({"spec": {"claimRef": {"namespace": "n", "name": "c", "uid": "u9"}}});
    check_claim(&[a_claim(bound), v(&other)], &["\"Lost\"", "ClaimMisbound"]);
}

#[test]
fn a_claim_that_names_its_volume_gets_that_one_or_waits() {
    let named = a_claim(json!({"spec": {"volumeName": "v"}}));
    let small = a_volume("other", "1Gi", json!({}));
    check_claim(&[named.clone(), small.clone()], &[]);
    check_claim(&[named.clone(), small, a_volume("v", "5Gi", json!({}))], &["v {"]);
    check_claim(
        &[named.clone(), a_volume("v", "1Mi", json!({}))],
        &["VolumeMismatch: Cannot bind to requested volume \"v\": requested PV is too small"],
    );
    let taken = json!({"spec": {"claimRef": {"namespace": "n", "name": "d", "uid": "u2"}}});
    check_claim(
        &[named, a_volume("v", "5Gi", taken)],
        &["FailedBinding: volume already bound to a different claim."],
    );
}

#[test]
fn a_class_decides_when_and_where_a_volume_is_made() {
    let c = |more: Value| a_claim(merged(json!({"spec": {"storageClassName": "local-path"}}), more));
    let marked = json!({"metadata": {"annotations": {"volume.kubernetes.io/storage-provisioner": "dunlin.io/local-path"}}});
    let on = |node: &str| {
        merged(
            marked.clone(),
            json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": node}}}),
        )
    };
    let node = json!({"metadata": {"name": "a", "annotations": {"dunlin.io/volumes": "/data/volumes"}}});
    let class = || a_class("local-path", json!({}));

    check_claim(
        &[a_claim(json!({"spec": {"storageClassName": "gone"}}))],
        &["ProvisioningFailed: storageclass.storage.k8s.io \"gone\" not found"],
    );
    let default =
        json!({"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}});
    check_claim(
        &[a_claim(json!({"spec": {"storageClassName": null}})), a_class("x", default)],
        &[r#"{"spec":{"storageClassName":"x"}}"#],
    );
    check_claim(&[c(json!({})), class()], &["WaitForFirstConsumer: waiting for first consumer"]);
    // The scheduler chooses the volume of such a claim, too.
    let free = a_volume("free", "2Gi", json!({"spec": {"storageClassName": "local-path"}}));
    check_claim(&[c(json!({})), class(), free], &["WaitForFirstConsumer"]);

    check_claim(
        &[c(on("a")), class(), node.clone()],
        &["create persistentvolumes \"pvc-u1\"", "ProvisioningSucceeded"],
    );
    check_claim(
        &[c(on("b")), class(), node.clone()],
        &[r#""volume.kubernetes.io/selected-node":null"#, "ProvisioningFailed"],
    );
    let plain = json!({"metadata": {"name": "a"}});
    check_claim(&[c(on("a")), class(), plain], &["selected-node\":null", "makes no volumes"]);
    for (spec, why) in [
        (json!({"accessModes": ["ReadWriteMany"]}), "ReadWriteMany needs storage that several nodes share"),
        (json!({"volumeMode": "Block"}), "volumeMode Block"),
        (json!({"selector": {"matchLabels": {"a": "b"}}}), "a selector chooses"),
        (json!({"dataSource": {"kind": "VolumeSnapshot", "name": "s"}}), "dataSource"),
    ] {
        check_claim(&[c(merged(on("a"), json!({"spec": spec}))), class(), node.clone()], &[why]);
    }
    let immediate = a_class("local-path", json!({"volumeBindingMode": "Immediate"}));
    check_claim(&[c(marked), immediate, node], &["must have volumeBindingMode WaitForFirstConsumer"]);
    let foreign =
        a_class("local-path", json!({"provisioner": "example.com/disk", "volumeBindingMode": "Immediate"}));
    check_claim(
        &[c(json!({})), foreign.clone()],
        &[r#""volume.kubernetes.io/storage-provisioner":"example.com/disk""#],
    );
    let asked = json!({"metadata": {"annotations": {"volume.kubernetes.io/storage-provisioner": "example.com/disk"}}});
    check_claim(&[c(asked), foreign], &["ExternalProvisioning"]);
}

#[test]
fn a_made_volume_is_tied_to_its_node() {
    let annotations = json!({"volume.kubernetes.io/storage-provisioner": "dunlin.io/local-path", "volume.kubernetes.io/selected-node": "a"});
    let claim = a_claim(
        json!({"metadata": {"annotations": annotations}, "spec": {"storageClassName": "local-path"}}),
    );
    let made = |node: Value| {
        let view = view(&[claim.clone(), a_class("local-path", json!({})), node]);
        let (plan, _) = claim::plan(&view, &Key::new("persistentvolumeclaims", "n", "c"), NOW, 0);
        match plan.actions.first() {
            Some(Action::Create { object, .. }) => object.clone(),
            other => panic!("{other:?}"),
        }
    };
    let volume = made(
        json!({"metadata": {"name": "a", "labels": {"kubernetes.io/hostname": "host-a"}, "annotations": {"dunlin.io/volumes": "/data/volumes/"}}}),
    );
    assert_eq!(volume["spec"]["local"]["path"], "/data/volumes/pvc-u1");
    assert_eq!(volume["spec"]["capacity"]["storage"], "1Gi");
    assert_eq!(volume["spec"]["claimRef"]["uid"], "u1");
    let term = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0];
    assert_eq!(*term, json!({"key": "kubernetes.io/hostname", "operator": "In", "values": ["host-a"]}));
    assert_eq!(volume["metadata"]["labels"]["dunlin.io/volume-node"], "a");
    assert_eq!(volume["metadata"]["annotations"]["dunlin.io/volume-node"], "a");
    let machine = made(json!({"metadata": {"name": "a", "annotations": {"dunlin.io/exposed-by": "site"}}}));
    assert_eq!(machine["spec"]["csi"]["driver"], "cluster.dunlin.io");
    let below = made(json!({"metadata": {"name": "a", "labels": {"dunlin.io/virtual-node": "cluster"}}}));
    assert_eq!(below["spec"]["csi"], json!({"driver": "cluster.dunlin.io", "volumeHandle": "a/u1"}));
}

#[test]
fn a_volume_without_its_claim_is_released_and_its_policy_decides() {
    let claimed = json!({"spec": {"claimRef": {"namespace": "n", "name": "c", "uid": "u1"}}});
    let released = merged(claimed.clone(), json!({"status": {"phase": "Released"}}));
    let policy = |policy: &str| json!({"spec": {"persistentVolumeReclaimPolicy": policy}});
    let v = |more: Value| a_volume("v", "1Gi", more);
    check_volume(&[v(json!({"status": {"phase": "Pending"}}))], "v", &["\"Available\""]);
    check_volume(&[v(claimed.clone())], "v", &["\"Released\""]);
    check_volume(&[v(claimed.clone()), a_claim(json!({"metadata": {"uid": "u2"}}))], "v", &["\"Released\""]);
    check_volume(&[v(claimed.clone()), a_claim(json!({}))], "v", &[]);
    check_volume(&[v(released.clone())], "v", &[]);
    let delete = merged(released.clone(), policy("Delete"));
    check_volume(&[v(delete)], "v", &["\"Failed\"", "VolumeFailedDelete"]);
    check_volume(
        &[v(merged(released.clone(), policy("Recycle")))],
        "v",
        &["\"Failed\"", "VolumeFailedRecycle"],
    );
    check_volume(&[local_path(released)], "pvc-u1", &["delete pvc-u1"]);

    // That the claim is gone is asked of the server before anything is written.
    let view = view(&[v(claimed)]);
    let (plan, _) = volume::plan(&view, &Key::new("persistentvolumes", "", "v"), NOW, 0);
    assert_eq!(plan.absent, [(Key::new("persistentvolumeclaims", "n", "c"), Some("u1".into()))]);

    // The claim has got another volume: one that a person kept for it waits for it again.
    let other = a_claim(json!({"spec": {"volumeName": "w"}}));
    let kept = json!({"spec": {"claimRef": {"namespace": "n", "name": "c", "uid": "u1"}}});
    check_volume(
        &[v(kept.clone()), other.clone()],
        "v",
        &[r#"{"spec":{"claimRef":{"resourceVersion":null,"uid":null}}}"#],
    );
    let by_us =
        merged(kept, json!({"metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}}}));
    check_volume(&[v(by_us), other], "v", &[r#""claimRef":null"#]);
}

#[test]
fn a_deleted_volume_goes_when_nobody_has_it_and_its_node_is_done() {
    let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let claimed =
        merged(going.clone(), json!({"spec": {"claimRef": {"namespace": "n", "name": "c", "uid": "u1"}}}));
    let in_use = merged(claimed.clone(), json!({"status": {"phase": "Bound"}}));
    let claim = a_claim(json!({"spec": {"volumeName": "pvc-u1"}}));
    let node = json!({"metadata": {"name": "a"}});
    check_volume(&[local_path(in_use), claim, node.clone()], "pvc-u1", &[]);
    let released = merged(claimed, json!({"status": {"phase": "Released"}}));
    check_volume(
        &[local_path(released.clone()), node.clone()],
        "pvc-u1",
        &[r#"{"metadata":{"finalizers":["dunlin.io/local-path"]}}"#],
    );
    let waits = merged(released, json!({"metadata": {"finalizers": ["dunlin.io/local-path"]}}));
    check_volume(&[local_path(waits.clone()), node], "pvc-u1", &[]);
    check_volume(&[local_path(waits)], "pvc-u1", &[r#"{"metadata":{"finalizers":[]}}"#]);
}

#[test]
fn a_claim_in_use_stays_until_its_pods_have_ended() {
    let going = a_claim(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    let pod = |more: Value| {
        let base = json!({"metadata": {"name": "p", "namespace": "n", "uid": "p"}, "spec": {"nodeName": "a", "containers": [],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}});
        merged(base, more)
    };
    let gone = r#"c {"metadata":{"finalizers":[]}}"#;
    check_claim(&[going.clone(), pod(json!({}))], &[]);
    check_claim(&[going.clone(), pod(json!({"status": {"phase": "Succeeded"}}))], &[gone]);
    check_claim(&[going.clone(), pod(json!({"spec": {"nodeName": ""}}))], &[gone]);
    check_claim(&[going.clone(), pod(json!({"metadata": {"namespace": "other"}}))], &[gone]);
    check_claim(&[going], &[gone]);
}

#[test]
fn an_ephemeral_volume_has_a_claim_that_its_pod_owns() {
    let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "p"}, "spec": {"containers": [],
        "volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"]}}}}]}});
    let key = Key::new("pods", "n", "p");
    let (plan, _) = ephemeral::plan(&view(std::slice::from_ref(&pod)), &key, NOW, 0);
    let Some(Action::Create { object, .. }) = plan.actions.first() else { panic!("{plan:?}") };
    assert_eq!(object["metadata"]["name"], "p-v");
    assert_eq!(object["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "p");
    assert_eq!(object["metadata"]["ownerReferences"][0]["controller"], true);
    let foreign = a_claim(json!({"metadata": {"name": "p-v"}}));
    assert_eq!(ephemeral::plan(&view(&[pod.clone(), foreign]), &key, NOW, 0).0, Plan::default());
    let ended = merged(pod, json!({"status": {"phase": "Failed"}}));
    assert_eq!(ephemeral::plan(&view(&[ended]), &key, NOW, 0).0, Plan::default());
}
