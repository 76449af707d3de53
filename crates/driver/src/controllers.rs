//! The controllers, and which keys of which of them a change concerns.
//!
//! A controller reads more than the object that its key names; every such reading needs a line here, or the controller
//! sleeps through a change. Too many keys cost time only.

use std::sync::Arc;

use dunlin_control::controllers::{
    self as control, PlanFn, autoscaler, claim, clusterrole, cronjob, daemonset, deployment, disruption,
    endpointslice, ephemeral, gc, job, migration, namespace, nodeipam, nodelifecycle, podgc, quota,
    replicaset, serviceaccount, statefulset, volume,
};
use dunlin_control::labels;
use dunlin_control::model::{
    Claim, ClusterRole, Held, Key, Meta, Migration, Node, OwnerReference, PersistentVolume, Pod, StatefulSet,
};
use dunlin_control::resource::Resource;
use dunlin_control::view::View;

use crate::cluster::Step;
use crate::kinds::Any;
use crate::work::Id;

pub const DEPLOYMENT: usize = 0;
pub const REPLICA_SET: usize = 1;
pub const DAEMON_SET: usize = 2;
pub const JOB: usize = 3;
pub const ENDPOINT_SLICE: usize = 4;
pub const NAMESPACE: usize = 5;
pub const GC: usize = 6;
pub const NODE_LIFECYCLE: usize = 7;
pub const NODE_IPAM: usize = 8;
pub const SERVICE_ACCOUNT: usize = 9;
pub const POD_GC: usize = 10;
pub const MIGRATION: usize = 11;
pub const CLAIM: usize = 12;
pub const VOLUME: usize = 13;
pub const EPHEMERAL: usize = 14;
pub const STATEFUL_SET: usize = 15;
pub const CRON_JOB: usize = 16;
pub const DISRUPTION: usize = 17;
pub const AUTOSCALER: usize = 18;
pub const QUOTA: usize = 19;
pub const CLUSTER_ROLE: usize = 20;

/// Name and decision of each controller, by its number.
pub const TABLE: [(&str, PlanFn); 21] = [
    ("deployment", deployment::plan as control::PlanFn),
    ("replicaset", replicaset::plan),
    ("daemonset", daemonset::plan),
    ("job", job::plan),
    ("endpointslice", endpointslice::plan),
    ("namespace", namespace::plan),
    ("gc", gc::plan),
    ("nodelifecycle", nodelifecycle::plan),
    ("nodeipam", nodeipam::plan),
    ("serviceaccount", serviceaccount::plan),
    ("podgc", podgc::plan),
    ("migration", migration::plan),
    ("claim", claim::plan),
    ("volume", volume::plan),
    ("ephemeral", ephemeral::plan),
    ("statefulset", statefulset::plan),
    ("cronjob", cronjob::plan),
    ("disruption", disruption::plan),
    ("autoscaler", autoscaler::plan),
    ("quota", quota::plan),
    ("clusterrole", clusterrole::plan),
];

/// Whether the controller walks the graph of all objects, and so has to wait until all of them are known.
pub fn needs_graph(controller: usize) -> bool {
    matches!(controller, GC | NAMESPACE)
}

/// How long a key may wait for more changes before it is planned, in milliseconds: collecting pods costs all of them, and
/// a quota that was just charged for an object is counted again when the object has been seen.
pub fn patience(controller: usize) -> u64 {
    match controller {
        POD_GC => 2_000,
        QUOTA => 300,
        _ => 0,
    }
}

/// Collects all pods at once, so there is one key.
fn pod_gc() -> Id {
    (POD_GC, Key::new("pods", "", ""))
}

/// The keys to plan again after `step`.
pub fn concerned(view: &View, step: &Step, ids: &mut Vec<Id>) {
    graph(view, step, ids);
    counted(view, step, ids);
    for object in [&step.old, &step.new].into_iter().flatten() {
        let key = object.key();
        match object {
            Any::Pod(pod) => of_pod(view, step, pod, ids),
            Any::Node(node) => of_node(view, step, node, ids),
            Any::ReplicaSet(_) => {
                ids.push((REPLICA_SET, key));
                controlled(object.metadata(), "Deployment", "deployments.apps", DEPLOYMENT, ids);
                if object.metadata().controller().is_none() {
                    let deployments = view.deployments.in_namespace(&object.metadata().namespace);
                    adopters(deployments, object.metadata(), DEPLOYMENT, ids);
                }
            }
            Any::Deployment(_) => ids.push((DEPLOYMENT, key)),
            Any::DaemonSet(_) => ids.push((DAEMON_SET, key)),
            Any::StatefulSet(_) => ids.push((STATEFUL_SET, key)),
            Any::PodDisruptionBudget(_) => ids.push((DISRUPTION, key)),
            Any::HorizontalPodAutoscaler(_) => ids.push((AUTOSCALER, key)),
            Any::PodMetrics(_) => {
                let all = view.autoscalers.in_namespace(&key.namespace).into_iter();
                ids.extend(all.map(|scaler| (AUTOSCALER, scaler.key())));
            }
            Any::ClusterRole(role) => {
                // A change of any may change those that are made of others.
                let sums = view.cluster_roles.all().into_iter().filter(|sum| sum.aggregation_rule.is_some());
                let takes = |sum: &ClusterRole| {
                    clusterrole::takes(sum, role) || sum.metadata.uid == role.metadata.uid
                };
                ids.extend(sums.filter(|sum| takes(sum)).map(|sum| (CLUSTER_ROLE, sum.key())));
            }
            Any::CronJob(_) => ids.push((CRON_JOB, key)),
            Any::Job(_) => {
                ids.push((JOB, key));
                controlled(object.metadata(), "CronJob", "cronjobs.batch", CRON_JOB, ids);
            }
            Any::ControllerRevision(_) => {
                controlled(object.metadata(), "DaemonSet", "daemonsets.apps", DAEMON_SET, ids);
                controlled(object.metadata(), "StatefulSet", "statefulsets.apps", STATEFUL_SET, ids);
            }
            Any::Migration(moving) => {
                ids.push((MIGRATION, key));
                // Who counts depends on whether a move is under way.
                for name in [&moving.spec.pod, &moving.status.replacement] {
                    if let Some(pod) = view.pods.get(&moving.metadata.namespace, name) {
                        controlled(&pod.metadata, "ReplicaSet", "replicasets.apps", REPLICA_SET, ids);
                    }
                }
            }
            Any::Service(_) => ids.push((ENDPOINT_SLICE, key)),
            Any::EndpointSlice(_) => {
                // The pod that moved away ends when it has left the slices.
                moves(view, &key.namespace, |_| true, ids);
                if let Some(service) = object.metadata().labels.get("kubernetes.io/service-name") {
                    ids.push((ENDPOINT_SLICE, Key::new("services", key.namespace, service.clone())));
                }
            }
            Any::Namespace(_) => {
                ids.push((NAMESPACE, key.clone()));
                ids.push((SERVICE_ACCOUNT, key));
            }
            Any::ServiceAccount(_) | Any::ConfigMap(_) => {
                ids.push((SERVICE_ACCOUNT, Key::new("namespaces", "", key.namespace)));
            }
            Any::Lease(_) => ids.push((NODE_LIFECYCLE, Key::new("nodes", "", key.name))),
            // What may match below decides where daemons go.
            Any::Cluster(_) => ids.extend(view.daemon_sets.keys().into_iter().map(|set| (DAEMON_SET, set))),
            Any::PersistentVolume(volume) => of_volume(view, volume, ids),
            Any::Claim(claim) => of_claim(view, step, claim, ids),
            Any::StorageClass(class) => {
                // A claim without a class gets the default one when there is one.
                let name = &class.metadata.name;
                let of_class =
                    |claim: &Claim| claim.spec.storage_class_name.as_ref().is_none_or(|c| c == name);
                unbound(view, of_class, ids);
            }
            Any::ResourceQuota(_) | Any::RuntimeClass(_) | Any::Other(_) => {}
        }
        // How many pods there should be is what budgets in percent count from.
        if matches!(object, Any::ReplicaSet(_) | Any::Deployment(_) | Any::StatefulSet(_)) {
            let budgets = view.budgets.in_namespace(&object.metadata().namespace);
            ids.extend(budgets.iter().map(|budget| (DISRUPTION, budget.key())));
        }
    }
}

/// The quotas of the namespace in which something came, went, or changed in what it takes.
fn counted(view: &View, step: &Step, ids: &mut Vec<Id>) {
    let Some(object) = step.new.as_ref().or(step.old.as_ref()) else { return };
    let measured = matches!(object, Any::Pod(_) | Any::Service(_) | Any::Claim(_) | Any::ResourceQuota(_));
    if measured || step.old.is_none() || step.new.is_none() {
        let quotas = view.quotas.in_namespace(&object.metadata().namespace);
        ids.extend(quotas.iter().map(|quota| (QUOTA, quota.key())));
    }
}

/// All autoscalers: what they go by was measured.
pub fn autoscalers(view: &View, ids: &mut Vec<Id>) {
    ids.extend(view.autoscalers.keys().into_iter().map(|key| (AUTOSCALER, key)));
}

/// Objects that name an owner of `resource`: they are planned again when it is known which of these there are.
pub fn owned(view: &View, resource: &Resource, ids: &mut Vec<Id>) {
    let is_of = |owner: &OwnerReference| resource.is_kind(&owner.api_version, &owner.kind);
    let owned = view.objects.owned().filter(|object| object.metadata.owner_references.iter().any(is_of));
    ids.extend(owned.map(|object| (GC, object.key())));
}

/// Garbage collection and the end of namespaces.
fn graph(view: &View, step: &Step, ids: &mut Vec<Id>) {
    let Some(object) = step.new.as_ref().or(step.old.as_ref()) else { return };
    let meta = object.metadata();
    let is_new = step.new.is_some();
    let ends = !is_new || meta.is_deleting();
    if is_new && (!meta.owner_references.is_empty() || meta.is_deleting()) {
        ids.push((GC, object.key()));
    }
    if ends {
        ids.extend(view.objects.dependents(&meta.uid).iter().map(|dependent| (GC, dependent.key())));
    }
    // An owner that is going waits until its dependents are gone, or have let go of it.
    let before = step.old.as_ref().map_or(meta, |old| old.metadata());
    let lets_go = |uid: &Arc<str>| ends || meta.owner_references.iter().all(|owner| owner.uid != *uid);
    let left = before.owner_references.iter().filter(|owner| lets_go(&owner.uid));
    let owners = left.filter_map(|owner| view.objects.by_uid(&owner.uid));
    ids.extend(owners.filter(|owner| owner.metadata.is_deleting()).map(|owner| (GC, owner.key())));
    // An object replaced by one of the same name is gone as well.
    if let Some(old) = step.old.as_ref().filter(|old| old.metadata().uid != meta.uid) {
        ids.extend(
            view.objects.dependents(&old.metadata().uid).iter().map(|dependent| (GC, dependent.key())),
        );
    }
    if !meta.namespace.is_empty()
        && view.namespaces.get("", &meta.namespace).is_some_and(|n| n.metadata.is_deleting())
    {
        ids.push((NAMESPACE, Key::new("namespaces", "", meta.namespace.clone())));
    }
}

fn of_pod(view: &View, step: &Step, pod: &Arc<Pod>, ids: &mut Vec<Id>) {
    let meta = &pod.metadata;
    controlled(meta, "ReplicaSet", "replicasets.apps", REPLICA_SET, ids);
    controlled(meta, "DaemonSet", "daemonsets.apps", DAEMON_SET, ids);
    controlled(meta, "StatefulSet", "statefulsets.apps", STATEFUL_SET, ids);
    controlled(meta, "Job", "jobs.batch", JOB, ids);
    // A Deployment that recreates waits for its old pods to be gone.
    if let Some(set) = meta.controller().and_then(|owner| view.replica_sets.get(&meta.namespace, &owner.name))
    {
        controlled(&set.metadata, "Deployment", "deployments.apps", DEPLOYMENT, ids);
    }
    if meta.controller().is_none() {
        adopters(view.replica_sets.in_namespace(&meta.namespace), meta, REPLICA_SET, ids);
        adopters(view.daemon_sets.in_namespace(&meta.namespace), meta, DAEMON_SET, ids);
        adopters(view.stateful_sets.in_namespace(&meta.namespace), meta, STATEFUL_SET, ids);
        adopters(view.jobs.in_namespace(&meta.namespace), meta, JOB, ids);
    }
    let budgets = view.budgets.in_namespace(&meta.namespace);
    let budgets = budgets.iter().filter(|budget| labels::matches(&budget.spec.selector, &meta.labels));
    ids.extend(budgets.map(|budget| (DISRUPTION, budget.key())));
    for service in view.services.in_namespace(&meta.namespace) {
        let selects = |selector| labels::contains(&meta.labels, selector);
        if service.spec.selector.as_ref().is_some_and(selects) {
            ids.push((ENDPOINT_SLICE, service.key()));
        }
    }
    let concerns =
        |moving: &Migration| moving.spec.pod == meta.name || moving.status.replacement == meta.name;
    moves(view, &meta.namespace, concerns, ids);
    for volume in &pod.spec.claims {
        let claim = view.claims.get(&meta.namespace, &volume.claim(pod));
        if let Some(claim) = claim.filter(|claim| claim.metadata.is_deleting()) {
            ids.push((CLAIM, claim.key()));
        }
        if volume.template.is_some() && step.old.is_none() {
            ids.push((EPHEMERAL, pod.key()));
        }
    }
    let moved = |old: &Any| matches!(old, Any::Pod(old) if old.spec.node_name != pod.spec.node_name);
    if !pod.spec.node_name.is_empty() && step.old.as_ref().is_none_or(moved) {
        ids.push((NODE_LIFECYCLE, Key::new("nodes", "", pod.spec.node_name.clone())));
    }
    ids.push(pod_gc());
}

fn of_node(view: &View, step: &Step, node: &Arc<Node>, ids: &mut Vec<Id>) {
    let key = node.key();
    ids.push((NODE_LIFECYCLE, key.clone()));
    ids.push((NODE_IPAM, key));
    let same = match (&step.old, &step.new) {
        (Some(Any::Node(old)), Some(Any::Node(new))) => {
            old.spec == new.spec
                && old.metadata.labels == new.metadata.labels
                && old.is_ready() == new.is_ready()
        }
        _ => false,
    };
    if !same {
        ids.extend(view.daemon_sets.keys().into_iter().map(|set| (DAEMON_SET, set)));
        let here = view.pods.on_node(&node.metadata.name);
        ids.push(pod_gc());
        if step.new.is_none() {
            // What waits for the node has to do without it.
            let name = &node.metadata.name;
            unbound(view, |claim| claim.selected_node() == Some(name), ids);
            let all = view.volumes.all();
            ids.extend(all.iter().filter(|v| v.metadata.is_deleting()).map(|volume| (VOLUME, volume.key())));
        }
        // Endpoints name their node's zone.
        let services = here.iter().flat_map(|pod| {
            let services = view.services.in_namespace(&pod.metadata.namespace).into_iter();
            services.filter(|s| {
                s.spec.selector.as_ref().is_some_and(|wanted| labels::contains(&pod.metadata.labels, wanted))
            })
        });
        ids.extend(services.map(|service| (ENDPOINT_SLICE, service.key())));
    }
}

fn of_volume(view: &View, volume: &PersistentVolume, ids: &mut Vec<Id>) {
    ids.push((VOLUME, volume.key()));
    match &volume.spec.claim_ref {
        Some(claim) => {
            ids.push((
                CLAIM,
                Key::new("persistentvolumeclaims", claim.namespace.clone(), claim.name.clone()),
            ));
        }
        None => unbound(view, |claim| claim.class() == &*volume.spec.storage_class_name, ids),
    }
    // A claim may name a volume that does not name it.
    unbound(view, |claim| claim.spec.volume_name == volume.metadata.name, ids);
}

fn of_claim(view: &View, step: &Step, claim: &Claim, ids: &mut Vec<Id>) {
    ids.push((CLAIM, claim.key()));
    let meta = &claim.metadata;
    // A pod of a StatefulSet is made when its claims are there, `VOLUME-SET-N` each.
    let names = |set: &StatefulSet| {
        meta.name.rsplit_once('-').is_some_and(|(front, _)| front.ends_with(&*set.metadata.name))
    };
    let sets = view.stateful_sets.in_namespace(&meta.namespace);
    ids.extend(sets.iter().filter(|set| names(set)).map(|set| (STATEFUL_SET, set.key())));
    if !claim.spec.volume_name.is_empty() {
        ids.push((VOLUME, Key::new("persistentvolumes", "", claim.spec.volume_name.clone())));
    }
    if step.new.is_none() {
        // Volumes that were kept or made for it.
        let all = view.volumes.all();
        let kept = all.iter().filter(|v| v.spec.claim_ref.as_ref().is_some_and(|c| c.uid == meta.uid));
        ids.extend(kept.map(|volume| (VOLUME, volume.key())));
        controlled(meta, "Pod", "pods", EPHEMERAL, ids);
    }
}

/// Claims that have no volume yet, and are such.
fn unbound(view: &View, is: impl Fn(&Claim) -> bool, ids: &mut Vec<Id>) {
    let all = view.claims.all();
    ids.extend(all.iter().filter(|claim| !claim.is_bound() && is(claim)).map(|claim| (CLAIM, claim.key())));
}

/// Unfinished moves of a namespace.
fn moves(view: &View, namespace: &str, concerns: impl Fn(&Migration) -> bool, ids: &mut Vec<Id>) {
    let all = view.migrations.in_namespace(namespace).into_iter();
    ids.extend(all.filter(|m| !m.is_finished() && concerns(m)).map(|m| (MIGRATION, m.key())));
}

/// The controlling owner, if it is of `kind`.
fn controlled(meta: &Meta, kind: &str, resource: &str, controller: usize, ids: &mut Vec<Id>) {
    if let Some(owner) = meta.controller().filter(|owner| &*owner.kind == kind) {
        ids.push((controller, Key::new(resource, meta.namespace.clone(), owner.name.clone())));
    }
}

/// An object without a controller may be adopted by any that selects it.
fn adopters<T: Selects>(candidates: Vec<Arc<T>>, orphan: &Meta, controller: usize, ids: &mut Vec<Id>) {
    let selecting = candidates.iter().filter(|c| labels::matches(c.selector(), &orphan.labels));
    ids.extend(selecting.map(|c| (controller, c.key())));
}

trait Selects: Held {
    fn selector(&self) -> &serde_json::Value;
}

macro_rules! selects {
    ($($kind:ident),*) => {$(
        impl Selects for dunlin_control::model::$kind {
            fn selector(&self) -> &serde_json::Value {
                &self.spec.selector
            }
        }
    )*};
}
selects!(ReplicaSet, Deployment, DaemonSet, StatefulSet, Job);
