//! Applies and tracked updates, case by case, and what must hold of all of them.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const T0: &str = "2026-01-01T00:00:00Z";
const T1: &str = "2026-01-01T00:00:01Z";

fn deployment() -> GroupVersionKind {
    GroupVersionKind::new("apps", "v1", "Deployment")
}

fn pod() -> GroupVersionKind {
    GroupVersionKind::new("", "v1", "Pod")
}

/// A deployment that says no more than its arguments.
fn object(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n"}, "spec": spec})
}

fn applied(live: Option<&Value>, spec: Value, manager: &str) -> Value {
    apply(&deployment(), live, &object(spec), manager, false, "", T0).expect("no conflict")
}

fn bare(value: &Value) -> Value {
    let mut value = value.clone();
    entries::strip(&mut value);
    value
}

/// `manager operation[/subresource]: fields`, one line per entry.
fn owners(value: &Value) -> Vec<String> {
    let entries = value["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let line = |e: &Value| {
        let text = |name: &str| e[name].as_str().unwrap_or_default().to_owned();
        let sub =
            if text("subresource").is_empty() { String::new() } else { format!("/{}", text("subresource")) };
        let paths = FieldSet::from_json(&e["fieldsV1"]).paths().join(" ");
        format!("{} {}{sub}: {paths}", text("manager"), text("operation"))
    };
    entries.iter().map(line).collect()
}

fn containers(list: Value) -> Value {
    json!({"template": {"spec": {"containers": list}}})
}

#[test]
fn a_first_apply_owns_what_it_says() {
    let live = applied(
        None,
        json!({"replicas": 1, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers":
            [{"name": "c", "image": "i", "ports": [{"containerPort": 80}], "args": ["x"]}]}}}),
        "me",
    );
    assert_eq!(
        live["metadata"]["managedFields"],
        json!([{"manager": "me", "operation": "Apply", "apiVersion": "apps/v1", "time": T0, "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {"f:replicas": {}, "f:selector": {}, "f:template": {
                "f:metadata": {"f:labels": {"f:a": {}}},
                "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:image": {}, "f:args": {},
                    "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}}}}}])
    );
}

#[test]
fn applying_the_same_changes_nothing() {
    let live = applied(None, json!({"replicas": 1}), "me");
    let again = apply(&deployment(), Some(&live), &object(json!({"replicas": 1})), "me", false, "", T1);
    assert_eq!(again.expect("no conflict"), live);
}

#[test]
fn what_is_no_longer_said_is_removed() {
    let live =
        applied(None, containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}])), "me");
    let live = applied(Some(&live), containers(json!([{"name": "a"}])), "me");
    assert_eq!(bare(&live), object(containers(json!([{"name": "a"}]))));
}

#[test]
fn what_others_own_too_stays() {
    let live = applied(None, json!({"replicas": 1, "paused": true}), "me");
    let live = applied(Some(&live), json!({"replicas": 1}), "you");
    let live = applied(Some(&live), json!({"minReadySeconds": 3}), "me");
    assert_eq!(live["spec"], json!({"replicas": 1, "minReadySeconds": 3}));
    assert_eq!(owners(&live), ["me Apply: .spec.minReadySeconds", "you Apply: .spec.replicas"]);
}

#[test]
fn removing_a_struct_takes_its_defaults_along() {
    let mut live = applied(None, json!({"replicas": 1, "strategy": {"type": "RollingUpdate"}}), "me");
    live["spec"]["strategy"]["rollingUpdate"] = json!({"maxSurge": 1});
    let live = applied(Some(&live), json!({"replicas": 1}), "me");
    assert_eq!(live["spec"], json!({"replicas": 1}));
}

#[test]
fn an_item_goes_with_its_owner() {
    let live = applied(None, containers(json!([{"name": "a", "image": "1"}, {"name": "b"}])), "me");
    let mut next = live.clone();
    next["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["x"]);
    track_update(&deployment(), Some(&live), &mut next, "editor", "", T0);
    let live = applied(Some(&next), containers(json!([{"name": "b"}])), "me");
    assert_eq!(live["spec"], containers(json!([{"name": "b"}])));
}

#[test]
fn others_items_keep_their_place() {
    let live = applied(None, containers(json!([{"name": "a"}, {"name": "x"}, {"name": "b"}])), "you");
    let live = applied(Some(&live), containers(json!([{"name": "b"}, {"name": "c"}, {"name": "a"}])), "me");
    let names: Vec<_> = live["spec"]["template"]["spec"]["containers"]
        .as_array()
        .expect("list")
        .iter()
        .map(|c| c["name"].clone())
        .collect();
    assert_eq!(names, ["x", "b", "c", "a"]);
}

#[test]
fn conflicts_name_manager_and_field() {
    let mut live = object(json!({"replicas": 1}));
    track_update(&deployment(), None, &mut live, "kubectl-client-side-apply", "", T0);
    let config = object(json!({"replicas": 2}));
    let refused = apply(&deployment(), Some(&live), &config, "me", false, "", T0).expect_err("conflict");
    assert_eq!(
        refused.to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.replicas"
    );
    let Error::Conflicts(conflicts) = refused else { panic!("not a conflict") };
    let cause =
        (".spec.replicas".to_owned(), "conflict with \"kubectl-client-side-apply\" using apps/v1".to_owned());
    assert_eq!(conflicts.causes().collect::<Vec<_>>(), [cause]);

    let live = apply(&deployment(), Some(&live), &config, "me", true, "", T0).expect("forced");
    assert_eq!(
        (&live["spec"]["replicas"], owners(&live)),
        (&json!(2), vec!["me Apply: .spec.replicas".to_owned()])
    );
}

#[test]
fn several_conflicts_are_listed_by_manager() {
    let live = applied(None, containers(json!([{"name": "a", "image": "1"}])), "you");
    let mut next = live.clone();
    next["spec"]["replicas"] = json!(5);
    track_update(&deployment(), Some(&live), &mut next, "hpa", "scale", T0);
    let mut config = containers(json!([{"name": "a", "image": "2"}]));
    config["replicas"] = json!(1);
    let refused =
        apply(&deployment(), Some(&next), &object(config), "me", false, "", T0).expect_err("conflicts");
    assert_eq!(
        refused.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"hpa\" with subresource \"scale\" using apps/v1:\n\
         - .spec.replicas\nconflicts with \"you\":\n- .spec.template.spec.containers[name=\"a\"].image"
    );
}

#[test]
fn equal_values_are_shared_without_conflict() {
    let live = applied(None, json!({"replicas": 1}), "you");
    let live = applied(Some(&live), json!({"replicas": 1}), "me");
    assert_eq!(owners(&live), ["me Apply: .spec.replicas", "you Apply: .spec.replicas"]);
}

#[test]
fn an_object_that_nobody_tracked_belongs_to_its_past() {
    let live = object(json!({"replicas": 1}));
    let refused = apply(&deployment(), Some(&live), &object(json!({"replicas": 2})), "me", false, "", T0);
    let message = refused.expect_err("conflict").to_string();
    assert!(message.contains("\"before-first-apply\" using apps/v1: .spec.replicas"), "{message}");
}

#[test]
fn updates_take_over_what_they_change() {
    let live = applied(None, json!({"replicas": 1, "paused": true}), "me");
    let mut next = live.clone();
    next["spec"]["replicas"] = json!(2);
    next["metadata"]["labels"] = json!({"a": "b"});
    next["metadata"]["resourceVersion"] = json!("7");
    next["status"] = json!({"replicas": 9});
    track_update(&deployment(), Some(&live), &mut next, "editor", "", T1);
    assert_eq!(
        owners(&next),
        ["me Apply: .spec.paused", "editor Update: .metadata.labels .metadata.labels.a .spec.replicas"]
    );
    let mut last = next.clone();
    last["status"] = json!({"replicas": 1});
    last["spec"]["replicas"] = json!(2);
    track_update(&deployment(), Some(&next), &mut last, "controller", "status", T1);
    assert!(owners(&last).contains(&"controller Update/status: .status.replicas".to_owned()));
    last["spec"].as_object_mut().expect("object").remove("replicas");
    let before = {
        let mut b = last.clone();
        b["spec"]["replicas"] = json!(2);
        b
    };
    track_update(&deployment(), Some(&before), &mut last, "other", "", T1);
    assert!(owners(&last).contains(&"editor Update: .metadata.labels .metadata.labels.a".to_owned()));
}

#[test]
fn an_update_without_changes_keeps_its_time() {
    let mut live = object(json!({"replicas": 1}));
    track_update(&deployment(), None, &mut live, "editor", "", T0);
    let mut next = bare(&live);
    track_update(&deployment(), Some(&live), &mut next, "editor", "", T1);
    assert_eq!(next, live);
}

#[test]
fn a_client_may_reset_the_entries() {
    let live = applied(None, json!({"replicas": 1}), "me");
    let mut next = live.clone();
    next["metadata"]["managedFields"] = json!([{}]);
    track_update(&deployment(), Some(&live), &mut next, "editor", "", T1);
    assert_eq!(owners(&next), Vec::<String>::new());
}

#[test]
fn old_updaters_are_folded() {
    let mut live = object(json!({}));
    for n in 0..14 {
        let old = live.clone();
        live["metadata"]["annotations"][format!("a{n}")] = "x".into();
        track_update(
            &deployment(),
            Some(&old),
            &mut live,
            &format!("m{n}"),
            "",
            &format!("2026-01-01T00:00:{n:02}Z"),
        );
    }
    assert_eq!(owners(&live).len(), 10);
    assert!(owners(&live)[0].starts_with("ancient-changes Update: "));
}

#[test]
fn a_status_apply_leaves_the_spec_alone() {
    let live = applied(None, json!({"replicas": 1}), "me");
    let mut config = object(json!({"replicas": 7}));
    config["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    let live = apply(&deployment(), Some(&live), &config, "node", false, "status", T0).expect("no conflict");
    assert_eq!(live["spec"]["replicas"], 1);
    let ready = ".status.conditions[type=\"Ready\"]";
    assert!(owners(&live).contains(&format!("node Apply/status: {ready} {ready}.status {ready}.type")));
    let live = apply(&deployment(), Some(&live), &config, "node", true, "", T0).expect("forced");
    assert_eq!(live["spec"]["replicas"], 7);
}

#[test]
fn impossible_configurations_are_refused() {
    let twice = object(containers(json!([{"name": "a"}, {"name": "a"}])));
    let refused = apply(&deployment(), None, &twice, "me", false, "", T0).expect_err("duplicate");
    let message = ".spec.template.spec.containers: duplicate entries for key [name=\"a\"]";
    assert_eq!(refused, Error::Untyped(message.into()));
    for (spec, message) in [
        (json!({"replicas": "3"}), ".spec.replicas: expected numeric (int or float), got string"),
        (json!({"paused": "yes"}), ".spec.paused: expected boolean, got &{yes}"),
        (json!({"nothing": 1}), ".spec.nothing: field not declared in schema"),
        (json!(["a", 1]), ".spec: expected map, got &{[a 1]}"),
    ] {
        let refused = apply(&deployment(), None, &object(spec), "me", false, "", T0).expect_err(message);
        assert_eq!(refused, Error::Untyped(message.into()));
    }
    let managed = json!({"metadata": {"managedFields": []}});
    let refused = apply(&deployment(), None, &managed, "me", false, "", T0).expect_err("managed fields");
    assert_eq!(refused.to_string(), "metadata.managedFields must be nil");
}

#[test]
fn kubectl_goes_on_where_it_applied_before() {
    let config = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data});
    let map = GroupVersionKind::new("", "v1", "ConfigMap");
    let note = "kubectl.kubernetes.io/last-applied-configuration";
    let mut live = config(json!({"a": "1", "b": "2"}));
    live["metadata"]["annotations"] = json!({note: config(json!({"a": "1"})).to_string()});
    track_update(&map, None, &mut live, "kubectl-client-side-apply", "", T0);
    // `a` it has applied itself, `b` somebody may have changed.
    let ours = config(json!({"a": "3"}));
    let new = apply(&map, Some(&live), &ours, "kubectl", false, "", T0).expect("its own field");
    assert_eq!(new["data"], json!({"a": "3", "b": "2"}));
    assert_eq!(new["metadata"]["annotations"][note], format!("{ours}\n"));
    assert!(apply(&map, Some(&live), &config(json!({"b": "3"})), "kubectl", false, "", T0).is_err());
    assert!(apply(&map, Some(&live), &ours, "other", false, "", T0).is_err());
}

#[test]
fn custom_resources_merge_by_their_schema_or_by_their_shape() {
    let schema = json!({"properties": {"spec": {"properties": {"rows": {"x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["id"]}}}}});
    let widget = |rows: Value| json!({"apiVersion": "e.com/v1", "kind": "W", "metadata": {"name": "w"}, "spec": {"rows": rows}});
    let schema = crate::structural::Schema::parse(&schema);
    let target = Target {
        root: Node::Resource(Some(&schema)),
        api_version: "e.com/v1",
        subresource: "",
        has_status: true,
    };
    let live = apply_to(target, None, &widget(json!([{"id": 1}])), "you", false, T0).expect("no conflict");
    let live =
        apply_to(target, Some(&live), &widget(json!([{"id": 2}])), "me", false, T0).expect("no conflict");
    assert_eq!(live["spec"]["rows"], json!([{"id": 1}, {"id": 2}]));

    let unknown = GroupVersionKind::new("e.com", "v1", "W");
    let live = apply(&unknown, None, &widget(json!([1])), "you", false, "", T0).expect("no conflict");
    assert!(apply(&unknown, Some(&live), &widget(json!([2])), "me", false, "", T0).is_err());
    assert_eq!(owners(&live), ["you Apply: .spec .spec.rows"]);
}

#[test]
fn sets_survive_json() {
    let json = json!({"f:a": {".": {}, "f:b": {}}, "f:l": {"k:{\"name\":\"x\"}": {".": {}, "f:c": {}}, "v:\"s\"": {}, "i:3": {}}});
    assert_eq!(FieldSet::from_json(&json).to_json(), json);
}

#[test]
fn managers_come_from_user_agents() {
    assert_eq!(manager_of_user_agent("kubectl/v1.36.0 (linux/amd64) kubernetes/abc"), "kubectl");
    assert_eq!(manager_of_user_agent(""), "unknown");
    assert_eq!(manager_of_user_agent(&"x".repeat(300)).len(), MAX_MANAGER_BYTES);
}

prop_compose! {
    fn any_config()(
        labels in proptest::collection::btree_map("[a-d]", "[a-c]", 0..4),
        finalizers in proptest::collection::btree_set("[a-d]", 0..3),
        containers in proptest::collection::btree_map("[a-e]", ("[a-c]", proptest::collection::btree_set(1u16..5, 0..3)), 0..4),
        reverse in any::<bool>(),
        node in proptest::option::of("[a-c]"),
        context in proptest::option::of(any::<bool>()),
    ) -> Value {
        let mut list: Vec<Value> = containers.iter().map(|(name, (image, ports))| {
            let ports: Vec<Value> = ports.iter().map(|p| json!({"containerPort": p})).collect();
            json!({"name": name, "image": image, "ports": ports})
        }).collect();
        if reverse { list.reverse(); }
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "labels": labels, "finalizers": finalizers}, "spec": {"containers": list}});
        if let Some(node) = node { pod["spec"]["nodeName"] = node.into(); }
        if let Some(c) = context { pod["spec"]["securityContext"] = if c { json!({"runAsUser": 1}) } else { json!({}) }; }
        pod
    }
}

proptest! {
    #[test]
    fn apply_is_idempotent(first in any_config(), second in any_config(), third in any_config()) {
        let live = apply(&pod(), None, &first, "a", true, "", T0).expect("applies");
        let live = apply(&pod(), Some(&live), &second, "b", true, "", T0).expect("applies");
        let once = apply(&pod(), Some(&live), &third, "a", true, "", T0).expect("applies");
        let twice = apply(&pod(), Some(&once), &third, "a", false, "", T1).expect("applies without conflict");
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn a_lone_manager_gets_what_it_says(first in any_config(), second in any_config()) {
        let live = apply(&pod(), None, &first, "a", false, "", T0).expect("applies");
        let live = apply(&pod(), Some(&live), &second, "a", false, "", T0).expect("applies");
        prop_assert!(live["spec"].as_object().expect("object").len() <= second["spec"].as_object().expect("object").len());
        prop_assert_eq!(update::merge(Node::of(&pod()).expect("pod"), &bare(&live), &second), bare(&live));
        let count = |v: &Value| v["spec"]["containers"].as_array().map_or(0, Vec::len);
        prop_assert_eq!(count(&live), count(&second));
    }

    #[test]
    fn a_change_is_owned_by_its_author(first in any_config(), second in any_config()) {
        let mut live = first.clone();
        track_update(&pod(), None, &mut live, "a", "", T0);
        let mut next = second.clone();
        track_update(&pod(), Some(&live), &mut next, "b", "", T1);
        let changes = update::compare(Node::of(&pod()).expect("pod"), &bare(&live), &bare(&next));
        let entries = Entries::of(&next);
        for path in changes.written().without_identity().paths() {
            let owners: Vec<String> = owners(&next).into_iter()
                .filter(|l| l.split(' ').any(|p| p == path)).map(|l| l[..1].to_owned()).collect();
            prop_assert_eq!(owners, vec!["b".to_owned()], "{}", path);
        }
        prop_assert!(entries.iter().count() <= 2);
    }
}

#[test]
fn a_part_is_laid_over_an_object() {
    let node = Node::of_or_unknown(&GroupVersionKind::new("", "v1", "Pod"));
    let live = json!({"spec": {"containers": [{"name": "a", "image": "i", "args": ["x"]}]}});
    let part = json!({"spec": {"containers": [{"name": "b", "image": "j"}, {"name": "a", "image": "k"}]}});
    let made = overlay(node, &live, &part).expect("it fits");
    let names: Vec<_> = made["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| (c["name"].clone(), c["image"].clone()))
        .collect();
    assert!(names.contains(&(json!("a"), json!("k"))) && names.contains(&(json!("b"), json!("j"))), "{made}");
    for (part, want) in [
        (
            json!({"spec": {"containers": [{"name": "a", "args": ["y"]}]}}),
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.containers[0].args",
        ),
        (
            json!({"spec": {"nope": 1}}),
            "failed to convert patch object to typed object: .spec.nope: field not declared in schema",
        ),
    ] {
        assert_eq!(overlay(node, &live, &part), Err(want.to_owned()));
    }
}
