//! What a node may do: look after itself, its pods, and what those pods refer to. Nothing else. A cluster that shows its
//! machines as nodes may do the same for each of them.
//!
//! Following Kubernetes' node authorizer, but without a graph in memory: the pods of the node are read when a node asks for
//! something that only a pod can give it the right to. `docs/nodes.md` lists what a node that was broken into can do.

use std::sync::Arc;

use dunlin_api::names::annotation;
use dunlin_api::names::user::GROUP_CLUSTERS;
use dunlin_store::{Entry, Scope};
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

/// Whether a user who is the node `node` has the rights of the node `name`: it is that node, or the cluster whose machine
/// that node is.
pub async fn acts_for(server: &Inner, user: &User, node: &str, name: &str) -> Result<bool> {
    if name == node || name.is_empty() || !user.in_group(GROUP_CLUSTERS) {
        return Ok(name == node);
    }
    let nodes = known("", "nodes");
    let found = server.config.store.get(&nodes.key("", name)).await;
    let found = found.map_err(|e| storage::failed(nodes, name, e))?;
    Ok(found.is_some_and(|entry| entry.tag.as_deref() == Some(node)))
}

impl Authorizer for NodeAuthorizer<'_> {
    fn allows<'a>(&'a self, user: &'a User, asked: &'a Asked, _: &'a str) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            match node_of(user) {
                Some(node) if asked.is_resource => {
                    let who = Who { user, node };
                    Ok(self.may(who, asked).await?
                        || (user.in_group(GROUP_CLUSTERS) && self.cluster_may(who, asked).await?))
                }
                _ => Ok(false),
            }
        })
    }
}

/// Who asks.
#[derive(Clone, Copy)]
struct Who<'u> {
    user: &'u User,
    node: &'u str,
}

impl NodeAuthorizer<'_> {
    async fn may(&self, who: Who<'_>, asked: &Asked) -> Result<bool> {
        let name = asked.name.as_deref().unwrap_or("");
        let namespace = asked.namespace.as_deref().unwrap_or("");
        let reads = matches!(asked.verb, "get" | "list" | "watch");
        let own = name == who.node;
        Ok(match (asked.group.as_str(), asked.resource.as_str(), asked.sub.as_deref()) {
            ("", "nodes", None) => {
                reads
                    || asked.verb == "create"
                    || (matches!(asked.verb, "update" | "patch") && self.acts_for(who, name).await?)
            }
            ("", "nodes", Some("status")) => self.acts_for(who, name).await?,
            ("coordination.k8s.io", "leases", None) => {
                namespace == "kube-node-lease" && (own || asked.verb == "create")
            }
            ("", "pods", None) => match asked.verb {
                // By name alone they would also show a later pod of that name, on whichever node.
                "list" | "watch" => match asked.node.as_deref() {
                    Some(of) => self.acts_for(who, of).await?,
                    None => false,
                },
                "get" | "delete" => self.runs(who, namespace, name).await?,
                _ => false,
            },
            ("", "pods", Some("status" | "eviction")) => self.runs(who, namespace, name).await?,
            ("", "configmaps" | "secrets" | "persistentvolumeclaims" | "serviceaccounts", None) => {
                reads && !name.is_empty() && self.refers(who, namespace, &asked.resource, name).await?
            }
            ("", "persistentvolumeclaims", Some("status")) => {
                asked.verb == "get" && self.refers(who, namespace, "persistentvolumeclaims", name).await?
            }
            ("", "serviceaccounts", Some("token")) => {
                asked.verb == "create" && self.refers(who, namespace, "serviceaccounts", name).await?
            }
            ("", "persistentvolumes", None) => {
                // What it may change of them, admission says.
                reads || (matches!(asked.verb, "patch" | "update") && self.keeps(who, name).await?)
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

    /// What a node that stands for a cluster may do besides: write its own summary, take back the nodes that show its
    /// machines, and read what sends a pod to it.
    async fn cluster_may(&self, who: Who<'_>, asked: &Asked) -> Result<bool> {
        let node = who.node;
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
                reads && !name.is_empty() && self.owned(who, namespace, name).await?
            }
            ("", "nodes", None) => asked.verb == "delete" && name != node && self.acts_for(who, name).await?,
            _ => false,
        })
    }

    /// Whether a pod of the node belongs to the DaemonSet.
    async fn owned(&self, who: Who<'_>, namespace: &str, daemonset: &str) -> Result<bool> {
        self.any_pod(who, namespace, |pod| {
            list(pod, &["metadata", "ownerReferences"])
                .iter()
                .any(|owner| text(owner, &["kind"]) == "DaemonSet" && text(owner, &["name"]) == daemonset)
        })
        .await
    }

    async fn acts_for(&self, who: Who<'_>, name: &str) -> Result<bool> {
        acts_for(self.server, who.user, who.node, name).await
    }

    /// Whether the pod is bound to the node. A pod that is gone already may be asked for, to be told so.
    async fn runs(&self, who: Who<'_>, namespace: &str, name: &str) -> Result<bool> {
        let key = known("", "pods").key(namespace, name);
        let found = self.server.config.store.get(&key).await;
        let found = found.map_err(|e| storage::failed(known("", "pods"), name, e))?;
        match found.as_ref().map(|entry| entry.tag.as_deref()) {
            None => Ok(true),
            Some(None) => Ok(false),
            Some(Some(on)) => self.acts_for(who, on).await,
        }
    }

    /// Whether the volume was made on one of the nodes.
    async fn keeps(&self, who: Who<'_>, volume: &str) -> Result<bool> {
        let resource = known("", "persistentvolumes");
        let found = self.server.config.store.get(&resource.key("", volume)).await;
        let Some(entry) = found.map_err(|e| storage::failed(resource, volume, e))? else { return Ok(false) };
        let value = storage::parse(&entry.value)?;
        match text(&value, &["metadata", "annotations", annotation::VOLUME_NODE]) {
            "" => Ok(false),
            on => self.acts_for(who, on).await,
        }
    }

    async fn refers(&self, who: Who<'_>, namespace: &str, resource: &str, name: &str) -> Result<bool> {
        self.any_pod(who, namespace, |pod| references(pod, resource, name)).await
    }

    /// Whether a pod of the node in the namespace is such. Over all namespaces the answer is no.
    async fn any_pod(&self, who: Who<'_>, namespace: &str, is: impl Fn(&Value) -> bool) -> Result<bool> {
        if namespace.is_empty() {
            return Ok(false);
        }
        let mut nodes = vec![Arc::from(who.node)];
        if who.user.in_group(GROUP_CLUSTERS) {
            let exposed = self.tagged(known("", "nodes").scope(None), who.node.into()).await?;
            nodes.extend(exposed.into_iter().map(|entry| entry.key.name));
        }
        for node in nodes {
            for entry in self.tagged(known("", "pods").scope(Some(namespace)), node).await? {
                if is(&storage::parse(&entry.value)?) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// What is stored under the tag.
    async fn tagged(&self, mut scope: Scope, tag: Arc<str>) -> Result<Vec<Entry>> {
        scope.tag = Some(tag.clone());
        let page = self.server.config.store.list(&scope, None, 0, None).await;
        let page = page.map_err(|e| storage::failed(known("", "pods"), "", e))?;
        Ok(page.items.into_iter().filter(|entry| entry.tag.as_ref() == Some(&tag)).collect())
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
