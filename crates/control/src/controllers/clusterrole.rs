//! ClusterRoles that are the sum of others: writes the rules of those that their selectors choose into them.
//!
//! The API server does not wait for it, since it adds up the rules when it checks a right; this is for those who read
//! the role.

use serde_json::{Value, json};

use crate::labels;
use crate::model::{ClusterRole, Key};
use crate::plan::{Action, Plan, Precondition, Report};
use crate::view::View;

/// Whether the rules of `part` belong into `sum`.
pub fn takes(sum: &ClusterRole, part: &ClusterRole) -> bool {
    let Some(rule) = &sum.aggregation_rule else { return false };
    sum.metadata.name != part.metadata.name
        && rule.cluster_role_selectors.iter().any(|selector| labels::matches(selector, &part.metadata.labels))
}

pub fn plan(view: &View, key: &Key, _now: i64, _seed: u64) -> (Plan, Report) {
    let (mut plan, report) = (Plan::default(), Report::default());
    let Some(sum) = view.cluster_roles.by_key(key).cloned() else { return (plan, report) };
    if sum.aggregation_rule.is_none() || sum.metadata.is_deleting() {
        return (plan, report);
    }
    let mut rules: Vec<Value> = Vec::new();
    for part in view.cluster_roles.all().into_iter().filter(|part| takes(&sum, part)) {
        for rule in part.rules.as_array().into_iter().flatten() {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    if sum.rules.as_array().is_none_or(|old| *old != rules) {
        plan.push(Action::Patch {
            target: key.clone(),
            subresource: None,
            patch: json!({"rules": rules}),
            only_if: Precondition::unchanged(&sum.metadata),
        });
    }
    (plan, report)
}
