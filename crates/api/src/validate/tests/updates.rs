//! Objects that are changed.

use super::*;

const POD_WORDS: &str =
    "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`";

#[test]
fn pods() {
    let changed = |pointer: &str, value: Value| updated("v1", "Pod", pod(), with(pod(), pointer, value));
    assert!(changed("/spec/containers/0/image", json!("other:1")).is_empty());
    assert!(changed("/spec/activeDeadlineSeconds", json!(5)).is_empty());
    assert!(changed("/spec/tolerations", json!([{"operator": "Exists"}])).is_empty());
    for (pointer, value) in [
        ("/spec/containers/0/command", json!(["x"])),
        ("/spec/nodeName", json!("n")),
        ("/spec/hostNetwork", json!(true)),
        ("/spec/terminationGracePeriodSeconds", json!(1)),
        ("/spec/nodeSelector", json!({"a": "b"})),
    ] {
        let errors = changed(pointer, value);
        assert_eq!(errors.len(), 1, "{pointer}: {errors:?}");
        assert!(errors[0].starts_with(POD_WORDS), "{errors:?}");
    }
    let named = changed("/spec/hostname", json!("h"));
    assert!(named[0].ends_with("\nchanged: spec.hostname"), "{named:?}");
    let more = changed("/spec/containers/-", json!({"name": "d", "image": "x:1"}));
    assert_eq!(more, ["spec.containers: Forbidden: pod updates may not add or remove containers"]);
    let deadline = |seconds: i64| with(pod(), "/spec/activeDeadlineSeconds", json!(seconds));
    assert_eq!(
        updated("v1", "Pod", deadline(5), deadline(6)),
        ["spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value"]
    );
    assert!(updated("v1", "Pod", deadline(6), deadline(5)).is_empty());
    let tolerating = with(pod(), "/spec/tolerations", json!([{"key": "a", "operator": "Exists"}]));
    assert_eq!(
        updated("v1", "Pod", tolerating, pod()),
        ["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"]
    );
}

#[test]
fn gated_pods() {
    let gated = |names: &[&str]| {
        let list: Vec<Value> = names.iter().map(|n| json!({"name": n})).collect();
        with(pod(), "/spec/schedulingGates", json!(list))
    };
    assert!(updated("v1", "Pod", gated(&["a", "b"]), gated(&["b"])).is_empty());
    assert_eq!(
        updated("v1", "Pod", gated(&["a"]), gated(&["a", "b"])),
        ["spec.schedulingGates: Forbidden: only deletion is allowed, but found new scheduling gate"]
    );
    let selecting = with(gated(&["a"]), "/spec/nodeSelector", json!({"a": "b"}));
    assert!(updated("v1", "Pod", gated(&["a"]), selecting).is_empty());
}

#[test]
fn pod_subresources() {
    let gvk = GroupVersionKind::new("", "v1", "Pod");
    let debugged = with(
        pod(),
        "/spec/ephemeralContainers",
        json!([{"name": "d", "image": "i:1", "targetContainerName": "c"}]),
    );
    let (_, old) = prepared("v1", "Pod", pod());
    let (_, new) = prepared("v1", "Pod", debugged.clone());
    let texts = |sub: &str, new: &Value, old: &Value| -> Vec<String> {
        validate_subresource(&gvk, sub, new, old).iter().map(ToString::to_string).collect()
    };
    assert_eq!(texts("ephemeralcontainers", &new, &old), Vec::<String>::new());
    assert!(texts("ephemeralcontainers", &old, &new)[0].contains("may not be removed"));
    let (_, wrong) = prepared(
        "v1",
        "Pod",
        with(debugged, "/spec/ephemeralContainers/0/ports", json!([{"containerPort": 1}])),
    );
    assert!(
        texts("ephemeralcontainers", &wrong, &old)[0].contains("cannot be set for an Ephemeral Container")
    );
    let sized = |cpu: &str| {
        prepared("v1", "Pod", with(pod(), "/spec/containers/0/resources", json!({"requests": {"cpu": cpu}})))
            .1
    };
    assert_eq!(texts("resize", &sized("2"), &sized("1")), Vec::<String>::new());
    assert!(!texts("resize", &old, &sized("1")).is_empty());
    let moved = with(old.clone(), "/spec/nodeName", json!("n"));
    assert_eq!(texts("status", &moved, &old), ["status.nodeName: Forbidden: may not be changed directly"]);
}

#[test]
fn metadata_stays() {
    let named = |name: &str| with(pod(), "/metadata", json!({"name": name, "namespace": "n", "uid": "u"}));
    assert_eq!(
        updated("v1", "Pod", named("a"), named("b")),
        [r#"metadata.name: Invalid value: "b": field is immutable"#]
    );
    let uid = with(named("a"), "/metadata/uid", json!("v"));
    assert_eq!(
        updated("v1", "Pod", named("a"), uid),
        [r#"metadata.uid: Invalid value: "v": field is immutable"#]
    );
    let dying = with(named("a"), "/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"));
    let late = with(dying.clone(), "/metadata/finalizers", json!(["a.b/c"]));
    // Kubernetes lists it twice.
    let why = r#"metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"a.b/c"}"#;
    assert_eq!(updated("v1", "Pod", dying, late), [why, why]);
}

#[test]
fn selectors_stay() {
    let mut other = workload();
    other["spec"]["selector"]["matchLabels"] = json!({"c": "d"});
    other["spec"]["template"]["metadata"]["labels"] = json!({"c": "d"});
    for kind in ["Deployment", "ReplicaSet", "DaemonSet"] {
        assert_eq!(
            updated("apps/v1", kind, workload(), other.clone()),
            [r#"spec.selector: Invalid value: {"matchLabels":{"c":"d"}}: field is immutable"#]
        );
        let scaled = with(workload(), "/spec/minReadySeconds", json!(1));
        assert!(updated("apps/v1", kind, workload(), scaled).is_empty());
    }
    let set =
        updated("apps/v1", "StatefulSet", workload(), with(workload(), "/spec/serviceName", json!("s")));
    assert!(
        set[0].starts_with("spec: Forbidden: updates to statefulset spec for fields other than"),
        "{set:?}"
    );
    assert!(
        updated("apps/v1", "StatefulSet", workload(), with(workload(), "/spec/replicas", json!(3)))
            .is_empty()
    );
}

#[test]
fn jobs() {
    let job = || json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}}});
    assert!(updated("batch/v1", "Job", job(), with(job(), "/spec/parallelism", json!(0))).len() <= 1);
    assert!(updated("batch/v1", "Job", job(), with(job(), "/spec/suspend", json!(true))).is_empty());
    assert_eq!(
        updated("batch/v1", "Job", job(), with(job(), "/spec/completions", json!(3))),
        ["spec.completions: Invalid value: 3: field is immutable"]
    );
    let image = updated(
        "batch/v1",
        "Job",
        job(),
        with(job(), "/spec/template/spec/containers/0/image", json!("x:1")),
    );
    assert!(
        image[0].starts_with("spec.template: Invalid value: ") && image[0].ends_with(": field is immutable"),
        "{image:?}"
    );
    let suspended = || with(job(), "/spec/suspend", json!(true));
    assert!(
        updated(
            "batch/v1",
            "Job",
            suspended(),
            with(suspended(), "/spec/template/spec/nodeSelector", json!({"a": "b"}))
        )
        .is_empty()
    );
}

#[test]
fn services() {
    let service = |ip: &str| json!({"spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": 80}]}});
    assert!(updated("v1", "Service", service("10.0.0.1"), service("10.0.0.1")).is_empty());
    assert_eq!(
        updated("v1", "Service", service("10.0.0.1"), service("10.0.0.2")),
        [r#"spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set"#]
    );
    let name = json!({"spec": {"type": "ExternalName", "externalName": "x.y"}});
    assert!(updated("v1", "Service", service("10.0.0.1"), name).is_empty());
}

#[test]
fn frozen_configuration() {
    let map = |value: &str, frozen: bool| json!({"data": {"a": value}, "immutable": frozen});
    assert!(updated("v1", "ConfigMap", map("x", false), map("y", true)).is_empty());
    assert_eq!(
        updated("v1", "ConfigMap", map("x", true), map("y", false)),
        [
            "immutable: Forbidden: field is immutable when `immutable` is set",
            "data: Forbidden: field is immutable when `immutable` is set"
        ]
    );
    let secret = |kind: &str| json!({"type": kind, "data": {"tls.crt": "eA==", "tls.key": "eA=="}});
    assert_eq!(
        updated("v1", "Secret", secret("Opaque"), secret("kubernetes.io/tls")),
        [r#"type: Invalid value: "kubernetes.io/tls": field is immutable"#]
    );
}

#[test]
fn the_rest() {
    let claim = |size: &str, volume: &str| json!({"spec": {"accessModes": ["ReadWriteOnce"], "volumeName": volume, "resources": {"requests": {"storage": size}}}});
    assert!(updated("v1", "PersistentVolumeClaim", claim("1Gi", ""), claim("1Gi", "v")).is_empty());
    assert!(
        updated("v1", "PersistentVolumeClaim", claim("1Gi", ""), claim("2Gi", ""))[0]
            .starts_with("spec: Forbidden: spec is immutable")
    );
    let class = |value: i64| json!({"value": value});
    assert_eq!(
        updated("scheduling.k8s.io/v1", "PriorityClass", class(1), class(2)),
        ["value: Forbidden: may not be changed in an update."]
    );
    let binding = |role: &str| json!({"roleRef": {"kind": "Role", "name": role}});
    assert_eq!(
        updated("rbac.authorization.k8s.io/v1", "RoleBinding", binding("a"), binding("b")),
        [
            r#"roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"Role","Name":"b"}: cannot change roleRef"#
        ]
    );
    let node = |cidr: &str| json!({"spec": {"podCIDR": cidr}});
    assert!(updated("v1", "Node", json!({}), node("10.0.0.0/24")).is_empty());
    assert_eq!(updated("v1", "Node", node("10.0.0.0/24"), node("10.0.1.0/24")).len(), 1);
    let slice = |kind: &str| json!({"addressType": kind});
    assert_eq!(
        updated("discovery.k8s.io/v1", "EndpointSlice", slice("IPv4"), slice("IPv6")),
        [r#"addressType: Invalid value: "IPv6": field is immutable"#]
    );
}
