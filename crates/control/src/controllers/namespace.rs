//! Empties a namespace that is being deleted, and lets it go when nothing is left in it.

use serde_json::json;

use super::common;
use crate::model::Key;
use crate::plan::{Action, Plan, Precondition, Report};
use crate::view::View;

/// The finalizer that stands for this controller in `spec.finalizers`.
const FINALIZER: &str = "kubernetes";

pub fn plan(view: &View, key: &Key, _now: i64, _seed: u64) -> (Plan, Report) {
    let (mut plan, mut report) = (Plan::default(), Report::default());
    let Some(namespace) = view.namespaces.by_key(key).cloned() else { return (plan, report) };
    if !namespace.metadata.is_deleting() || !namespace.spec.finalizers.iter().any(|f| &**f == FINALIZER) {
        return (plan, report);
    }
    let content = view.objects.in_namespace(&key.name);
    if content.is_empty() {
        let left: Vec<_> = namespace.spec.finalizers.iter().filter(|f| &***f != FINALIZER).collect();
        plan.push(Action::Patch {
            target: key.clone(),
            subresource: Some("finalize"),
            patch: json!({"spec": {"finalizers": left}}),
            only_if: Precondition::uid(&namespace.metadata.uid),
        });
        return (plan, report);
    }
    report.waits(format!("{} objects to be deleted", content.len()));
    for object in content.iter().filter(|object| !object.metadata.is_deleting()) {
        plan.push(common::delete(object.key(), &object.metadata));
    }
    (plan, report)
}
