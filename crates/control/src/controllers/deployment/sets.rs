//! A Deployment's ReplicaSets: which is the new one, which are old, and how a new one is made.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::controllers::common;
use crate::labels;
use crate::model::{Deployment, Held, Key, ReplicaSet};
use crate::plan::{Action, Plan, Precondition};
use crate::view::View;

pub const REVISION: &str = "deployment.kubernetes.io/revision";
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAX: &str = "deployment.kubernetes.io/max-replicas";
const HASH: &str = "pod-template-hash";
/// Annotations of the Deployment that say something about the Deployment only.
const OWN_ANNOTATIONS: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// The ReplicaSets of one Deployment.
pub struct Sets {
    /// The one with the Deployment's template, the oldest if there are several.
    pub new: Option<Arc<ReplicaSet>>,
    /// All others, oldest first.
    pub old: Vec<Arc<ReplicaSet>>,
}

impl Sets {
    /// Finds them by owner. (ReplicaSets without a controller are not adopted.)
    pub fn find(view: &View, _key: &Key, deployment: &Deployment) -> Self {
        let mut all: Vec<Arc<ReplicaSet>> = view
            .replica_sets
            .of_owner(&deployment.metadata.uid)
            .into_iter()
            .filter(|set| labels::matches(&deployment.spec.selector, &set.metadata.labels))
            .collect();
        all.sort_by_key(|set| (set.metadata.creation_timestamp, set.metadata.name.clone()));
        let wanted = without_hash(&deployment.spec.template);
        let position = all
            .iter()
            .position(|set| without_hash(&set.spec.template) == wanted && !set.metadata.is_deleting());
        let new = position.map(|n| all.remove(n));
        Self { new, old: all }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.new.iter().chain(&self.old)
    }

    /// Pods that the specifications of all sets ask for together.
    pub fn wanted(&self) -> i32 {
        self.all().map(|set| size(set)).sum()
    }

    /// Pods of old sets that exist or are asked for.
    pub fn old_pods(&self) -> i32 {
        self.old.iter().map(|set| size(set).max(set.status.replicas)).sum()
    }

    /// The revision that the new set has or will get: one above all old ones.
    pub fn next_revision(&self) -> i64 {
        self.old.iter().map(|set| revision(set)).max().unwrap_or(0) + 1
    }

    /// The revision that the Deployment shows.
    pub fn shown_revision(&self, next: i64) -> i64 {
        self.new.as_ref().map_or(next, |set| revision(set).max(next))
    }

    /// The name the new set would get, if something else has it.
    pub fn name_taken(&self, view: &View, key: &Key, deployment: &Deployment) -> Option<String> {
        let name = name(key, deployment);
        view.replica_sets.get(&key.namespace, &name).map(|_| name)
    }

    /// The new set's object.
    pub fn make(&self, deployment: &Deployment, key: &Key, replicas: i32, revision: i64) -> Value {
        let hash = hash(deployment);
        let mut template = (*deployment.spec.template).clone();
        template["metadata"]["labels"][HASH] = json!(hash);
        let mut selector = (*deployment.spec.selector).clone();
        selector["matchLabels"][HASH] = json!(hash);
        let mut annotations = copied(deployment);
        annotations.extend(self.bookkeeping(deployment, revision));
        json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": name(key, deployment),
                "namespace": key.namespace,
                "labels": template["metadata"]["labels"],
                "annotations": annotations,
                "ownerReferences": [common::owner_reference(&deployment.metadata, "apps/v1", "Deployment")],
            },
            "spec": {
                "replicas": replicas,
                "minReadySeconds": deployment.spec.min_ready_seconds,
                "selector": selector,
                "template": template,
            },
        })
    }

    fn bookkeeping(&self, deployment: &Deployment, revision: i64) -> Map<String, Value> {
        let wanted = deployment.spec.replicas.unwrap_or(1);
        let max = wanted + super::rolling::surge(deployment);
        let mut map = Map::new();
        map.insert(REVISION.to_owned(), json!(revision.to_string()));
        map.insert(DESIRED.to_owned(), json!(wanted.to_string()));
        map.insert(MAX.to_owned(), json!(max.to_string()));
        map
    }

    /// Keeps the new set's annotations and `minReadySeconds` in step with the Deployment.
    pub fn annotate_new(&self, plan: &mut Plan, deployment: &Deployment, revision_wanted: i64) {
        let Some(set) = &self.new else { return };
        let mut annotations = copied(deployment);
        annotations.insert(REVISION.to_owned(), json!(revision(set).max(revision_wanted).to_string()));
        annotations.retain(|name, value| {
            set.metadata.annotations.get(name.as_str()).map(|v| &**v) != value.as_str()
        });
        let mut patch = json!({});
        if !annotations.is_empty() {
            patch["metadata"]["annotations"] = Value::Object(annotations);
        }
        if set.spec.min_ready_seconds != deployment.spec.min_ready_seconds {
            patch["spec"]["minReadySeconds"] = json!(deployment.spec.min_ready_seconds);
        }
        if patch != json!({}) {
            plan.push(Action::Patch {
                target: set.key(),
                subresource: None,
                patch,
                only_if: Precondition::uid(&set.metadata.uid),
            });
        }
    }

    /// Sets a set's size, and writes down for which size of the Deployment.
    pub fn resize(plan: &mut Plan, key: &Key, deployment: &Deployment, set: &ReplicaSet, replicas: i32) {
        let wanted = deployment.spec.replicas.unwrap_or(1);
        let max = wanted + super::rolling::surge(deployment);
        let annotations = json!({DESIRED: wanted.to_string(), MAX: max.to_string()});
        let noted = |name: &str| set.metadata.annotations.get(name).map(|v| (**v).to_owned());
        let same = size(set) == replicas;
        if same && noted(DESIRED) == Some(wanted.to_string()) && noted(MAX) == Some(max.to_string()) {
            return;
        }
        plan.push(Action::Patch {
            target: set.key(),
            subresource: None,
            patch: json!({"metadata": {"annotations": annotations}, "spec": {"replicas": replicas}}),
            only_if: Precondition::unchanged(&set.metadata),
        });
        if !same {
            let word = if replicas > size(set) { "up" } else { "down" };
            let message =
                format!("Scaled {word} replica set {} from {} to {replicas}", set.metadata.name, size(set));
            plan.push(common::event(
                key,
                &deployment.metadata,
                super::COMPONENT,
                "ScalingReplicaSet",
                message,
            ));
        }
    }

    /// Deletes empty old sets beyond the history limit, oldest revision first.
    pub fn clean_history(&self, plan: &mut Plan, deployment: &Deployment) {
        let keep = usize::try_from(deployment.spec.revision_history_limit.unwrap_or(10)).unwrap_or(10);
        let mut empty: Vec<_> =
            self.old.iter().filter(|set| size(set) == 0 && set.status.replicas == 0).collect();
        empty.retain(|set| {
            set.status.observed_generation >= set.metadata.generation && !set.metadata.is_deleting()
        });
        empty.sort_by_key(|set| revision(set));
        let surplus = empty.len().saturating_sub(keep);
        plan.actions
            .extend(empty.into_iter().take(surplus).map(|set| common::delete(set.key(), &set.metadata)));
    }
}

/// How many pods a set asks for.
pub fn size(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

fn revision(set: &ReplicaSet) -> i64 {
    set.metadata.annotations.get(REVISION).and_then(|r| r.parse().ok()).unwrap_or(0)
}

fn hash(deployment: &Deployment) -> String {
    common::hash(&deployment.spec.template, deployment.status.collision_count.unwrap_or(0))
}

fn name(key: &Key, deployment: &Deployment) -> String {
    format!("{}-{}", key.name, hash(deployment))
}

fn copied(deployment: &Deployment) -> Map<String, Value> {
    let annotations =
        deployment.metadata.annotations.iter().filter(|(name, _)| !OWN_ANNOTATIONS.contains(&&***name));
    annotations.map(|(name, value)| (name.to_string(), json!(value))).collect()
}

fn without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH);
    }
    if let Some(meta) = template["metadata"].as_object_mut() {
        meta.retain(|_, value| !value.is_null() && value.as_object().is_none_or(|o| !o.is_empty()));
    }
    template
}
