//! Pods that are created.

use super::*;

#[test]
fn a_full_pod_is_right() {
    let pod = json!({"metadata": {"name": "p.x", "namespace": "n", "labels": {"app.kubernetes.io/name": "x"}, "annotations": {"Any/thing": "at all"}},
        "spec": {
        "initContainers": [{"name": "i", "image": "i"}, {"name": "s", "image": "i", "restartPolicy": "Always", "readinessProbe": {"tcpSocket": {"port": 1}}}],
        "containers": [{"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 80, "hostPort": 80}],
            "env": [{"name": "A", "value": "b"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}},
                {"name": "C", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}}],
            "envFrom": [{"configMapRef": {"name": "c"}}],
            "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "a/b"}, {"name": "t", "mountPath": "/t"}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi", "example.com/gpu": "1"}},
            "livenessProbe": {"httpGet": {"port": "http"}}, "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
            "securityContext": {"runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}}],
        "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "t", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "c", "items": [{"key": "k", "path": "a/b"}]}},
            {"downwardAPI": {"items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]}}],
        "tolerations": [{"operator": "Exists"}, {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions":
            [{"key": "a", "operator": "In", "values": ["b"]}], "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]}}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
        "nodeSelector": {"a": "b"}, "hostname": "h", "imagePullSecrets": [{"name": "s"}]}});
    assert_eq!(created("v1", "Pod", pod), Vec::<String>::new());
}

#[test]
fn one_thing_wrong_each() {
    for (pointer, value, want) in [
        ("/spec/containers", json!([]), r#"spec.containers: Required value"#.to_owned()),
        ("/spec/containers/0/name", json!(""), "spec.containers[0].name: Required value".into()),
        ("/spec/containers/0/image", json!(""), "spec.containers[0].image: Required value".into()),
        ("/spec/containers/0/image", json!(" a"), r#"spec.containers[0].image: Invalid value: " a": must not have leading or trailing whitespace"#.into()),
        ("/spec/containers/-", json!({"name": "c", "image": "x"}), r#"spec.containers[1].name: Duplicate value: "c""#.into()),
        ("/spec/initContainers", json!([{"name": "c", "image": "x"}]), r#"spec.initContainers[0].name: Duplicate value: "c""#.into()),
        ("/spec/initContainers", json!([{"name": "i", "image": "x", "livenessProbe": {"tcpSocket": {"port": 1}}}]),
            "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always".into()),
        ("/spec/containers/0/name", json!("A_b"), format!("spec.containers[0].name: Invalid value: \"A_b\": {}", syntax::dns_label("A_b")[0])),
        ("/spec/restartPolicy", json!("Sometimes"), r#"spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never""#.into()),
        ("/spec/dnsPolicy", json!("X"), r#"spec.dnsPolicy: Unsupported value: "X": supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None""#.into()),
        ("/spec/dnsPolicy", json!("None"), "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None".into()),
        ("/spec/activeDeadlineSeconds", json!(0), "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive".into()),
        ("/spec/ephemeralContainers", json!([{"name": "e", "image": "i"}]), "spec.ephemeralContainers: Forbidden: cannot be set on create".into()),
        ("/spec/volumes", json!([{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]), r#"spec.volumes[1].name: Duplicate value: "v""#.into()),
        ("/spec/volumes", json!([{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]), "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type".into()),
        ("/spec/volumes", json!([{"name": "v", "hostPath": {"path": ""}}]), "spec.volumes[0].hostPath.path: Required value".into()),
        ("/spec/volumes", json!([{"name": "v", "hostPath": {"path": "/a/../b"}}]), r#"spec.volumes[0].hostPath.path: Invalid value: "/a/../b": must not contain '..'"#.into()),
        ("/spec/volumes", json!([{"name": "v", "secret": {}}]), "spec.volumes[0].secret.secretName: Required value".into()),
        ("/spec/volumes", json!([{"name": "v", "secret": {"secretName": "s", "defaultMode": 512}}]),
            "spec.volumes[0].secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive".into()),
        ("/spec/volumes", json!([{"name": "v", "unknown": {}}]), "spec.volumes[0]: Required value: must specify a volume type".into()),
        ("/spec/tolerations", json!([{"key": "a", "operator": "Like"}]), r#"spec.tolerations[0].operator: Unsupported value: "Like": supported values: "Equal", "Exists""#.into()),
        ("/spec/tolerations", json!([{"value": "a"}]),
            r#"spec.tolerations[0].operator: Invalid value: "": operator must be Exists when `key` is empty, which means "match all values and all keys""#.into()),
        ("/spec/affinity", json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}),
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term".into()),
        ("/spec/hostAliases", json!([{"ip": "x"}]), r#"spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#.into()),
        ("/spec/securityContext", json!({"runAsUser": -1}), "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive".into()),
        ("/spec/containers/0/ports", json!([{"containerPort": 0}]), "spec.containers[0].ports[0].containerPort: Required value".into()),
        ("/spec/containers/0/ports", json!([{"containerPort": 65536}]), "spec.containers[0].ports[0].containerPort: Invalid value: 65536: must be between 1 and 65535, inclusive".into()),
        ("/spec/containers/0/ports", json!([{"containerPort": 1, "protocol": "X"}]), r#"spec.containers[0].ports[0].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP""#.into()),
        ("/spec/containers/0/ports", json!([{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]), r#"spec.containers[0].ports[1].name: Duplicate value: "a""#.into()),
        ("/spec/containers/0/ports", json!([{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}]), r#"spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//9""#.into()),
        ("/spec/containers/0/env", json!([{"name": ""}]), "spec.containers[0].env[0].name: Required value".into()),
        ("/spec/containers/0/env", json!([{"name": "a=b"}]),
            r#"spec.containers[0].env[0].name: Invalid value: "a=b": a valid environment variable name must consist only of printable ASCII characters other than '='"#.into()),
        ("/spec/containers/0/env", json!([{"name": "a", "value": "b", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
            r#"spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty"#.into()),
        ("/spec/containers/0/env", json!([{"name": "a", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}, "configMapKeyRef": {"name": "s", "key": "k"}}}]),
            r#"spec.containers[0].env[0].valueFrom: Invalid value: "": may not have more than one field specified at a time"#.into()),
        ("/spec/containers/0/volumeMounts", json!([{"name": "gone", "mountPath": "/x"}]), r#"spec.containers[0].volumeMounts[0].name: Not found: "gone""#.into()),
        ("/spec/containers/0/livenessProbe", json!({}), "spec.containers[0].livenessProbe: Required value: must specify a handler type".into()),
        ("/spec/containers/0/livenessProbe", json!({"exec": {"command": ["a"]}, "tcpSocket": {"port": 1}}),
            "spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type".into()),
        ("/spec/containers/0/livenessProbe", json!({"exec": {"command": ["a"]}, "successThreshold": 2}), "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1".into()),
        ("/spec/containers/0/readinessProbe", json!({"httpGet": {"port": 0}}), "spec.containers[0].readinessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive".into()),
        ("/spec/containers/0/lifecycle", json!({"postStart": {}}), "spec.containers[0].lifecycle.postStart: Required value: must specify a handler type".into()),
        ("/spec/containers/0/imagePullPolicy", json!("X"), r#"spec.containers[0].imagePullPolicy: Unsupported value: "X": supported values: "Always", "IfNotPresent", "Never""#.into()),
        ("/spec/containers/0/resources", json!({"limits": {"cpu": "100m"}, "requests": {"cpu": "200m"}}),
            r#"spec.containers[0].resources.requests: Invalid value: "200m": must be less than or equal to cpu limit of 100m"#.into()),
        ("/spec/containers/0/resources", json!({"requests": {"cpu": "-1"}}), r#"spec.containers[0].resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0"#.into()),
        ("/spec/containers/0/resources", json!({"requests": {"memory": "1GB"}}),
            r#"spec.containers[0].resources.requests[memory]: Invalid value: "1GB": quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"#.into()),
        ("/spec/containers/0/resources", json!({"requests": {"a.b/c": "1"}}), "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources".into()),
        ("/spec/containers/0/securityContext", json!({"privileged": true, "allowPrivilegeEscalation": false}),
            r#"spec.containers[0].securityContext: Invalid value: {"allowPrivilegeEscalation":false,"privileged":true}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true"#.into()),
    ] {
        assert_eq!(created("v1", "Pod", with(pod(), pointer, value.clone())), [want], "{pointer} {value}");
    }
}

#[test]
fn mounts_share_paths() {
    let pod = with(pod(), "/spec/volumes", json!([{"name": "v", "emptyDir": {}}]));
    for (mounts, want) in [
        (json!([{"name": "v"}]), "spec.containers[0].volumeMounts[0].mountPath: Required value"),
        (
            json!([{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a"}]),
            r#"spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique"#,
        ),
        (
            json!([{"name": "v", "mountPath": "/a", "subPath": "/b"}]),
            r#"spec.containers[0].volumeMounts.subPath: Invalid value: "/b": must be a relative path"#,
        ),
        (
            json!([{"name": "v", "mountPath": "/a", "subPath": "b/.."}]),
            r#"spec.containers[0].volumeMounts.subPath: Invalid value: "b/..": must not contain '..'"#,
        ),
    ] {
        assert_eq!(
            created("v1", "Pod", with(pod.clone(), "/spec/containers/0/volumeMounts", mounts)),
            [want]
        );
    }
}

#[test]
fn metadata() {
    let check = |metadata: Value| created("v1", "Pod", with(pod(), "/metadata", metadata));
    let subdomain = &syntax::dns_subdomain("A")[0];
    for (metadata, want) in [
        (json!({}), "metadata.name: Required value: name or generateName is required".to_owned()),
        (json!({"name": "A"}), format!("metadata.name: Invalid value: \"A\": {subdomain}")),
        (json!({"generateName": "A-"}), format!("metadata.generateName: Invalid value: \"A-\": {subdomain}")),
        (json!({"name": "a", "labels": {"a b": "c"}}), format!("metadata.labels: Invalid value: \"a b\": {}", syntax::qualified_name("a b")[0])),
        (json!({"name": "a", "labels": {"a": "c d"}}), format!("metadata.labels: Invalid value: \"c d\": {}", syntax::label_value("c d")[0])),
        (json!({"name": "a", "annotations": {"a": "x".repeat(262_144)}}), "metadata.annotations: Too long: may not be more than 262144 bytes".into()),
        (json!({"name": "a", "finalizers": ["mine"]}), r#"metadata.finalizers[0]: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified"#.into()),
        (json!({"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}), r#"metadata.ownerReferences.uid: Invalid value: "": must not be empty"#.into()),
    ] {
        assert_eq!(check(metadata.clone()), [want], "{metadata}");
    }
    assert!(check(json!({"generateName": "a-"})).is_empty());
    assert!(check(json!({"name": "a", "finalizers": ["example.com/mine", "foregroundDeletion"]})).is_empty());
    let owner =
        |name: &str| json!({"apiVersion": "v1", "kind": "X", "name": name, "uid": "u", "controller": true});
    let two = check(json!({"name": "a", "ownerReferences": [owner("x"), owner("y")]}));
    assert!(two[0].contains("Only one reference can have Controller set to true"), "{two:?}");
    // Custom resources may have any finalizer, and their spec is somebody else's.
    assert!(
        created(
            "example.com/v1",
            "Thing",
            json!({"metadata": {"name": "a", "finalizers": ["mine"]}, "spec": 3})
        )
        .is_empty()
    );
    let namespace = created("v1", "Namespace", json!({"metadata": {"name": "a.b"}}));
    // The name is a label's value as well, and fits there.
    assert_eq!(namespace, [r#"metadata.name: Invalid value: "a.b": must not contain dots"#]);
    assert!(
        created("rbac.authorization.k8s.io/v1", "ClusterRole", json!({"metadata": {"name": "system:x:Y"}}))
            .is_empty()
    );
}
