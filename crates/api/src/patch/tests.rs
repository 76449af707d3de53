//! Patches, case by case, and what must hold of all of them.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn deployment() -> GroupVersionKind {
    GroupVersionKind::new("apps", "v1", "Deployment")
}

fn pod() -> GroupVersionKind {
    GroupVersionKind::new("", "v1", "Pod")
}

fn pod_spec(spec: Value) -> Value {
    json!({ "spec": spec })
}

#[test]
fn json_patches_apply_wholly_or_not_at_all() {
    let object = json!({"spec": {"replicas": 1}, "list": [1, 2]});
    let patch = json!([{"op": "replace", "path": "/spec/replicas", "value": 3}, {"op": "add", "path": "/list/-", "value": 3}]);
    assert_eq!(json_patch(&object, &patch), Ok(json!({"spec": {"replicas": 3}, "list": [1, 2, 3]})));
    let failing =
        json!([{"op": "remove", "path": "/list/0"}, {"op": "test", "path": "/spec/replicas", "value": 9}]);
    assert_eq!(json_patch(&object, &failing).expect_err("test fails").status(), (422, "Invalid"));
    assert_eq!(json_patch(&object, &json!({"op": "add"})).expect_err("no list").status().0, 400);
    let many = Value::Array(vec![json!({"op": "remove", "path": "/x"}); MAX_JSON_PATCH_OPERATIONS + 1]);
    assert_eq!(json_patch(&object, &many), Err(Error::TooMany(MAX_JSON_PATCH_OPERATIONS + 1)));
}

#[test]
fn merge_patches_follow_the_rfc() {
    for (object, patch, result) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": [1]}), json!({"a": [2]}), json!({"a": [2]})),
        (json!({"a": {"b": 1}}), json!({"a": {"b": null, "c": {"d": null}}}), json!({"a": {"c": {}}})),
    ] {
        assert_eq!(merge_patch(&object, &patch), Ok(result));
    }
    assert!(merge_patch(&json!({}), &json!([])).is_err());
}

#[test]
fn strategic_patches_merge_by_schema() {
    let containers = |c: Value| pod_spec(json!({ "containers": c }));
    for (name, object, patch, result) in [
        (
            "lists of objects merge by key, new items go first",
            containers(json!([{"name": "a", "image": "1", "args": ["x"]}])),
            containers(json!([{"name": "b"}, {"name": "a", "image": "2", "args": ["y"]}])),
            containers(json!([{"name": "b"}, {"name": "a", "image": "2", "args": ["y"]}])),
        ),
        (
            "an item is deleted",
            containers(json!([{"name": "a"}, {"name": "b"}])),
            containers(json!([{"name": "a", "$patch": "delete"}])),
            containers(json!([{"name": "b"}])),
        ),
        (
            "a list is replaced",
            containers(json!([{"name": "a"}, {"name": "b"}])),
            containers(json!([{"$patch": "replace"}, {"name": "c"}])),
            containers(json!([{"name": "c"}])),
        ),
        (
            "an object is replaced",
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
            json!({"metadata": {"labels": {"$patch": "replace", "c": "3"}}}),
            json!({"metadata": {"labels": {"c": "3"}}}),
        ),
        (
            "an object is emptied",
            pod_spec(json!({"securityContext": {"runAsUser": 1}, "nodeName": "n"})),
            pod_spec(json!({"securityContext": {"$patch": "delete"}})),
            pod_spec(json!({"securityContext": {}, "nodeName": "n"})),
        ),
        (
            "null removes, and is dropped where nothing was",
            pod_spec(json!({"nodeName": "n", "nodeSelector": {"a": "b"}})),
            pod_spec(
                json!({"nodeName": null, "hostname": null, "nodeSelector": {"a": null}, "affinity": {"nodeAffinity": null}}),
            ),
            pod_spec(json!({"nodeSelector": {}, "affinity": {}})),
        ),
        (
            "retained keys drop a volume's former source",
            pod_spec(json!({"volumes": [{"name": "v", "emptyDir": {}}]})),
            pod_spec(
                json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}),
            ),
            pod_spec(json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]})),
        ),
        (
            "sets are united and thinned",
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"finalizers": ["c", "a"], "$deleteFromPrimitiveList/finalizers": ["b"]}}),
            json!({"metadata": {"finalizers": ["c", "a"]}}),
        ),
        (
            "atomic lists are replaced",
            pod_spec(json!({"tolerations": [{"key": "a"}]})),
            pod_spec(json!({"tolerations": [{"key": "b"}]})),
            pod_spec(json!({"tolerations": [{"key": "b"}]})),
        ),
        (
            "order is set, and others' items keep their place",
            containers(json!([{"name": "a"}, {"name": "x"}, {"name": "b"}])),
            pod_spec(json!({"$setElementOrder/containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}],
                "containers": [{"name": "c"}]})),
            containers(json!([{"name": "c"}, {"name": "x"}, {"name": "b"}, {"name": "a"}])),
        ),
        (
            "order alone reorders",
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"$setElementOrder/finalizers": ["b", "a"]}}),
            json!({"metadata": {"finalizers": ["b", "a"]}}),
        ),
        (
            "a list without a match is taken as it is",
            pod_spec(json!({})),
            containers(json!([{"name": "a", "$patch": "delete"}, {"name": "b", "image": null}])),
            containers(json!([{"name": "b"}])),
        ),
    ] {
        assert_eq!(strategic_merge(&pod(), &object, &patch), Ok(result), "{name}");
    }
}

#[test]
fn a_deployment_strategy_retains_keys() {
    let object = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let result = json!({"spec": {"strategy": {"type": "Recreate"}}});
    assert_eq!(strategic_merge(&deployment(), &object, &patch), Ok(result));
}

#[test]
fn strategic_errors_are_worded_as_kubernetes() {
    let object = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}});
    for (patch, message) in [
        (
            pod_spec(json!({"containers": [{"image": "x"}]})),
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (
            pod_spec(json!({"containers": [{"name": "a", "$patch": "explode"}]})),
            "unknown patch type: explode in map: map[$patch:explode name:a]",
        ),
        (pod_spec(json!({"$retainKeys": [], "nodeName": "n"})), "invalid patch format of retainKeys"),
        (
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": "x"}}),
            "invalid patch format of deleteFromPrimitiveList",
        ),
        (
            pod_spec(json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]})),
            "The order in patch list:\n[map[name:b]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
        ),
    ] {
        assert_eq!(strategic_merge(&pod(), &object, &patch).expect_err("refused").to_string(), message);
    }
    let widget = GroupVersionKind::new("example.com", "v1", "Widget");
    let error = strategic_merge(&widget, &object, &json!({})).expect_err("refused");
    assert_eq!(error.status(), (415, "UnsupportedMediaType"));
}

prop_compose! {
    fn any_pod()(
        labels in proptest::collection::btree_map("[a-d]", "[a-z]{1,3}", 0..4),
        names in proptest::collection::btree_map("[a-f]", ("[a-z]{1,4}", proptest::collection::btree_set(1u16..9, 0..3)), 0..5),
        finalizers in proptest::collection::btree_set("[a-d]", 0..4),
        node in proptest::option::of("[a-z]{1,3}"),
    ) -> Value {
        let containers: Vec<Value> = names.iter().map(|(name, (image, ports))| {
            let ports: Vec<Value> = ports.iter().map(|p| json!({"containerPort": p, "protocol": "TCP"})).collect();
            json!({"name": name, "image": image, "ports": ports})
        }).collect();
        let mut pod = json!({"metadata": {"labels": labels, "finalizers": finalizers}, "spec": {"containers": containers}});
        if let Some(node) = node { pod["spec"]["nodeName"] = node.into(); }
        pod
    }
}

proptest! {
    #[test]
    fn a_patch_that_is_the_object_changes_nothing(object in any_pod()) {
        prop_assert_eq!(strategic_merge(&pod(), &object, &object).expect("merges"), object.clone());
        prop_assert_eq!(merge_patch(&object, &object).expect("merges"), object);
    }

    #[test]
    fn a_strategic_patch_is_idempotent(object in any_pod(), patch in any_pod()) {
        let once = strategic_merge(&pod(), &object, &patch).expect("merges");
        let twice = strategic_merge(&pod(), &once, &patch).expect("merges");
        prop_assert_eq!(once, twice);
    }
}
