//! Defaults against tables, and that they change nothing when applied again.

use serde_json::{Value, json};

use super::*;

fn defaulted(api_version: &str, kind: &str, mut object: Value) -> Value {
    let gvk = GroupVersionKind::from_api_version(api_version, kind);
    apply(&gvk, &mut object);
    let mut again = object.clone();
    apply(&gvk, &mut again);
    assert_eq!(again, object, "{kind}: not idempotent");
    object
}

/// Every field of `want` stands in `found`.
fn contains(found: &Value, want: &Value, path: &str) {
    match (found, want) {
        (Value::Object(found), Value::Object(want)) => {
            for (key, value) in want {
                contains(found.get(key).unwrap_or(&Value::Null), value, &format!("{path}.{key}"));
            }
        }
        (Value::Array(found), Value::Array(want)) => {
            assert_eq!(found.len(), want.len(), "{path}");
            for (index, (found, want)) in found.iter().zip(want).enumerate() {
                contains(found, want, &format!("{path}[{index}]"));
            }
        }
        _ => assert_eq!(found, want, "{path}"),
    }
}

#[test]
fn pod_gets_everything() {
    let pod = defaulted(
        "v1",
        "Pod",
        json!({"spec": {"serviceAccountName": "sa", "containers": [{"name": "c", "image": "nginx",
            "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}, "requests": {"cpu": "100m"}},
            "ports": [{"containerPort": 80}], "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "livenessProbe": {"httpGet": {"port": 80}}, "lifecycle": {"preStop": {"httpGet": {"port": 1}}}}],
            "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}},
                {"name": "h", "hostPath": {"path": "/"}},
                {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}}),
    );
    contains(
        &pod,
        &json!({"spec": {"dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
            "securityContext": {}, "terminationGracePeriodSeconds": 30, "enableServiceLinks": true,
            "serviceAccount": "sa",
            "containers": [{"imagePullPolicy": "Always", "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File", "ports": [{"protocol": "TCP"}],
                "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "1Gi"}},
                "env": [{"valueFrom": {"fieldRef": {"apiVersion": "v1"}}}],
                "livenessProbe": {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
                    "httpGet": {"path": "/", "scheme": "HTTP"}},
                "lifecycle": {"preStop": {"httpGet": {"path": "/", "scheme": "HTTP"}}}}],
            "volumes": [{"emptyDir": {}}, {"secret": {"defaultMode": 420}}, {"hostPath": {"type": ""}},
                {"projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"expirationSeconds": 3600}}]}}]}}),
        "",
    );
}

#[test]
fn templates_keep_their_requests() {
    let template = json!({"spec": {"containers": [{"name": "c", "image": "a:1", "resources": {"limits": {"cpu": "1"}}}]}});
    let deployment = defaulted("apps/v1", "Deployment", json!({"spec": {"template": template}}));
    let spec = &deployment["spec"]["template"]["spec"];
    assert_eq!(spec["containers"][0]["resources"], json!({"limits": {"cpu": "1"}}));
    assert_eq!(spec["containers"][0]["imagePullPolicy"], "IfNotPresent");
    assert_eq!(spec.get("enableServiceLinks"), None);
    contains(
        &deployment,
        &json!({"spec": {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}}}),
        "",
    );
}

#[test]
fn each_kind() {
    for (api_version, kind, object, want) in [
        ("apps/v1", "ReplicaSet", json!({}), json!({"spec": {"replicas": 1}})),
        (
            "apps/v1",
            "Deployment",
            json!({"spec": {"replicas": 0, "strategy": {"type": "Recreate"}}}),
            json!({"spec": {"replicas": 0, "strategy": {"type": "Recreate", "rollingUpdate": null}}}),
        ),
        (
            "apps/v1",
            "DaemonSet",
            json!({}),
            json!({"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}}}),
        ),
        (
            "apps/v1",
            "StatefulSet",
            json!({"spec": {"volumeClaimTemplates": [{"spec": {}}]}}),
            json!({"spec": {"podManagementPolicy": "OrderedReady", "updateStrategy": {"rollingUpdate": {"partition": 0}},
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
                "volumeClaimTemplates": [{"kind": "PersistentVolumeClaim", "spec": {"volumeMode": "Filesystem"}, "status": {"phase": "Pending"}}]}}),
        ),
        (
            "batch/v1",
            "Job",
            json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}),
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"completions": 1, "parallelism": 1, "backoffLimit": 6,
                "completionMode": "NonIndexed", "suspend": false, "podReplacementPolicy": "TerminatingOrFailed"}}),
        ),
        (
            "batch/v1",
            "Job",
            json!({"spec": {"parallelism": 3}}),
            json!({"spec": {"completions": null, "parallelism": 3}}),
        ),
        (
            "batch/v1",
            "CronJob",
            json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {}}}}}}),
            json!({"spec": {"concurrencyPolicy": "Allow", "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1,
                "jobTemplate": {"spec": {"backoffLimit": null, "template": {"spec": {"dnsPolicy": "ClusterFirst"}}}}}}),
        ),
        (
            "v1",
            "Service",
            json!({"spec": {"ports": [{"port": 80}, {"port": 1, "targetPort": "http"}]}}),
            json!({"spec": {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": null,
                "ports": [{"protocol": "TCP", "targetPort": 80}, {"targetPort": "http"}]}}),
        ),
        (
            "v1",
            "Service",
            json!({"spec": {"type": "LoadBalancer", "sessionAffinity": "ClientIP"}}),
            json!({"spec": {"externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": true,
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}}}),
        ),
        (
            "v1",
            "Service",
            json!({"spec": {"type": "ExternalName"}}),
            json!({"spec": {"internalTrafficPolicy": null}}),
        ),
        (
            "v1",
            "Secret",
            json!({"data": {"a": "eA==", "b": "eA=="}, "stringData": {"b": "hello"}}),
            json!({"type": "Opaque", "stringData": null, "data": {"a": "eA==", "b": "aGVsbG8="}}),
        ),
        (
            "v1",
            "Namespace",
            json!({"metadata": {"name": "n"}}),
            json!({"metadata": {"labels": {"kubernetes.io/metadata.name": "n"}}, "status": {"phase": "Active"}}),
        ),
        (
            "v1",
            "Node",
            json!({"spec": {"podCIDR": "10.0.0.0/24"}, "status": {"capacity": {"cpu": 2}}}),
            json!({"spec": {"podCIDRs": ["10.0.0.0/24"]}, "status": {"allocatable": {"cpu": "2"}}}),
        ),
        (
            "v1",
            "PersistentVolume",
            json!({"spec": {"capacity": {"storage": "1024Mi"}, "hostPath": {"path": "/x"}}}),
            json!({"spec": {"volumeMode": "Filesystem", "persistentVolumeReclaimPolicy": "Retain", "capacity": {"storage": "1Gi"}, "hostPath": {"type": ""}}}),
        ),
        (
            "v1",
            "LimitRange",
            json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}, "min": {"memory": "1Mi"}}]}}),
            json!({"spec": {"limits": [{"default": {"cpu": "1"}, "defaultRequest": {"cpu": "1", "memory": "1Mi"}}]}}),
        ),
        (
            "v1",
            "ReplicationController",
            json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}),
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"selector": {"a": "b"}, "replicas": 1}}),
        ),
        (
            "networking.k8s.io/v1",
            "NetworkPolicy",
            json!({"spec": {"egress": [{"ports": [{"port": 1}]}]}}),
            json!({"spec": {"policyTypes": ["Ingress", "Egress"], "egress": [{"ports": [{"protocol": "TCP"}]}]}}),
        ),
        (
            "discovery.k8s.io/v1",
            "EndpointSlice",
            json!({"ports": [{"port": 1}]}),
            json!({"ports": [{"name": "", "protocol": "TCP"}]}),
        ),
        (
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s"}]}),
            json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io"}, "subjects": [{"apiGroup": "rbac.authorization.k8s.io"}, {"apiGroup": null}]}),
        ),
        (
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            json!({"spec": {"behavior": {}}}),
            json!({"spec": {"minReplicas": 1, "metrics": [{"resource": {"name": "cpu"}}], "behavior": {"scaleUp": {"selectPolicy": "Max"}}}}),
        ),
        (
            "autoscaling/v1",
            "HorizontalPodAutoscaler",
            json!({"spec": {}}),
            json!({"spec": {"minReplicas": 1, "metrics": null}}),
        ),
        (
            "storage.k8s.io/v1",
            "StorageClass",
            json!({}),
            json!({"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}),
        ),
        (
            "scheduling.k8s.io/v1",
            "PriorityClass",
            json!({}),
            json!({"preemptionPolicy": "PreemptLowerPriority"}),
        ),
        (
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            json!({"spec": {"names": {"kind": "FooBar"}}}),
            json!({"spec": {"names": {"singular": "foobar", "listKind": "FooBarList"}, "conversion": {"strategy": "None"}}}),
        ),
        (
            "admissionregistration.k8s.io/v1",
            "MutatingWebhookConfiguration",
            json!({"webhooks": [{"clientConfig": {"service": {}}, "rules": [{}]}]}),
            json!({"webhooks": [{"failurePolicy": "Fail", "timeoutSeconds": 10, "reinvocationPolicy": "Never",
                "clientConfig": {"service": {"port": 443}}, "rules": [{"scope": "*"}]}]}),
        ),
        ("v1", "ConfigMap", json!({"data": {}}), json!({"data": {}})),
    ] {
        contains(&defaulted(api_version, kind, object), &want, kind);
    }
}

#[test]
fn wrong_types_are_left_alone() {
    let wrong = [
        json!(null),
        json!(1),
        json!("x"),
        json!([1]),
        json!({"a": 1}),
        json!({"spec": [{}], "metadata": 3, "status": "x"}),
    ];
    let nested = json!({"spec": {"template": {"spec": {"containers": {"a": 1}, "volumes": [1, null, {"secret": 3}]}},
        "containers": [{"resources": {"limits": 3, "requests": []}, "ports": [null], "env": [{"valueFrom": 1}]}],
        "strategy": 1, "updateStrategy": [], "ports": 3, "metrics": {}, "limits": [1]}, "stringData": {"a": 1}, "data": 1});
    for object in wrong.into_iter().chain([nested]) {
        for (group, kind) in [
            ("v1", "Pod"),
            ("v1", "Service"),
            ("v1", "Secret"),
            ("v1", "Namespace"),
            ("v1", "Node"),
            ("v1", "LimitRange"),
            ("v1", "PersistentVolume"),
            ("v1", "PersistentVolumeClaim"),
            ("v1", "ReplicationController"),
            ("apps/v1", "Deployment"),
            ("apps/v1", "StatefulSet"),
            ("apps/v1", "DaemonSet"),
            ("batch/v1", "Job"),
            ("batch/v1", "CronJob"),
            ("autoscaling/v2", "HorizontalPodAutoscaler"),
            ("networking.k8s.io/v1", "NetworkPolicy"),
            ("rbac.authorization.k8s.io/v1", "RoleBinding"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ] {
            let mut object = defaulted(group, kind, object.clone());
            create(&GroupVersionKind::from_api_version(group, kind), &mut object);
        }
    }
}

#[test]
fn pull_policies() {
    for (image, want) in [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1", "IfNotPresent"),
        ("host:5000/nginx", "Always"),
        ("host:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:00", "IfNotPresent"),
        ("nginx:latest@sha256:00", "Always"),
        ("", "Always"),
    ] {
        assert_eq!(image_pull_policy(image), want, "{image}");
    }
}

#[test]
fn classes_of_service() {
    let spec = |resources: Value| json!({"containers": [{"resources": resources}]});
    for (resources, want) in [
        (json!({}), "BestEffort"),
        (json!({"requests": {"cpu": "0"}}), "BestEffort"),
        (json!({"requests": {"cpu": "1"}}), "Burstable"),
        (json!({"limits": {"cpu": "1", "memory": "1"}}), "Guaranteed"),
        (
            json!({"limits": {"cpu": "1", "memory": "1"}, "requests": {"cpu": "1000m", "memory": "1"}}),
            "Guaranteed",
        ),
        (
            json!({"limits": {"cpu": "1", "memory": "1"}, "requests": {"cpu": "1m", "memory": "1"}}),
            "Burstable",
        ),
        (json!({"limits": {"cpu": "1"}}), "Burstable"),
    ] {
        assert_eq!(qos_class(&spec(resources.clone())), want, "{resources}");
    }
}

#[test]
fn requests_count_init_containers_as_kubernetes_does() {
    let container = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
    let mut sidecar = container("100m");
    sidecar["restartPolicy"] = json!("Always");
    let asks = |spec: Value| pod_requests(&spec, "cpu").map(|q| q.to_string());
    assert_eq!(asks(json!({"containers": [{}]})), None);
    assert_eq!(asks(json!({"containers": [container("1"), container("1")]})), Some("2".into()));
    assert_eq!(
        asks(json!({"containers": [container("1")], "initContainers": [container("3")]})),
        Some("3".into())
    );
    let with_sidecar = json!({"containers": [container("1")], "initContainers": [sidecar, container("2")], "overhead": {"cpu": "1m"}});
    assert_eq!(asks(with_sidecar), Some("2101m".into()));
}

#[test]
fn creation() {
    let job_kind = GroupVersionKind::new("batch", "v1", "Job");
    let mut job = json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": {}}});
    create(&job_kind, &mut job);
    assert_eq!(job["spec"]["selector"]["matchLabels"], json!({"batch.kubernetes.io/controller-uid": "u"}));
    assert_eq!(job["spec"]["template"]["metadata"]["labels"]["job-name"], "j");
    let mut manual =
        json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"manualSelector": true, "template": {}}});
    create(&job_kind, &mut manual);
    assert_eq!(manual["spec"].get("selector"), None);
    let mut namespace = json!({"metadata": {"name": "n"}});
    create(&GroupVersionKind::new("", "v1", "Namespace"), &mut namespace);
    assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
    let mut pod = json!({"spec": {}});
    create(&GroupVersionKind::new("", "v1", "Pod"), &mut pod);
    assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
}
