//! Objects other than pods that are created.

use super::*;

#[test]
fn right_objects() {
    let crd = json!({"metadata": {"name": "things.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    let set = json!({"spec": {"serviceName": "s", "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i",
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]}});
    for (api_version, kind, object) in [
        ("apps/v1", "Deployment", workload()),
        ("apps/v1", "ReplicaSet", workload()),
        ("apps/v1", "DaemonSet", workload()),
        ("apps/v1", "StatefulSet", set),
        ("v1", "ReplicationController", json!({"spec": {"template": template()}})),
        (
            "batch/v1",
            "Job",
            json!({"spec": {"template": with(template(), "/spec/restartPolicy", json!("Never"))}}),
        ),
        (
            "batch/v1",
            "CronJob",
            json!({"spec": {"schedule": "*/5 * * * *", "timeZone": "Europe/Berlin",
            "jobTemplate": {"spec": {"template": with(template(), "/spec/restartPolicy", json!("OnFailure"))}}}}),
        ),
        (
            "v1",
            "Service",
            json!({"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b", "targetPort": "http"}]}}),
        ),
        ("v1", "Service", json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}})),
        ("v1", "Service", json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30000}]}})),
        ("v1", "Service", json!({"spec": {"type": "ExternalName", "externalName": "a.example.com."}})),
        ("v1", "ConfigMap", json!({"data": {"a.b": "x"}, "binaryData": {"c": "eA=="}})),
        ("v1", "Secret", json!({"stringData": {"a": "b"}})),
        ("v1", "Namespace", json!({"metadata": {"name": "n"}})),
        (
            "v1",
            "Node",
            json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}], "podCIDR": "10.0.0.0/24"}, "status": {"capacity": {"cpu": "4"}}}),
        ),
        (
            "v1",
            "PersistentVolume",
            json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}}),
        ),
        (
            "v1",
            "ResourceQuota",
            json!({"spec": {"hard": {"pods": "10", "requests.cpu": "1", "count/deployments.apps": "3"}}}),
        ),
        (
            "v1",
            "LimitRange",
            json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}}]}}),
        ),
        ("v1", "ServiceAccount", json!({})),
        (
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            json!({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}, {"verbs": ["*"], "apiGroups": [""], "resources": ["pods"]}]}),
        ),
        (
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            json!({"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]}),
        ),
        (
            "coordination.k8s.io/v1",
            "Lease",
            json!({"spec": {"holderIdentity": "h", "leaseDurationSeconds": 40}}),
        ),
        (
            "discovery.k8s.io/v1",
            "EndpointSlice",
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]}),
        ),
        (
            "policy/v1",
            "PodDisruptionBudget",
            json!({"spec": {"minAvailable": "50%", "selector": {"matchLabels": {"a": "b"}}}}),
        ),
        (
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "behavior": {}}}),
        ),
        ("scheduling.k8s.io/v1", "PriorityClass", json!({"value": 1000})),
        ("storage.k8s.io/v1", "StorageClass", json!({"provisioner": "p"})),
        (
            "networking.k8s.io/v1",
            "Ingress",
            json!({"spec": {"rules": [{"host": "*.a.b", "http": {"paths": [{"path": "/", "pathType": "Prefix",
            "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}}),
        ),
        (
            "networking.k8s.io/v1",
            "NetworkPolicy",
            json!({"spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 80, "endPort": 90}]}]}}),
        ),
        (
            "certificates.k8s.io/v1",
            "CertificateSigningRequest",
            json!({"spec": {"request": REQUEST, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}}),
        ),
        ("node.k8s.io/v1", "RuntimeClass", json!({"handler": "wasm"})),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition", crd),
        ("example.com/v1", "Thing", json!({"spec": {"containers": 3}})),
        ("authorization.k8s.io/v1", "SubjectAccessReview", json!({"metadata": {}, "spec": {"user": "u"}})),
    ] {
        assert_eq!(created(api_version, kind, object), Vec::<String>::new(), "{kind}");
    }
}

/// `-----BEGIN CERTIFICATE REQUEST-----`.
const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0=";

#[test]
fn workloads() {
    const MISMATCH: &str = "`selector` does not match template `labels`";
    let deployment =
        |pointer: &str, value: Value| created("apps/v1", "Deployment", with(workload(), pointer, value));
    assert_eq!(
        deployment("/spec/selector", json!(null)),
        [
            "spec.selector: Required value".to_owned(),
            format!(r#"spec.template.metadata.labels: Invalid value: {{"a":"b"}}: {MISMATCH}"#)
        ]
    );
    for (pointer, value, want) in [
        ("/spec/selector/matchLabels", json!({"a": "c"}), format!(r#"spec.template.metadata.labels: Invalid value: {{"a":"b"}}: {MISMATCH}"#)),
        ("/spec/selector", json!({}), "spec.selector: Invalid value: {}: empty selector is invalid for deployment".into()),
        ("/spec/replicas", json!(-1), "spec.replicas: Invalid value: -1: must be greater than or equal to 0".into()),
        ("/spec/strategy", json!({"type": "X"}), r#"spec.strategy: Unsupported value: {"type":"X"}: supported values: "Recreate", "RollingUpdate""#.into()),
        ("/spec/strategy", json!({"type": "Recreate", "rollingUpdate": {}}), "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'".into()),
        ("/spec/strategy", json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}), r#"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `maxSurge` is 0"#.into()),
        ("/spec/strategy", json!({"rollingUpdate": {"maxUnavailable": "101%"}}), r#"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%"#.into()),
        ("/spec/strategy", json!({"rollingUpdate": {"maxSurge": "x"}}), format!("spec.strategy.rollingUpdate.maxSurge: Invalid value: \"x\": {}", syntax::percent("x")[0])),
        ("/spec/progressDeadlineSeconds", json!(0), "spec.progressDeadlineSeconds: Invalid value: 0: must be greater than minReadySeconds".into()),
        ("/spec/template/spec/restartPolicy", json!("Never"), r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#.into()),
        ("/spec/template/spec/containers", json!([]), "spec.template.spec.containers: Required value".into()),
        ("/spec/template/spec/containers/0/image", json!(""), "spec.template.spec.containers[0].image: Required value".into()),
    ] {
        assert_eq!(deployment(pointer, value.clone()), [want], "{pointer} {value}");
    }
    let job = created("batch/v1", "Job", json!({"spec": {"template": template()}}));
    assert_eq!(
        job,
        [r#"spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#]
    );
    let cron = |name: &str, schedule: &str| {
        let template = with(template(), "/spec/restartPolicy", json!("Never"));
        created(
            "batch/v1",
            "CronJob",
            json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"schedule": schedule, "jobTemplate": {"spec": {"template": template}}}}),
        )
    };
    assert_eq!(cron("c", ""), ["spec.schedule: Required value"]);
    assert_eq!(
        cron("c", "x y"),
        [r#"spec.schedule: Invalid value: "x y": expected exactly 5 fields, found 2: [x y]"#]
    );
    assert_eq!(cron(&"c".repeat(53), "@daily").len(), 1);
}

#[test]
fn services() {
    let service = |spec: Value| created("v1", "Service", json!({ "spec": spec }));
    for (spec, want) in [
        (json!({}), "spec.ports: Required value".to_owned()),
        (json!({"ports": [{"port": 0, "targetPort": 1}]}), "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive".into()),
        (json!({"ports": [{"port": 1, "name": "a"}, {"port": 2}]}), "spec.ports[1].name: Required value".into()),
        (json!({"ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]}), r#"spec.ports[1].name: Duplicate value: "a""#.into()),
        (json!({"ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]}), r#"spec.ports[1]: Duplicate value: {"port":1,"protocol":"TCP"}"#.into()),
        (json!({"ports": [{"port": 1, "nodePort": 30000}]}), "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'".into()),
        (json!({"type": "X", "ports": [{"port": 1}]}), r#"spec.type: Unsupported value: "X": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort""#.into()),
        (json!({"clusterIP": "x", "clusterIPs": ["x"], "ports": [{"port": 1}]}), r#"spec.clusterIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#.into()),
        (json!({"clusterIP": "None", "clusterIPs": ["None"], "type": "LoadBalancer", "ports": [{"port": 1}]}), r#"spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for LoadBalancer services"#.into()),
        (json!({"type": "ExternalName"}), "spec.externalName: Required value".into()),
        (json!({"ports": [{"port": 1}], "externalTrafficPolicy": "Local"}), r#"spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services"#.into()),
        (json!({"ports": [{"port": 1}], "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}}),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less than 86400".into()),
    ] {
        assert_eq!(service(spec.clone()), [want], "{spec}");
    }
    let named = |name: &str| {
        created(
            "v1",
            "Service",
            json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"ports": [{"port": 1}]}}),
        )
    };
    // Kubernetes 1.36 lets names of services start with a digit.
    assert!(named("1kubernetes").is_empty());
    assert_eq!(named("a.b"), [r#"metadata.name: Invalid value: "a.b": must not contain dots"#]);
}

#[test]
fn one_thing_wrong_each() {
    for (api_version, kind, object, want) in [
        ("v1", "ConfigMap", json!({"data": {"a/b": "x"}}), format!("data[a/b]: Invalid value: \"a/b\": {}", syntax::config_key("a/b")[0])),
        ("v1", "ConfigMap", json!({"data": {"a": "x".repeat(1_048_577)}}), "[]: Too long: may not be more than 1048576 bytes".into()),
        ("v1", "Secret", json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "eA=="}}), "data[tls.key]: Required value".into()),
        ("v1", "Secret", json!({"data": {"a": "not base64!"}}), r#"data[a]: Invalid value: "<value omitted>": must be base64 encoded"#.into()),
        ("v1", "Secret", json!({"type": "kubernetes.io/service-account-token"}), "metadata.annotations[kubernetes.io/service-account.name]: Required value".into()),
        ("v1", "Secret", json!({"stringData": {"a": "x".repeat(1_048_577)}}), "data: Too long: may not be more than 1048576 bytes".into()),
        ("v1", "Node", json!({"spec": {"taints": [{"key": "a", "effect": "X"}]}}),
            r#"metadata.taints[0].effect: Unsupported value: "X": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute""#.into()),
        ("v1", "PersistentVolumeClaim", json!({"spec": {"resources": {"requests": {"storage": "1"}}}}), "spec.accessModes: Required value: at least 1 access mode is required".into()),
        ("v1", "PersistentVolumeClaim", json!({"spec": {"accessModes": ["ReadWriteOnce"]}}), "spec.resources[storage]: Required value".into()),
        ("v1", "ResourceQuota", json!({"spec": {"hard": {"pods": "-1"}}}), r#"spec.hard[pods]: Invalid value: "-1": must be greater than or equal to 0"#.into()),
        ("v1", "LimitRange", json!({"spec": {"limits": [{"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]}}),
            r#"spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1"#.into()),
        ("rbac.authorization.k8s.io/v1", "Role", json!({"rules": [{"apiGroups": [""], "resources": ["pods"]}]}), "rules[0].verbs: Required value: verbs must contain at least one value".into()),
        ("rbac.authorization.k8s.io/v1", "Role", json!({"rules": [{"verbs": ["get"], "resources": ["pods"]}]}), "rules[0].apiGroups: Required value: resource rules must supply at least one api group".into()),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", json!({"roleRef": {"kind": "Role", "name": "r"}}), r#"roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole""#.into()),
        ("rbac.authorization.k8s.io/v1", "RoleBinding", json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": ""}]}), "subjects[0].name: Required value".into()),
        ("coordination.k8s.io/v1", "Lease", json!({"spec": {"leaseDurationSeconds": 0}}), "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0".into()),
        ("discovery.k8s.io/v1", "EndpointSlice", json!({"addressType": "IPv4", "endpoints": [{"addresses": ["fd00::1"]}]}), r#"endpoints[0].addresses: Invalid value: "fd00::1": must be an IPv4 address"#.into()),
        ("discovery.k8s.io/v1", "EndpointSlice", json!({"addressType": "IPv4", "ports": [{"port": 1}, {"port": 2}]}), r#"ports[1].name: Duplicate value: """#.into()),
        ("policy/v1", "PodDisruptionBudget", json!({"spec": {"minAvailable": "x%"}}), format!("spec.minAvailable: Invalid value: \"x%\": {}", syntax::percent("x%")[0])),
        ("autoscaling/v2", "HorizontalPodAutoscaler", json!({"spec": {"minReplicas": 3, "maxReplicas": 2, "scaleTargetRef": {"apiVersion": "a/v1", "kind": "D", "name": "d"}}}),
            "spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`".into()),
        ("scheduling.k8s.io/v1", "PriorityClass", json!({"value": 1_000_000_001}), "value: Forbidden: maximum allowed value of a user defined priority is 1000000000".into()),
        ("networking.k8s.io/v1", "Ingress", json!({"spec": {"ingressClassName": "a"}}), r#"spec: Invalid value: {"ingressClassName":"a"}: either `defaultBackend` or `rules` must be specified"#.into()),
        ("networking.k8s.io/v1", "NetworkPolicy", json!({"spec": {"ingress": [{"from": [{}]}]}}), "spec.ingress[0].from[0]: Required value: must specify a peer".into()),
        ("storage.k8s.io/v1", "StorageClass", json!({}), "provisioner: Required value".into()),
        ("certificates.k8s.io/v1", "CertificateSigningRequest", json!({"spec": {"request": REQUEST, "signerName": "a.b/c"}}), "spec.usages: Required value".into()),
        ("node.k8s.io/v1", "RuntimeClass", json!({}), "handler: Required value".into()),
    ] {
        assert_eq!(created(api_version, kind, object), [want], "{kind}");
    }
}
