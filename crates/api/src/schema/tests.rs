//! The table parses, is small, and says what Kubernetes publishes.

use super::*;

fn gvk(group: &str, version: &str, kind: &str) -> GroupVersionKind {
    GroupVersionKind::new(group, version, kind)
}

#[test]
fn the_table_is_whole_and_in_order() {
    let schema = schema();
    // Kubernetes' 771 and our 10.
    assert_eq!(schema.len(), 771 + 10);
    assert!(!schema.is_empty());
    assert!(schema.types.is_sorted_by_key(|t| (t.package, t.name)));
    for at in 0..schema.len() {
        let id = TypeId(at as u16);
        assert!(schema.fields(id).is_sorted_by_key(|f| f.name), "{}", schema.get(id).full_name());
        assert_eq!(schema.named(&schema.get(id).full_name()), Some(id));
    }
}

#[test]
fn the_table_is_small() {
    let schema = schema();
    let heap = size_of_val(schema.types.as_slice())
        + size_of_val(schema.fields.as_slice())
        + size_of_val(schema.kinds.as_slice())
        + size_of_val(schema.elements.as_slice())
        + size_of_val(schema.rules.as_slice());
    assert!(heap < 256 * 1024, "{heap} bytes");
}

#[test]
fn kinds_are_found() {
    for (group, version, kind, name) in [
        ("", "v1", "Pod", "io.k8s.api.core.v1.Pod"),
        ("apps", "v1", "DeploymentList", "io.k8s.api.apps.v1.DeploymentList"),
        ("", "v1", "Status", "io.k8s.apimachinery.pkg.apis.meta.v1.Status"),
        ("apps", "v1", "DeleteOptions", "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"),
        ("", "v1", "DeleteOptions", "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"),
    ] {
        let id = schema().of(&gvk(group, version, kind)).expect(kind);
        assert_eq!(schema().get(id).full_name(), name);
    }
    assert_eq!(schema().of(&gvk("example.com", "v1", "Widget")), None);
    let pod = schema().of(&gvk("", "v1", "Pod")).expect("pod");
    assert_eq!(schema().kinds_of(pod).collect::<Vec<_>>(), [("", "v1", "Pod")]);
}

#[test]
fn fields_and_rules_are_found() {
    let pod = schema().of(&gvk("", "v1", "Pod")).expect("pod");
    let rules = |names: &[&str]| schema().rules(schema().path(pod, names).expect("field"));
    let containers = rules(&["spec", "containers"]);
    assert_eq!((containers.map_keys.as_slice(), containers.merge_key), (["name"].as_slice(), Some("name")));
    let ports = rules(&["spec", "containers", "ports"]);
    assert_eq!((ports.map_keys.len(), ports.merge_key), (2, Some("containerPort")));
    assert!(rules(&["spec", "volumes"]).retain_keys);
    assert!(rules(&["metadata", "finalizers"]).set);
    let image = schema().path(pod, &["spec", "containers", "image"]).expect("image");
    assert_eq!(image.ty, Type::String);
    let node = Node::of(&gvk("", "v1", "Pod")).expect("pod");
    let port = ["spec", "containers"].iter().fold(node, |n, f| n.field(f).expect("field"));
    let port = port.item().field("ports").expect("ports").item();
    assert_eq!(port.default("protocol"), Some("TCP".into()));
}

#[test]
fn custom_resources_are_described_by_their_schema() {
    let schema = serde_json::json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "rows": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
            "items": {"type": "object"}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": "atomic"},
    }}}});
    let schema = crate::structural::Schema::parse(&schema);
    let root = Node::Resource(Some(&schema));
    assert!(root.field("metadata").expect("metadata").field("labels").is_some());
    let spec = root.field("spec").expect("spec");
    assert_eq!(spec.field("rows").expect("rows").list_type(), ListType::Map(vec!["id"]));
    assert!(spec.field("labels").expect("labels").is_atomic_map());
}
