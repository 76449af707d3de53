//! Our own kinds.

use super::*;

fn migration(spec: Value) -> Vec<String> {
    created("dunlin.io/v1alpha1", "Migration", json!({"spec": spec}))
}

#[test]
fn migrations_name_a_pod_and_a_place() {
    assert!(migration(json!({"pod": "web-1", "machine": "board"})).is_empty());
    assert!(migration(json!({"pod": "web-1", "cluster": "garching", "machine": "site/board"})).is_empty());
    for (spec, field) in [
        (json!({"machine": "board"}), "spec.pod: Required value"),
        (json!({"pod": "web-1"}), "spec.machine: Required value"),
        (json!({"pod": "W", "machine": "board"}), "spec.pod: Invalid value"),
        (json!({"pod": "w", "machine": "a//b"}), "spec.machine: Invalid value"),
        (json!({"pod": "w", "cluster": "a/b"}), "spec.cluster: Invalid value"),
        (json!({"pod": "w", "machine": "b", "timeoutSeconds": 0}), "spec.timeoutSeconds: Invalid value"),
    ] {
        let found = migration(spec.clone());
        assert!(found.iter().any(|error| error.starts_with(field)), "{spec}: {found:?}");
    }
}

#[test]
fn a_migration_cannot_change_its_mind() {
    let of = |machine: &str| json!({"spec": {"pod": "web-1", "machine": machine}});
    let found = updated("dunlin.io/v1alpha1", "Migration", of("a"), of("b"));
    assert!(found.len() == 1 && found[0].starts_with("spec: Invalid value"), "{found:?}");
    assert!(updated("dunlin.io/v1alpha1", "Migration", of("a"), of("a")).is_empty());
}
