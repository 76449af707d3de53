//! Which resources are watched, and how their objects are read.
//!
//! The kinds that controllers decide on are read into projections; of everything else only metadata is asked for.

use std::sync::Arc;

use dunlin_control::model::{
    Claim, Cluster, ConfigMap, ControllerRevision, DaemonSet, Deployment, EndpointSlice, Held, Job, Key,
    Lease, Meta, Migration, Namespace, Node, Object, PersistentVolume, Pod, ReplicaSet, RuntimeClass,
    Service, ServiceAccount, StorageClass,
};
use dunlin_control::resource::{Resource, Resources};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// One object as an informer delivers it.
#[derive(Debug, Clone)]
pub enum Any {
    Pod(Arc<Pod>),
    Node(Arc<Node>),
    ReplicaSet(Arc<ReplicaSet>),
    Deployment(Arc<Deployment>),
    DaemonSet(Arc<DaemonSet>),
    Job(Arc<Job>),
    Migration(Arc<Migration>),
    ControllerRevision(Arc<ControllerRevision>),
    Service(Arc<Service>),
    EndpointSlice(Arc<EndpointSlice>),
    Namespace(Arc<Namespace>),
    ServiceAccount(Arc<ServiceAccount>),
    ConfigMap(Arc<ConfigMap>),
    Lease(Arc<Lease>),
    Cluster(Arc<Cluster>),
    Volume(Arc<PersistentVolume>),
    Claim(Arc<Claim>),
    StorageClass(Arc<StorageClass>),
    RuntimeClass(Arc<RuntimeClass>),
    /// An object of which only metadata is known.
    Other(Arc<Object>),
}

impl Any {
    pub fn metadata(&self) -> &Arc<Meta> {
        match self {
            Self::Pod(o) => &o.metadata,
            Self::Node(o) => &o.metadata,
            Self::ReplicaSet(o) => &o.metadata,
            Self::Deployment(o) => &o.metadata,
            Self::DaemonSet(o) => &o.metadata,
            Self::Job(o) => &o.metadata,
            Self::Migration(o) => &o.metadata,
            Self::ControllerRevision(o) => &o.metadata,
            Self::Service(o) => &o.metadata,
            Self::EndpointSlice(o) => &o.metadata,
            Self::Namespace(o) => &o.metadata,
            Self::ServiceAccount(o) => &o.metadata,
            Self::ConfigMap(o) => &o.metadata,
            Self::Lease(o) => &o.metadata,
            Self::Cluster(o) => &o.metadata,
            Self::Volume(o) => &o.metadata,
            Self::Claim(o) => &o.metadata,
            Self::StorageClass(o) => &o.metadata,
            Self::RuntimeClass(o) => &o.metadata,
            Self::Other(o) => &o.metadata,
        }
    }

    pub fn key(&self) -> Key {
        match self {
            Self::Pod(o) => o.key(),
            Self::Node(o) => o.key(),
            Self::ReplicaSet(o) => o.key(),
            Self::Deployment(o) => o.key(),
            Self::DaemonSet(o) => o.key(),
            Self::Job(o) => o.key(),
            Self::Migration(o) => o.key(),
            Self::ControllerRevision(o) => o.key(),
            Self::Service(o) => o.key(),
            Self::EndpointSlice(o) => o.key(),
            Self::Namespace(o) => o.key(),
            Self::ServiceAccount(o) => o.key(),
            Self::ConfigMap(o) => o.key(),
            Self::Lease(o) => o.key(),
            Self::Cluster(o) => o.key(),
            Self::Volume(o) => o.key(),
            Self::Claim(o) => o.key(),
            Self::StorageClass(o) => o.key(),
            Self::RuntimeClass(o) => o.key(),
            Self::Other(o) => o.key(),
        }
    }
}

/// A page of a list.
pub struct Page {
    pub items: Vec<Any>,
    pub version: Arc<str>,
    pub next: Option<String>,
}

type Parse = fn(&Arc<str>, &str) -> Result<Any, serde_json::Error>;
type ParsePage = fn(&Arc<str>, &str) -> Result<Page, serde_json::Error>;

/// One informer's subject.
#[derive(Clone)]
pub struct Watched {
    pub resource: Arc<Resource>,
    /// Only objects of this namespace; empty for all.
    pub namespace: &'static str,
    /// Only objects that this field selector chooses; empty for all.
    pub fields: &'static str,
    /// Whether only metadata is asked for.
    pub metadata_only: bool,
    pub parse: Parse,
    pub parse_page: ParsePage,
}

impl Watched {
    /// Names the informer: a resource may have one for metadata and one for a few whole objects.
    pub fn id(&self) -> (Arc<str>, bool) {
        (self.resource.name.clone(), self.metadata_only)
    }
}

/// The typed informers.
pub fn typed(resources: &Resources) -> Vec<Watched> {
    let kinds: [(&str, &'static str, &'static str, Parse, ParsePage); 19] = [
        ("pods", "", "", |_, t| from(t, Any::Pod), |_, t| list(t, Any::Pod)),
        ("nodes", "", "", |_, t| from(t, Any::Node), |_, t| list(t, Any::Node)),
        ("replicasets.apps", "", "", |_, t| from(t, Any::ReplicaSet), |_, t| list(t, Any::ReplicaSet)),
        ("deployments.apps", "", "", |_, t| from(t, Any::Deployment), |_, t| list(t, Any::Deployment)),
        ("daemonsets.apps", "", "", |_, t| from(t, Any::DaemonSet), |_, t| list(t, Any::DaemonSet)),
        ("jobs.batch", "", "", |_, t| from(t, Any::Job), |_, t| list(t, Any::Job)),
        ("migrations.dunlin.io", "", "", |_, t| from(t, Any::Migration), |_, t| list(t, Any::Migration)),
        (
            "controllerrevisions.apps",
            "",
            "",
            |_, t| from(t, Any::ControllerRevision),
            |_, t| list(t, Any::ControllerRevision),
        ),
        ("services", "", "", |_, t| from(t, Any::Service), |_, t| list(t, Any::Service)),
        (
            "endpointslices.discovery.k8s.io",
            "",
            "",
            |_, t| from(t, Any::EndpointSlice),
            |_, t| list(t, Any::EndpointSlice),
        ),
        ("namespaces", "", "", |_, t| from(t, Any::Namespace), |_, t| list(t, Any::Namespace)),
        ("serviceaccounts", "", "", |_, t| from(t, Any::ServiceAccount), |_, t| list(t, Any::ServiceAccount)),
        (
            "configmaps",
            "",
            "metadata.name=kube-root-ca.crt",
            |_, t| from(t, Any::ConfigMap),
            |_, t| list(t, Any::ConfigMap),
        ),
        (
            "runtimeclasses.node.k8s.io",
            "",
            "",
            |_, t| from(t, Any::RuntimeClass),
            |_, t| list(t, Any::RuntimeClass),
        ),
        ("clusters.dunlin.io", "", "", |_, t| from(t, Any::Cluster), |_, t| list(t, Any::Cluster)),
        ("persistentvolumes", "", "", |_, t| from(t, Any::Volume), |_, t| list(t, Any::Volume)),
        ("persistentvolumeclaims", "", "", |_, t| from(t, Any::Claim), |_, t| list(t, Any::Claim)),
        (
            "storageclasses.storage.k8s.io",
            "",
            "",
            |_, t| from(t, Any::StorageClass),
            |_, t| list(t, Any::StorageClass),
        ),
        (
            "leases.coordination.k8s.io",
            "kube-node-lease",
            "",
            |_, t| from(t, Any::Lease),
            |_, t| list(t, Any::Lease),
        ),
    ];
    let watched = kinds.into_iter().filter_map(|(name, namespace, fields, parse, parse_page)| {
        let resource = resources.get(name)?.clone();
        Some(Watched { resource, namespace, fields, metadata_only: false, parse, parse_page })
    });
    watched.collect()
}

/// An informer of metadata.
pub fn metadata(resource: Arc<Resource>) -> Watched {
    Watched { resource, namespace: "", fields: "", metadata_only: true, parse: other, parse_page: others }
}

/// Whether metadata of the resource has to be watched apart: it is not held typed in full, and may have owners or
/// stand in the way of its namespace's end. Events are too many and are ended by their time; Leases change too often.
pub fn needs_metadata(name: &str) -> bool {
    const HELD: &[&str] = &[
        "pods",
        "nodes",
        "replicasets.apps",
        "deployments.apps",
        "daemonsets.apps",
        "jobs.batch",
        "migrations.dunlin.io",
        "controllerrevisions.apps",
        "services",
        "endpointslices.discovery.k8s.io",
        "namespaces",
        "serviceaccounts",
        "clusters.dunlin.io",
        "persistentvolumes",
        "persistentvolumeclaims",
        "storageclasses.storage.k8s.io",
        "runtimeclasses.node.k8s.io",
    ];
    const NEVER: &[&str] = &["events", "events.events.k8s.io", "leases.coordination.k8s.io"];
    !HELD.contains(&name) && !NEVER.contains(&name)
}

fn from<T: DeserializeOwned>(text: &str, make: fn(Arc<T>) -> Any) -> Result<Any, serde_json::Error> {
    serde_json::from_str::<T>(text).map(|object| make(Arc::new(object)))
}

#[derive(Deserialize)]
struct List<T> {
    metadata: ListMeta,
    items: Option<Vec<T>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    #[serde(default)]
    resource_version: Arc<str>,
    #[serde(default)]
    r#continue: Option<String>,
}

fn list<T: DeserializeOwned>(text: &str, make: fn(Arc<T>) -> Any) -> Result<Page, serde_json::Error> {
    let list: List<T> = serde_json::from_str(text)?;
    let items = list.items.unwrap_or_default().into_iter().map(|object| make(Arc::new(object))).collect();
    let next = list.metadata.r#continue.filter(|next| !next.is_empty());
    Ok(Page { items, version: list.metadata.resource_version, next })
}

#[derive(Deserialize)]
struct Partial {
    metadata: Arc<Meta>,
}

fn other(resource: &Arc<str>, text: &str) -> Result<Any, serde_json::Error> {
    let partial: Partial = serde_json::from_str(text)?;
    Ok(Any::Other(Arc::new(Object { resource: resource.clone(), metadata: partial.metadata })))
}

fn others(resource: &Arc<str>, text: &str) -> Result<Page, serde_json::Error> {
    let list: List<Partial> = serde_json::from_str(text)?;
    let make = |partial: Partial| {
        Any::Other(Arc::new(Object { resource: resource.clone(), metadata: partial.metadata }))
    };
    let next = list.metadata.r#continue.filter(|next| !next.is_empty());
    let items = list.items.unwrap_or_default().into_iter().map(make).collect();
    Ok(Page { items, version: list.metadata.resource_version, next })
}
