//! The built-in resources of Kubernetes 1.36 that this server serves, and our own, a row each.
//!
//! Order matters: groups and versions are listed to clients in the order in which they first appear here.

use std::sync::{Arc, LazyLock};

use super::{Resource, Sub};

const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const READ: &[&str] = &["get", "list"];
const CREATE: &[&str] = &["create"];
const GET: &[&str] = &["get"];
const UPDATE: &[&str] = &["update"];
pub const GPU: &[&str] = &["get", "patch", "update"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];
const STREAM: &[&str] = &["create", "get"];

/// A [`Sub`] as data.
#[derive(Clone, Copy)]
struct RowSub {
    name: &'static str,
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    verbs: &'static [&'static str],
}

/// A [`Resource`] as data.
#[derive(Clone, Copy)]
struct Row {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short: &'static [&'static str],
    categories: &'static [&'static str],
    namespaced: bool,
    verbs: &'static [&'static str],
    subs: &'static [RowSub],
    stored: &'static str,
    generation: bool,
}

/// Every built-in resource.
pub static BUILTIN: LazyLock<Vec<Arc<Resource>>> =
    LazyLock::new(|| ROWS.iter().map(|row| Arc::new(row.resource())).collect());

impl Row {
    fn resource(&self) -> Resource {
        let texts = |all: &[&'static str]| all.iter().map(|t| (*t).into()).collect();
        Resource {
            group: self.group.into(),
            version: self.version.into(),
            kind: self.kind.into(),
            plural: self.plural.into(),
            singular: self.singular.into(),
            short: texts(self.short),
            categories: texts(self.categories),
            namespaced: self.namespaced,
            verbs: self.verbs,
            subs: self.subs.iter().map(RowSub::sub).collect(),
            stored: self.stored.into(),
            generation: self.generation,
            custom: None,
        }
    }
}

impl RowSub {
    fn sub(&self) -> Sub {
        Sub {
            name: self.name,
            group: self.group.into(),
            version: self.version.into(),
            kind: self.kind.into(),
            verbs: self.verbs,
        }
    }
}

const fn sub(
    name: &'static str,
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    verbs: &'static [&'static str],
) -> RowSub {
    RowSub { name, group, version, kind, verbs }
}

const fn row(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    stored: &'static str,
) -> Row {
    Row {
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
) -> Row {
    let mut resource = row(group, version, kind, plural, singular, stored);
    resource.namespaced = false;
    resource
}

static ROWS: &[Row] = &[
    Row {
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
    Row {
        short: &["svc"],
        categories: &["all"],
        subs: &[sub("status", "", "v1", "Service", GPU)],
        ..row("", "v1", "Service", "services", "service", "services")
    },
    Row {
        short: &["ns"],
        // All at once would be too easy a mistake.
        verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
        subs: &[sub("finalize", "", "v1", "Namespace", UPDATE), sub("status", "", "v1", "Namespace", GPU)],
        ..cluster("", "v1", "Namespace", "namespaces", "namespace", "namespaces")
    },
    Row {
        short: &["no"],
        subs: &[sub("proxy", "", "v1", "NodeProxyOptions", PROXY), sub("status", "", "v1", "Node", GPU)],
        ..cluster("", "v1", "Node", "nodes", "node", "nodes")
    },
    Row { short: &["cm"], ..row("", "v1", "ConfigMap", "configmaps", "configmap", "configmaps") },
    Row { ..row("", "v1", "Secret", "secrets", "secret", "secrets") },
    Row {
        short: &["sa"],
        subs: &[sub("token", "authentication.k8s.io", "v1", "TokenRequest", CREATE)],
        ..row("", "v1", "ServiceAccount", "serviceaccounts", "serviceaccount", "serviceaccounts")
    },
    Row { short: &["ev"], ..row("", "v1", "Event", "events", "event", "events") },
    Row { short: &["ep"], ..row("", "v1", "Endpoints", "endpoints", "endpoints", "endpoints") },
    Row {
        short: &["pv"],
        subs: &[sub("status", "", "v1", "PersistentVolume", GPU)],
        ..cluster("", "v1", "PersistentVolume", "persistentvolumes", "persistentvolume", "persistentvolumes")
    },
    Row {
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
    Row {
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
    Row {
        short: &["quota"],
        subs: &[sub("status", "", "v1", "ResourceQuota", GPU)],
        ..row("", "v1", "ResourceQuota", "resourcequotas", "resourcequota", "resourcequotas")
    },
    Row { short: &["limits"], ..row("", "v1", "LimitRange", "limitranges", "limitrange", "limitranges") },
    Row { generation: true, ..row("", "v1", "PodTemplate", "podtemplates", "podtemplate", "podtemplates") },
    Row { verbs: CREATE, ..row("", "v1", "Binding", "bindings", "binding", "bindings") },
    Row {
        short: &["cs"],
        verbs: READ,
        ..cluster("", "v1", "ComponentStatus", "componentstatuses", "componentstatus", "componentstatuses")
    },
    Row {
        categories: &["api-extensions"],
        subs: &[sub("status", "apiregistration.k8s.io", "v1", "APIService", GPU)],
        ..cluster(
            "apiregistration.k8s.io",
            "v1",
            "APIService",
            "apiservices",
            "apiservice",
            "apiservices.apiregistration.k8s.io",
        )
    },
    Row {
        ..row(
            "apps",
            "v1",
            "ControllerRevision",
            "controllerrevisions",
            "controllerrevision",
            "controllerrevisions.apps",
        )
    },
    Row {
        short: &["ds"],
        categories: &["all"],
        subs: &[sub("status", "apps", "v1", "DaemonSet", GPU)],
        generation: true,
        ..row("apps", "v1", "DaemonSet", "daemonsets", "daemonset", "daemonsets.apps")
    },
    Row {
        short: &["deploy"],
        categories: &["all"],
        subs: &[
            sub("scale", "autoscaling", "v1", "Scale", GPU),
            sub("status", "apps", "v1", "Deployment", GPU),
        ],
        generation: true,
        ..row("apps", "v1", "Deployment", "deployments", "deployment", "deployments.apps")
    },
    Row {
        short: &["rs"],
        categories: &["all"],
        subs: &[
            sub("scale", "autoscaling", "v1", "Scale", GPU),
            sub("status", "apps", "v1", "ReplicaSet", GPU),
        ],
        generation: true,
        ..row("apps", "v1", "ReplicaSet", "replicasets", "replicaset", "replicasets.apps")
    },
    Row {
        short: &["sts"],
        categories: &["all"],
        subs: &[
            sub("scale", "autoscaling", "v1", "Scale", GPU),
            sub("status", "apps", "v1", "StatefulSet", GPU),
        ],
        generation: true,
        ..row("apps", "v1", "StatefulSet", "statefulsets", "statefulset", "statefulsets.apps")
    },
    Row {
        short: &["ev"],
        stored: "events",
        ..row("events.k8s.io", "v1", "Event", "events", "event", "events")
    },
    Row {
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
    Row {
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
    Row {
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
    Row {
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
    Row {
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
    Row {
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
    Row {
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
    Row {
        short: &["hpa"],
        categories: &["all"],
        subs: &[sub("status", "autoscaling", "v1", "HorizontalPodAutoscaler", GPU)],
        ..row(
            "autoscaling",
            "v1",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            "horizontalpodautoscaler",
            "horizontalpodautoscalers.autoscaling",
        )
    },
    Row {
        short: &["cj"],
        categories: &["all"],
        subs: &[sub("status", "batch", "v1", "CronJob", GPU)],
        generation: true,
        ..row("batch", "v1", "CronJob", "cronjobs", "cronjob", "cronjobs.batch")
    },
    Row {
        categories: &["all"],
        subs: &[sub("status", "batch", "v1", "Job", GPU)],
        generation: true,
        ..row("batch", "v1", "Job", "jobs", "job", "jobs.batch")
    },
    Row {
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
    Row {
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
    Row {
        short: &["ing"],
        subs: &[sub("status", "networking.k8s.io", "v1", "Ingress", GPU)],
        generation: true,
        ..row("networking.k8s.io", "v1", "Ingress", "ingresses", "ingress", "ingresses.networking.k8s.io")
    },
    Row {
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
    Row {
        short: &["ip"],
        ..cluster(
            "networking.k8s.io",
            "v1",
            "IPAddress",
            "ipaddresses",
            "ipaddress",
            "ipaddresses.networking.k8s.io",
        )
    },
    Row {
        subs: &[sub("status", "networking.k8s.io", "v1", "ServiceCIDR", GPU)],
        ..cluster(
            "networking.k8s.io",
            "v1",
            "ServiceCIDR",
            "servicecidrs",
            "servicecidr",
            "servicecidrs.networking.k8s.io",
        )
    },
    Row {
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
    Row {
        ..cluster(
            "rbac.authorization.k8s.io",
            "v1",
            "ClusterRoleBinding",
            "clusterrolebindings",
            "clusterrolebinding",
            "clusterrolebindings.rbac.authorization.k8s.io",
        )
    },
    Row {
        ..cluster(
            "rbac.authorization.k8s.io",
            "v1",
            "ClusterRole",
            "clusterroles",
            "clusterrole",
            "clusterroles.rbac.authorization.k8s.io",
        )
    },
    Row {
        ..row(
            "rbac.authorization.k8s.io",
            "v1",
            "RoleBinding",
            "rolebindings",
            "rolebinding",
            "rolebindings.rbac.authorization.k8s.io",
        )
    },
    Row {
        ..row("rbac.authorization.k8s.io", "v1", "Role", "roles", "role", "roles.rbac.authorization.k8s.io")
    },
    Row {
        ..cluster("storage.k8s.io", "v1", "CSIDriver", "csidrivers", "csidriver", "csidrivers.storage.k8s.io")
    },
    Row { ..cluster("storage.k8s.io", "v1", "CSINode", "csinodes", "csinode", "csinodes.storage.k8s.io") },
    Row {
        ..row(
            "storage.k8s.io",
            "v1",
            "CSIStorageCapacity",
            "csistoragecapacities",
            "csistoragecapacity",
            "csistoragecapacities.storage.k8s.io",
        )
    },
    Row {
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
    Row {
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
    Row {
        short: &["vac"],
        ..cluster(
            "storage.k8s.io",
            "v1",
            "VolumeAttributesClass",
            "volumeattributesclasses",
            "volumeattributesclass",
            "volumeattributesclasses.storage.k8s.io",
        )
    },
    Row {
        categories: &["api-extensions"],
        generation: true,
        ..cluster(
            "admissionregistration.k8s.io",
            "v1",
            "MutatingAdmissionPolicy",
            "mutatingadmissionpolicies",
            "mutatingadmissionpolicy",
            "mutatingadmissionpolicies.admissionregistration.k8s.io",
        )
    },
    Row {
        categories: &["api-extensions"],
        generation: true,
        ..cluster(
            "admissionregistration.k8s.io",
            "v1",
            "MutatingAdmissionPolicyBinding",
            "mutatingadmissionpolicybindings",
            "mutatingadmissionpolicybinding",
            "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
        )
    },
    Row {
        categories: &["api-extensions"],
        generation: true,
        ..cluster(
            "admissionregistration.k8s.io",
            "v1",
            "MutatingWebhookConfiguration",
            "mutatingwebhookconfigurations",
            "mutatingwebhookconfiguration",
            "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        )
    },
    Row {
        categories: &["api-extensions"],
        subs: &[sub("status", "admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", GPU)],
        generation: true,
        ..cluster(
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingAdmissionPolicy",
            "validatingadmissionpolicies",
            "validatingadmissionpolicy",
            "validatingadmissionpolicies.admissionregistration.k8s.io",
        )
    },
    Row {
        categories: &["api-extensions"],
        generation: true,
        ..cluster(
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingAdmissionPolicyBinding",
            "validatingadmissionpolicybindings",
            "validatingadmissionpolicybinding",
            "validatingadmissionpolicybindings.admissionregistration.k8s.io",
        )
    },
    Row {
        categories: &["api-extensions"],
        generation: true,
        ..cluster(
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations",
            "validatingwebhookconfiguration",
            "validatingwebhookconfigurations.admissionregistration.k8s.io",
        )
    },
    Row {
        short: &["crd", "crds"],
        categories: &["api-extensions"],
        subs: &[sub("status", "apiextensions.k8s.io", "v1", "CustomResourceDefinition", GPU)],
        generation: true,
        ..cluster(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            "customresourcedefinition",
            "customresourcedefinitions.apiextensions.k8s.io",
        )
    },
    Row {
        short: &["pc"],
        generation: true,
        ..cluster(
            "scheduling.k8s.io",
            "v1",
            "PriorityClass",
            "priorityclasses",
            "priorityclass",
            "priorityclasses.scheduling.k8s.io",
        )
    },
    Row { ..row("coordination.k8s.io", "v1", "Lease", "leases", "lease", "leases.coordination.k8s.io") },
    Row {
        ..cluster(
            "node.k8s.io",
            "v1",
            "RuntimeClass",
            "runtimeclasses",
            "runtimeclass",
            "runtimeclasses.node.k8s.io",
        )
    },
    Row {
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
    Row {
        generation: true,
        ..cluster(
            "resource.k8s.io",
            "v1",
            "DeviceClass",
            "deviceclasses",
            "deviceclass",
            "deviceclasses.resource.k8s.io",
        )
    },
    Row {
        subs: &[sub("status", "resource.k8s.io", "v1", "ResourceClaim", GPU)],
        ..row(
            "resource.k8s.io",
            "v1",
            "ResourceClaim",
            "resourceclaims",
            "resourceclaim",
            "resourceclaims.resource.k8s.io",
        )
    },
    Row {
        ..row(
            "resource.k8s.io",
            "v1",
            "ResourceClaimTemplate",
            "resourceclaimtemplates",
            "resourceclaimtemplate",
            "resourceclaimtemplates.resource.k8s.io",
        )
    },
    Row {
        generation: true,
        ..cluster(
            "resource.k8s.io",
            "v1",
            "ResourceSlice",
            "resourceslices",
            "resourceslice",
            "resourceslices.resource.k8s.io",
        )
    },
    Row {
        subs: &[sub("status", "flowcontrol.apiserver.k8s.io", "v1", "FlowSchema", GPU)],
        generation: true,
        ..cluster(
            "flowcontrol.apiserver.k8s.io",
            "v1",
            "FlowSchema",
            "flowschemas",
            "flowschema",
            "flowschemas.flowcontrol.apiserver.k8s.io",
        )
    },
    Row {
        subs: &[sub("status", "flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration", GPU)],
        generation: true,
        ..cluster(
            "flowcontrol.apiserver.k8s.io",
            "v1",
            "PriorityLevelConfiguration",
            "prioritylevelconfigurations",
            "prioritylevelconfiguration",
            "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
        )
    },
    Row {
        categories: &["dunlin"],
        subs: &[sub("status", "dunlin.io", "v1alpha1", "Cluster", GPU)],
        generation: true,
        ..cluster("dunlin.io", "v1alpha1", "Cluster", "clusters", "cluster", "clusters.dunlin.io")
    },
    Row {
        categories: &["dunlin"],
        subs: &[sub("status", "dunlin.io", "v1alpha1", "Migration", GPU)],
        generation: true,
        ..row("dunlin.io", "v1alpha1", "Migration", "migrations", "migration", "migrations.dunlin.io")
    },
    Row {
        verbs: READ,
        ..cluster("metrics.k8s.io", "v1beta1", "NodeMetrics", "nodes", "", "nodes.metrics.k8s.io")
    },
    Row { verbs: READ, ..row("metrics.k8s.io", "v1beta1", "PodMetrics", "pods", "", "pods.metrics.k8s.io") },
];
