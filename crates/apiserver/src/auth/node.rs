//! What a node may do: look after itself, its pods, and what those pods refer to. Nothing else.
//!
//! Following Kubernetes' node authorizer, but without a graph in memory: the pods of the node are read when a node asks for
//! something that only a pod can give it the right to. `docs/nodes.md` lists what a node that was broken into can do.

use dunlin_api::names::label;
use dunlin_api::names::storage::node_label;
use dunlin_api::names::user::GROUP_CLUSTERS;
use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::auth::Authorizer;
use crate::config::User;
use crate::failure::Result;
use crate::handlers::storage;
use crate::object::{self, list, text};
use crate::request::Asked;
use crate::resources::known;
use crate::server::Inner;

const PREFIX: &str = "system:node:";

pub struct NodeAuthorizer<'s> {
    pub server: &'s Inner,
}

/// The node that a user is, if it is one.
pub fn node_of(user: &User) -> Option<&str> {
    user.name.strip_prefix(PREFIX).filter(|n| !n.is_empty() && user.in_group("system:nodes"))
}

impl Authorizer for NodeAuthorizer<'_> {
    fn allows<'a>(&'a self, user: &'a User, asked: &'a Asked, _: &'a str) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            match node_of(user) {
                Some(node) if asked.is_resource => Ok(self.may(node, asked).await?
                    || (user.in_group(GROUP_CLUSTERS) && self.cluster_may(node, asked).await?)),
                _ => Ok(false),
            }
        })
    }
}

impl NodeAuthorizer<'_> {
    async fn may(&self, node: &str, asked: &Asked) -> Result<bool> {
        let name = asked.name.as_deref().unwrap_or("");
        let namespace = asked.namespace.as_deref().unwrap_or("");
        let reads = matches!(asked.verb, "get" | "list" | "watch");
        let own = name == node;
        Ok(match (asked.group.as_str(), asked.resource.as_str(), asked.sub.as_deref()) {
            ("", "nodes", None) => {
                reads || asked.verb == "create" || (own && matches!(asked.verb, "update" | "patch"))
            }
            ("", "nodes", Some("status")) => own,
            ("coordination.k8s.io", "leases", None) => {
                namespace == "kube-node-lease" && (own || asked.verb == "create")
            }
            ("", "pods", None) => match asked.verb {
                // By name alone they would also show a later pod of that name, on whichever node.
                "list" | "watch" => asked.node.as_deref() == Some(node),
                "get" | "delete" => self.runs(node, namespace, name).await?,
                _ => false,
            },
            ("", "pods", Some("status" | "eviction")) => self.runs(node, namespace, name).await?,
            ("", "configmaps" | "secrets" | "persistentvolumeclaims" | "serviceaccounts", None) => {
                reads && !name.is_empty() && self.refers(node, namespace, &asked.resource, name).await?
            }
            ("", "persistentvolumeclaims", Some("status")) => {
                asked.verb == "get" && self.refers(node, namespace, "persistentvolumeclaims", name).await?
            }
            ("", "serviceaccounts", Some("token")) => {
                asked.verb == "create" && self.refers(node, namespace, "serviceaccounts", name).await?
            }
            ("", "persistentvolumes", None) => {
                // What it may change of them, admission says.
                reads || (matches!(asked.verb, "patch" | "update") && self.keeps(node, name).await?)
            }
            ("", "services" | "endpoints" | "namespaces", None) => reads,
            ("discovery.k8s.io", "endpointslices", None)
            | ("node.k8s.io", "runtimeclasses", None)
            | ("storage.k8s.io", "csidrivers" | "storageclasses" | "volumeattachments", None) => reads,
            ("storage.k8s.io", "csinodes", None) => own || asked.verb == "create",
            ("" | "events.k8s.io", "events", None) => matches!(asked.verb, "create" | "patch" | "update"),
            ("certificates.k8s.io", "certificatesigningrequests", None) => reads || asked.verb == "create",
            ("authentication.k8s.io", "tokenreviews", None)
            | ("authorization.k8s.io", "subjectaccessreviews" | "localsubjectaccessreviews", None) => {
                asked.verb == "create"
            }
            _ => false,
        })
    }

    /// What a node that stands for a cluster may do besides: write its own summary, and read what sends a pod to it.
    async fn cluster_may(&self, node: &str, asked: &Asked) -> Result<bool> {
        let name = asked.name.as_deref().unwrap_or("");
        let namespace = asked.namespace.as_deref().unwrap_or("");
        let reads = matches!(asked.verb, "get" | "list" | "watch");
        let writes = matches!(asked.verb, "update" | "patch");
        Ok(match (asked.group.as_str(), asked.resource.as_str(), asked.sub.as_deref()) {
            ("dunlin.io", "clusters", None) => {
                // The name of a new one stands in its body; admission looks at it.
                asked.verb == "create" || (name == node && (reads || writes))
            }
            ("dunlin.io", "clusters", Some("status")) => name == node && (asked.verb == "get" || writes),
            ("apps", "daemonsets", None) => {
                reads && !name.is_empty() && self.owned(node, namespace, name).await?
            }
            _ => false,
        })
    }

    /// Whether a pod of the node belongs to the DaemonSet.
    async fn owned(&self, node: &str, namespace: &str, daemonset: &str) -> Result<bool> {
        self.any_pod(node, namespace, |pod| {
            list(pod, &["metadata", "ownerReferences"])
                .iter()
                .any(|owner| text(owner, &["kind"]) == "DaemonSet" && text(owner, &["name"]) == daemonset)
        })
        .await
    }

    /// Whether the pod is bound to the node. A pod that is gone already may be asked for, to be told so.
    async fn runs(&self, node: &str, namespace: &str, name: &str) -> Result<bool> {
        let key = known("", "pods").key(namespace, name);
        let found = self.server.config.store.get(&key).await;
        let found = found.map_err(|e| storage::failed(known("", "pods"), name, e))?;
        Ok(found.is_none_or(|entry| entry.tag.as_deref() == Some(node)))
    }

    /// Whether the volume was made on the node.
    async fn keeps(&self, node: &str, volume: &str) -> Result<bool> {
        let resource = known("", "persistentvolumes");
        let found = self.server.config.store.get(&resource.key("", volume)).await;
        let Some(entry) = found.map_err(|e| storage::failed(resource, volume, e))? else { return Ok(false) };
        let value = storage::parse(&entry.value)?;
        Ok(text(&value, &["metadata", "labels", label::VOLUME_NODE]) == node_label(node))
    }

    async fn refers(&self, node: &str, namespace: &str, resource: &str, name: &str) -> Result<bool> {
        self.any_pod(node, namespace, |pod| references(pod, resource, name)).await
    }

    /// Whether a pod of the node in the namespace is such. Over all namespaces the answer is no.
    async fn any_pod(&self, node: &str, namespace: &str, is: impl Fn(&Value) -> bool) -> Result<bool> {
        if namespace.is_empty() {
            return Ok(false);
        }
        let mut scope = known("", "pods").scope(Some(namespace));
        scope.tag = Some(node.into());
        let page = self.server.config.store.list(&scope, None, 0, None).await;
        let page = page.map_err(|e| storage::failed(known("", "pods"), "", e))?;
        for entry in &page.items {
            if entry.tag.as_deref() == Some(node) && is(&storage::parse(&entry.value)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether the pod needs the object. Pure.
pub fn references(pod: &Value, resource: &str, name: &str) -> bool {
    if name.is_empty() {
        return false;
    }
    let spec = &pod["spec"];
    let is = |v: &Value, path: &[&str]| text(v, path) == name;
    let containers = ["containers", "initContainers", "ephemeralContainers"];
    let mut all = containers.iter().flat_map(|f| list(spec, &[f]));
    let mut volumes = list(spec, &["volumes"]).iter();
    match resource {
        "serviceaccounts" => is(spec, &["serviceAccountName"]),
        "persistentvolumeclaims" => volumes.any(|v| {
            is(v, &["persistentVolumeClaim", "claimName"])
                || (v.get("ephemeral").is_some()
                    && format!("{}-{}", object::name(pod), text(v, &["name"])) == name)
        }),
        "secrets" => {
            list(spec, &["imagePullSecrets"]).iter().any(|s| is(s, &["name"]))
                || all.any(|c| environment(c, "secretRef", "secretKeyRef", name))
                || volumes.any(|v| {
                    is(v, &["secret", "secretName"])
                        || projected(v, "secret", name)
                        || v.as_object().is_some_and(|m| {
                            m.values().any(|s| {
                                is(s, &["secretRef", "name"]) || is(s, &["nodePublishSecretRef", "name"])
                            })
                        })
                })
        }
        "configmaps" => {
            all.any(|c| environment(c, "configMapRef", "configMapKeyRef", name))
                || volumes.any(|v| is(v, &["configMap", "name"]) || projected(v, "configMap", name))
        }
        _ => false,
    }
}

fn environment(container: &Value, whole: &str, key: &str, name: &str) -> bool {
    list(container, &["envFrom"]).iter().any(|e| text(e, &[whole, "name"]) == name)
        || list(container, &["env"]).iter().any(|e| text(e, &["valueFrom", key, "name"]) == name)
}

fn projected(volume: &Value, kind: &str, name: &str) -> bool {
    list(volume, &["projected", "sources"]).iter().any(|s| text(s, &[kind, "name"]) == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_gives_rights_to_what_it_names_only() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "serviceAccountName": "sa",
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s1"}}}], "envFrom": [{"configMapRef": {"name": "c1"}}]}],
            "volumes": [{"name": "v", "projected": {"sources": [{"configMap": {"name": "c2"}}]}}, {"name": "w", "secret": {"secretName": "s2"}}],
        }});
        for (resource, name) in [
            ("serviceaccounts", "sa"),
            ("secrets", "s1"),
            ("secrets", "s2"),
            ("configmaps", "c1"),
            ("configmaps", "c2"),
        ] {
            assert!(references(&pod, resource, name), "{resource} {name}");
        }
        assert!(!references(&pod, "secrets", "c1"));
        assert!(!references(&pod, "secrets", ""));
    }
}
