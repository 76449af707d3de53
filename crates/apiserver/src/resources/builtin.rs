//! The built-in resources of Kubernetes 1.36 that this server serves, and our own, a row each.
//!
//! Order matters: groups and versions are listed to clients in the order in which they first appear here.

use super::{Resource, Sub};

const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const CREATE: &[&str] = &["create"];
const GET: &[&str] = &["get"];
const UPDATE: &[&str] = &["update"];
const GPU: &[&str] = &["get", "patch", "update"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];
const STREAM: &[&str] = &["create", "get"];

const fn sub(
    name: &'static str,
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    verbs: &'static [&'static str],
) -> Sub {
    Sub { name, group, version, kind, verbs }
}

const fn row(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    stored: &'static str,
) -> Resource {
    Resource {
        group,
        version,
        kind,
        plural,
        singular,
        short: &[],
        categories: &[],
        namespaced: true,
        verbs: ALL,
        subs: &[],
        stored,
        generation: false,
    }
}

const fn cluster(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    stored: &'static str,
) -> Resource {
    let mut resource = row(group, version, kind, plural, singular, stored);
    resource.namespaced = false;
    resource
}

/// Every built-in resource.
pub static BUILTIN: &[Resource] = &[
    Resource {
        short: &["po"],
        categories: &["all"],
        subs: &[
            sub("attach", "", "v1", "PodAttachOptions", STREAM),
            sub("binding", "", "v1", "Binding", CREATE),
            sub("ephemeralcontainers", "", "v1", "Pod", GPU),
            sub("eviction", "policy", "v1", "Eviction", CREATE),
            sub("exec", "", "v1", "PodExecOptions", STREAM),
            sub("log", "", "v1", "Pod", GET),
            sub("portforward", "", "v1", "PodPortForwardOptions", STREAM),
            sub("resize", "", "v1", "Pod", GPU),
            sub("status", "", "v1", "Pod", GPU),
        ],
        generation: true,
        ..row("", "v1", "Pod", "pods", "pod", "pods")
    },
    Resource {
        short: &["svc"],
        categories: &["all"],
        subs: &[sub("status", "", "v1", "Service", GPU)],
        ..row("", "v1", "Service", "services", "service", "services")
    },
    Resource {
        short: &["ns"],
        // All at once would be too easy a mistake.
        verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
        subs: &[sub("finalize", "", "v1", "Namespace", UPDATE), sub("status", "", "v1", "Namespace", GPU)],
        ..cluster("", "v1", "Namespace", "namespaces", "namespace", "namespaces")
    },
    Resource {
        short: &["no"],
        subs: &[sub("proxy", "", "v1", "NodeProxyOptions", PROXY), sub("status", "", "v1", "Node", GPU)],
        ..cluster("", "v1", "Node", "nodes", "node", "nodes")
    },
    Resource { short: &["cm"], ..row("", "v1", "ConfigMap", "configmaps", "configmap", "configmaps") },
    Resource { ..row("", "v1", "Secret", "secrets", "secret", "secrets") },
    Resource {
        short: &["sa"],
        subs: &[sub("token", "authentication.k8s.io", "v1", "TokenRequest", CREATE)],
        ..row("", "v1", "ServiceAccount", "serviceaccounts", "serviceaccount", "serviceaccounts")
    },
    Resource { short: &["ev"], ..row("", "v1", "Event", "events", "event", "events") },
    Resource { short: &["ep"], ..row("", "v1", "Endpoints", "endpoints", "endpoints", "endpoints") },
    Resource {
        short: &["pv"],
        subs: &[sub("status", "", "v1", "PersistentVolume", GPU)],
        ..cluster("", "v1", "PersistentVolume", "persistentvolumes", "persistentvolume", "persistentvolumes")
    },
    Resource {
        short: &["pvc"],
        subs: &[sub("status", "", "v1", "PersistentVolumeClaim", GPU)],
        ..row(
            "",
            "v1",
            "PersistentVolumeClaim",
            "persistentvolumeclaims",
            "persistentvolumeclaim",
            "persistentvolumeclaims",
        )
    },
    Resource {
        short: &["rc"],
        categories: &["all"],
        subs: &[
            sub("scale", "autoscaling", "v1", "Scale", GPU),
            sub("status", "", "v1", "ReplicationController", GPU),
        ],
        generation: true,
        ..row(
            "",
            "v1",
            "ReplicationController",
            "replicationcontrollers",
            "replicationcontroller",
            "replicationcontrollers",
        )
    },
    Resource {
        short: &["quota"],
        subs: &[sub("status", "", "v1", "ResourceQuota", GPU)],
        ..row("", "v1", "ResourceQuota", "resourcequotas", "resourcequota", "resourcequotas")
    },
    Resource {
        short: &["limits"],
        ..row("", "v1", "LimitRange", "limitranges", "limitrange", "limitranges")
    },
    Resource {
        generation: true,
        ..row("", "v1", "PodTemplate", "podtemplates", "podtemplate", "podtemplates")
    },
    Resource { verbs: CREATE, ..row("", "v1", "Binding", "bindings", "binding", "bindings") },
    Resource {
        ..row(
            "apps",
            "v1",
            "ControllerRevision",
            "controllerrevisions",
            "controllerrevision",
            "controllerrevisions.apps",
        )
    },
    Resource {
        short: &["ds"],
        categories: &["all"],
        subs: &[sub("status", "apps", "v1", "DaemonSet", GPU)],
        generation: true,
        ..row("apps", "v1", "DaemonSet", "daemonsets", "daemonset", "daemonsets.apps")
    },
    Resource {
        short: &["deploy"],
        categories: &["all"],
        subs: &[
            sub("scale", "autoscaling", "v1", "Scale", GPU),
            sub("status", "apps", "v1", "Deployment", GPU),
        ],
        generation: true,
        ..row("apps", "v1", "Deployment", "deployments", "deployment", "deployments.apps")
    },
    Resource {
        short: &["rs"],
        categories: &["all"],
        subs: &[
            sub("scale", "autoscaling", "v1", "Scale", GPU),
            sub("status", "apps", "v1", "ReplicaSet", GPU),
        ],
        generation: true,
        ..row("apps", "v1", "ReplicaSet", "replicasets", "replicaset", "replicasets.apps")
    },
    Resource {
        short: &["sts"],
        categories: &["all"],
        subs: &[
            sub("scale", "autoscaling", "v1", "Scale", GPU),
            sub("status", "apps", "v1", "StatefulSet", GPU),
        ],
        generation: true,
        ..row("apps", "v1", "StatefulSet", "statefulsets", "statefulset", "statefulsets.apps")
    },
    Resource {
        short: &["ev"],
        stored: "events",
        ..row("events.k8s.io", "v1", "Event", "events", "event", "events")
    },
    Resource {
        verbs: CREATE,
        ..cluster(
            "authentication.k8s.io",
            "v1",
            "SelfSubjectReview",
            "selfsubjectreviews",
            "selfsubjectreview",
            "selfsubjectreviews.authentication.k8s.io",
        )
    },
    Resource {
        verbs: CREATE,
        ..cluster(
            "authentication.k8s.io",
            "v1",
            "TokenReview",
            "tokenreviews",
            "tokenreview",
            "tokenreviews.authentication.k8s.io",
        )
    },
    Resource {
        verbs: CREATE,
        ..row(
            "authorization.k8s.io",
            "v1",
            "LocalSubjectAccessReview",
            "localsubjectaccessreviews",
            "localsubjectaccessreview",
            "localsubjectaccessreviews.authorization.k8s.io",
        )
    },
    Resource {
        verbs: CREATE,
        ..cluster(
            "authorization.k8s.io",
            "v1",
            "SelfSubjectAccessReview",
            "selfsubjectaccessreviews",
            "selfsubjectaccessreview",
            "selfsubjectaccessreviews.authorization.k8s.io",
        )
    },
    Resource {
        verbs: CREATE,
        ..cluster(
            "authorization.k8s.io",
            "v1",
            "SelfSubjectRulesReview",
            "selfsubjectrulesreviews",
            "selfsubjectrulesreview",
            "selfsubjectrulesreviews.authorization.k8s.io",
        )
    },
    Resource {
        verbs: CREATE,
        ..cluster(
            "authorization.k8s.io",
            "v1",
            "SubjectAccessReview",
            "subjectaccessreviews",
            "subjectaccessreview",
            "subjectaccessreviews.authorization.k8s.io",
        )
    },
    Resource {
        short: &["hpa"],
        categories: &["all"],
        subs: &[sub("status", "autoscaling", "v2", "HorizontalPodAutoscaler", GPU)],
        ..row(
            "autoscaling",
            "v2",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            "horizontalpodautoscaler",
            "horizontalpodautoscalers.autoscaling",
        )
    },
    Resource {
        short: &["cj"],
        categories: &["all"],
        subs: &[sub("status", "batch", "v1", "CronJob", GPU)],
        generation: true,
        ..row("batch", "v1", "CronJob", "cronjobs", "cronjob", "cronjobs.batch")
    },
    Resource {
        categories: &["all"],
        subs: &[sub("status", "batch", "v1", "Job", GPU)],
        generation: true,
        ..row("batch", "v1", "Job", "jobs", "job", "jobs.batch")
    },
    Resource {
        short: &["csr"],
        subs: &[
            sub("approval", "certificates.k8s.io", "v1", "CertificateSigningRequest", GPU),
            sub("status", "certificates.k8s.io", "v1", "CertificateSigningRequest", GPU),
        ],
        ..cluster(
            "certificates.k8s.io",
            "v1",
            "CertificateSigningRequest",
            "certificatesigningrequests",
            "certificatesigningrequest",
            "certificatesigningrequests.certificates.k8s.io",
        )
    },
    Resource {
        generation: true,
        ..cluster(
            "networking.k8s.io",
            "v1",
            "IngressClass",
            "ingressclasses",
            "ingressclass",
            "ingressclasses.networking.k8s.io",
        )
    },
    Resource {
        short: &["ing"],
        subs: &[sub("status", "networking.k8s.io", "v1", "Ingress", GPU)],
        generation: true,
        ..row("networking.k8s.io", "v1", "Ingress", "ingresses", "ingress", "ingresses.networking.k8s.io")
    },
    Resource {
        short: &["netpol"],
        generation: true,
        ..row(
            "networking.k8s.io",
            "v1",
            "NetworkPolicy",
            "networkpolicies",
            "networkpolicy",
            "networkpolicies.networking.k8s.io",
        )
    },
    Resource {
        short: &["pdb"],
        subs: &[sub("status", "policy", "v1", "PodDisruptionBudget", GPU)],
        generation: true,
        ..row(
            "policy",
            "v1",
            "PodDisruptionBudget",
            "poddisruptionbudgets",
            "poddisruptionbudget",
            "poddisruptionbudgets.policy",
        )
    },
    Resource {
        ..cluster(
            "rbac.authorization.k8s.io",
            "v1",
            "ClusterRoleBinding",
            "clusterrolebindings",
            "clusterrolebinding",
            "clusterrolebindings.rbac.authorization.k8s.io",
        )
    },
    Resource {
        ..cluster(
            "rbac.authorization.k8s.io",
            "v1",
            "ClusterRole",
            "clusterroles",
            "clusterrole",
            "clusterroles.rbac.authorization.k8s.io",
        )
    },
    Resource {
        ..row(
            "rbac.authorization.k8s.io",
            "v1",
            "RoleBinding",
            "rolebindings",
            "rolebinding",
            "rolebindings.rbac.authorization.k8s.io",
        )
    },
    Resource {
        ..row("rbac.authorization.k8s.io", "v1", "Role", "roles", "role", "roles.rbac.authorization.k8s.io")
    },
    Resource {
        ..cluster("storage.k8s.io", "v1", "CSIDriver", "csidrivers", "csidriver", "csidrivers.storage.k8s.io")
    },
    Resource {
        ..cluster("storage.k8s.io", "v1", "CSINode", "csinodes", "csinode", "csinodes.storage.k8s.io")
    },
    Resource {
        ..row(
            "storage.k8s.io",
            "v1",
            "CSIStorageCapacity",
            "csistoragecapacities",
            "csistoragecapacity",
            "csistoragecapacities.storage.k8s.io",
        )
    },
    Resource {
        short: &["sc"],
        ..cluster(
            "storage.k8s.io",
            "v1",
            "StorageClass",
            "storageclasses",
            "storageclass",
            "storageclasses.storage.k8s.io",
        )
    },
    Resource {
        subs: &[sub("status", "storage.k8s.io", "v1", "VolumeAttachment", GPU)],
        ..cluster(
            "storage.k8s.io",
            "v1",
            "VolumeAttachment",
            "volumeattachments",
            "volumeattachment",
            "volumeattachments.storage.k8s.io",
        )
    },
    Resource {
        short: &["pc"],
        ..cluster(
            "scheduling.k8s.io",
            "v1",
            "PriorityClass",
            "priorityclasses",
            "priorityclass",
            "priorityclasses.scheduling.k8s.io",
        )
    },
    Resource { ..row("coordination.k8s.io", "v1", "Lease", "leases", "lease", "leases.coordination.k8s.io") },
    Resource {
        ..cluster(
            "node.k8s.io",
            "v1",
            "RuntimeClass",
            "runtimeclasses",
            "runtimeclass",
            "runtimeclasses.node.k8s.io",
        )
    },
    Resource {
        generation: true,
        ..row(
            "discovery.k8s.io",
            "v1",
            "EndpointSlice",
            "endpointslices",
            "endpointslice",
            "endpointslices.discovery.k8s.io",
        )
    },
    Resource {
        categories: &["dunlin"],
        subs: &[sub("status", "dunlin.io", "v1alpha1", "Cluster", GPU)],
        generation: true,
        ..cluster("dunlin.io", "v1alpha1", "Cluster", "clusters", "cluster", "clusters.dunlin.io")
    },
    Resource {
        categories: &["dunlin"],
        subs: &[sub("status", "dunlin.io", "v1alpha1", "Migration", GPU)],
        generation: true,
        ..row("dunlin.io", "v1alpha1", "Migration", "migrations", "migration", "migrations.dunlin.io")
    },
];
