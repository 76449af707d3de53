//! The history of a template as `ControllerRevision` objects, for DaemonSets and StatefulSets.
//!
//! `kubectl rollout history` and `undo` read them. A revision's data is a patch that replaces the template, which is how
//! `undo` applies it. The newest revision has the highest number; going back to an old template gives its revision a new
//! number instead of making a second one.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::common;
use crate::labels;
use crate::model::{ControllerRevision, Held, Key, Meta, Pod};
use crate::plan::{Action, Plan, Precondition};
use crate::view::View;

/// The label of a pod that says which revision it was made from.
pub const POD_LABEL: &str = "controller-revision-hash";

/// Whose revisions they are.
pub struct Owner<'a> {
    pub key: &'a Key,
    pub metadata: &'a Meta,
    pub selector: &'a Value,
    pub template: &'a Value,
    pub reference: &'a Value,
    /// Salt of the hash: how often another template had the same hash.
    pub collisions: i32,
    /// The label of a revision that holds its hash.
    pub label: &'static str,
}

/// The revision of the current template.
pub struct Revisions {
    /// All that were there before, oldest first.
    pub known: Vec<Arc<ControllerRevision>>,
    pub name: Arc<str>,
    pub hash: Arc<str>,
    pub collisions: i32,
}

/// Sees to it that the current template has a revision and that it is the newest.
pub fn revise(view: &View, plan: &mut Plan, owner: &Owner) -> Revisions {
    let data = json!({"spec": {"template": mark_replace(owner.template)}});
    let mut known = claim(view, plan, owner);
    known.sort_by(|a, b| (a.revision, &a.metadata.name).cmp(&(b.revision, &b.metadata.name)));
    let newest = known.last().map_or(0, |revision| revision.revision);
    if let Some(same) = known.iter().rev().find(|revision| *revision.data == data).cloned() {
        if same.revision != newest {
            plan.push(Action::Patch {
                target: same.key(),
                subresource: None,
                patch: json!({"revision": newest + 1}),
                only_if: Precondition::uid(&same.metadata.uid),
            });
        }
        let hash = same.metadata.labels.get(owner.label).cloned().unwrap_or_default();
        return Revisions { known, name: same.metadata.name.clone(), hash, collisions: owner.collisions };
    }
    // A name that another object has is no place for this template: salt it.
    let mut collisions = owner.collisions;
    let (hash, name) = loop {
        let hash = common::hash(owner.template, collisions);
        let name = format!("{}-{hash}", owner.key.name);
        if view.controller_revisions.get(&owner.key.namespace, &name).is_none() {
            break (hash, name);
        }
        collisions += 1;
    };
    let mut labels = owner.template["metadata"]["labels"].clone();
    labels[owner.label] = json!(hash);
    let cause = owner.metadata.annotations.get("kubernetes.io/change-cause");
    plan.push(Action::Create {
        resource: ControllerRevision::RESOURCE.into(),
        namespace: owner.key.namespace.clone(),
        object: json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision",
            "metadata": {
                "name": name, "namespace": owner.key.namespace, "labels": labels,
                "annotations": cause.map(|cause| json!({"kubernetes.io/change-cause": cause})),
                "ownerReferences": [owner.reference],
            },
            "data": data, "revision": newest + 1,
        }),
    });
    Revisions { known, name: name.into(), hash: hash.into(), collisions }
}

/// Deletes the oldest revisions that no pod has and that is not named `current`, so that `limit` of those are left.
pub fn truncate(
    plan: &mut Plan,
    revisions: &Revisions,
    pods: &[Arc<Pod>],
    current: &str,
    limit: Option<i32>,
    label: &str,
) {
    let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
    // A StatefulSet's pods name their revision, a DaemonSet's its hash.
    let live: HashSet<&Arc<str>> = pods.iter().filter_map(|pod| pod.metadata.labels.get(POD_LABEL)).collect();
    let dead = |revision: &&Arc<ControllerRevision>| {
        let meta = &revision.metadata;
        let used = live.contains(&meta.name) || meta.labels.get(label).is_some_and(|h| live.contains(h));
        !used && meta.name != revisions.name && &*meta.name != current && !meta.is_deleting()
    };
    let history: Vec<_> = revisions.known.iter().filter(dead).collect();
    let surplus = history.len().saturating_sub(limit);
    let surplus = history.into_iter().take(surplus);
    plan.actions.extend(surplus.map(|revision| common::delete(revision.key(), &revision.metadata)));
}

/// The template that a revision holds.
pub fn template_of(revision: &ControllerRevision) -> Value {
    let mut template = revision.data["spec"]["template"].clone();
    if let Some(fields) = template.as_object_mut() {
        fields.remove("$patch");
    }
    template
}

/// Owned revisions, and those without a controller that the selector chooses, which are adopted: their owner was
/// deleted with `--cascade=orphan` and made again.
fn claim(view: &View, plan: &mut Plan, owner: &Owner) -> Vec<Arc<ControllerRevision>> {
    let mut known = view.controller_revisions.of_owner(&owner.metadata.uid);
    for orphan in view.controller_revisions.in_namespace(&owner.key.namespace) {
        let is_orphan = orphan.metadata.controller().is_none() && !orphan.metadata.is_deleting();
        let named = orphan.metadata.name.strip_prefix(&*owner.key.name).is_some_and(|r| r.starts_with('-'));
        if is_orphan && named && labels::matches(owner.selector, &orphan.metadata.labels) {
            plan.push(common::adopt(orphan.key(), &orphan.metadata, owner.reference));
            known.push(orphan);
        }
    }
    known
}

fn mark_replace(template: &Value) -> Value {
    let mut marked = template.clone();
    marked["$patch"] = json!("replace");
    marked
}
