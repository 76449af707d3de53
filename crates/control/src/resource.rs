//! The resources that are known by name: where their collections are and which kind their objects have.
//!
//! The table holds what controllers read or write; the driver adds what the API server's discovery names, among it
//! custom resources. A resource is named by plural and group, as in `pods` or `deployments.apps`.

use std::collections::BTreeMap;
use std::sync::Arc;

/// One resource in one version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resource {
    /// Plural with group, as in `deployments.apps`.
    pub name: Arc<str>,
    pub group: Arc<str>,
    pub version: Arc<str>,
    pub plural: Arc<str>,
    pub kind: Arc<str>,
    pub namespaced: bool,
}

impl Resource {
    pub fn new(group: &str, version: &str, plural: &str, kind: &str, namespaced: bool) -> Self {
        let name = if group.is_empty() { plural.into() } else { format!("{plural}.{group}").into() };
        Self {
            name,
            group: group.into(),
            version: version.into(),
            plural: plural.into(),
            kind: kind.into(),
            namespaced,
        }
    }

    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Whether objects of `kind` in any version of the group in `api_version` are of this resource.
    pub fn is_kind(&self, api_version: &str, kind: &str) -> bool {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        *self.group == *group && *self.kind == *kind
    }

    /// Path of the collection; an empty namespace means all of them.
    pub fn collection(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        let root = format!("{root}/{}", self.api_version());
        match self.namespaced && !namespace.is_empty() {
            true => format!("{root}/namespaces/{namespace}/{}", self.plural),
            false => format!("{root}/{}", self.plural),
        }
    }

    /// Path of one object.
    pub fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/{name}", self.collection(namespace))
    }
}

/// Group, version, plural, kind, namespaced.
const BUILT_IN: &[(&str, &str, &str, &str, bool)] = &[
    ("", "v1", "configmaps", "ConfigMap", true),
    ("", "v1", "endpoints", "Endpoints", true),
    ("", "v1", "events", "Event", true),
    ("", "v1", "limitranges", "LimitRange", true),
    ("", "v1", "namespaces", "Namespace", false),
    ("", "v1", "nodes", "Node", false),
    ("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", true),
    ("", "v1", "persistentvolumes", "PersistentVolume", false),
    ("", "v1", "pods", "Pod", true),
    ("", "v1", "podtemplates", "PodTemplate", true),
    ("", "v1", "replicationcontrollers", "ReplicationController", true),
    ("", "v1", "resourcequotas", "ResourceQuota", true),
    ("", "v1", "secrets", "Secret", true),
    ("", "v1", "serviceaccounts", "ServiceAccount", true),
    ("", "v1", "services", "Service", true),
    ("apps", "v1", "controllerrevisions", "ControllerRevision", true),
    ("apps", "v1", "daemonsets", "DaemonSet", true),
    ("apps", "v1", "deployments", "Deployment", true),
    ("apps", "v1", "replicasets", "ReplicaSet", true),
    ("apps", "v1", "statefulsets", "StatefulSet", true),
    ("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", true),
    ("batch", "v1", "cronjobs", "CronJob", true),
    ("batch", "v1", "jobs", "Job", true),
    ("coordination.k8s.io", "v1", "leases", "Lease", true),
    ("dunlin.io", "v1alpha1", "clusters", "Cluster", false),
    ("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", true),
    ("storage.k8s.io", "v1", "storageclasses", "StorageClass", false),
    ("dunlin.io", "v1alpha1", "migrations", "Migration", true),
    ("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", false),
    ("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", false),
    ("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", true),
];

/// All resources that are known now, by name.
#[derive(Debug, Clone)]
pub struct Resources {
    by_name: BTreeMap<Arc<str>, Arc<Resource>>,
}

impl Default for Resources {
    fn default() -> Self {
        let mut all = Self { by_name: BTreeMap::new() };
        for (group, version, plural, kind, namespaced) in BUILT_IN {
            all.insert(Resource::new(group, version, plural, kind, *namespaced));
        }
        all
    }
}

impl Resources {
    pub fn insert(&mut self, resource: Resource) {
        self.by_name.insert(resource.name.clone(), Arc::new(resource));
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        self.by_name.get(name)
    }

    pub fn remove(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.by_name.values()
    }

    /// The resource whose objects an owner reference with this `apiVersion` and `kind` means; versions don't matter.
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.by_name.values().find(|r| r.is_kind(api_version, kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        let all = Resources::default();
        let pods = all.get("pods").expect("built in");
        assert_eq!(pods.object("default", "web"), "/api/v1/namespaces/default/pods/web");
        assert_eq!(pods.collection(""), "/api/v1/pods");
        let owner = all.of_kind("apps/v1beta1", "Deployment").expect("built in");
        assert_eq!(owner.collection("a"), "/apis/apps/v1/namespaces/a/deployments");
        assert_eq!(all.get("nodes").expect("built in").object("", "n"), "/api/v1/nodes/n");
    }
}
