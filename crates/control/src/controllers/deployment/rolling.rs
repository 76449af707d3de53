//! How many pods each ReplicaSet may have now.

use std::sync::Arc;

use super::sets::{DESIRED, MAX, Sets, size};
use crate::controllers::common::int_or_percent;
use crate::model::{Deployment, Key, ReplicaSet};
use crate::plan::{Plan, Report};

/// Whether all old pods go before the first new one comes.
pub fn is_recreate(deployment: &Deployment) -> bool {
    &*deployment.spec.strategy.kind == "Recreate"
}

fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or(1).max(0)
}

/// How many pods there may be beyond the wanted number.
pub fn surge(deployment: &Deployment) -> i32 {
    if is_recreate(deployment) {
        return 0;
    }
    int_or_percent(&deployment.spec.strategy.rolling_update.max_surge, 1, wanted(deployment), true).max(0)
}

/// How many of the wanted pods may be missing. Never zero together with a surge of zero, for nothing could move then.
pub fn max_unavailable(deployment: &Deployment) -> i32 {
    if is_recreate(deployment) {
        return 0;
    }
    let given = int_or_percent(
        &deployment.spec.strategy.rolling_update.max_unavailable,
        1,
        wanted(deployment),
        false,
    );
    let least = i32::from(surge(deployment) == 0);
    given.clamp(least, wanted(deployment).max(least))
}

/// The size at which a new set begins.
pub fn first_size(deployment: &Deployment, sets: &Sets) -> i32 {
    if is_recreate(deployment) {
        return if sets.old_pods() == 0 { wanted(deployment) } else { 0 };
    }
    (wanted(deployment) + surge(deployment) - sets.wanted()).clamp(0, wanted(deployment))
}

/// Whether the Deployment's size changed since its sets were last sized.
pub fn is_scaling(deployment: &Deployment, sets: &Sets) -> bool {
    let desired = wanted(deployment).to_string();
    sets.all()
        .filter(|set| size(set) > 0)
        .any(|set| set.metadata.annotations.get(DESIRED).is_some_and(|d| **d != *desired))
}

/// Sizes sets in proportion, without moving pods from one template to the other.
pub fn scale_only(plan: &mut Plan, key: &Key, deployment: &Deployment, sets: &Sets) {
    let active: Vec<&Arc<ReplicaSet>> = sets.all().filter(|set| size(set) > 0).collect();
    let want = wanted(deployment);
    let lone = match active.as_slice() {
        [] => sets.new.as_ref().or(sets.old.last()),
        [one] => Some(*one),
        _ => None,
    };
    if let Some(set) = lone {
        return Sets::resize(plan, key, deployment, set, want);
    }
    // A finished rollout scales its new set only.
    if let Some(new) = &sets.new
        && new.status.available_replicas == want
        && size(new) == want
    {
        for set in &sets.old {
            Sets::resize(plan, key, deployment, set, 0);
        }
        return;
    }
    let limit = if want == 0 { 0 } else { want + surge(deployment) };
    let total: i32 = active.iter().map(|set| size(set)).sum();
    let mut left = limit - total;
    let mut ordered = active;
    // The largest bear most of it; among equals the newer one when growing.
    ordered.sort_by_key(|set| std::cmp::Reverse((size(set), set.metadata.creation_timestamp)));
    let mut sizes: Vec<i32> = Vec::with_capacity(ordered.len());
    for set in &ordered {
        let before = set
            .metadata
            .annotations
            .get(MAX)
            .and_then(|m| m.parse::<i64>().ok())
            .unwrap_or(i64::from(total.max(1)));
        let fair =
            (f64::from(size(set)) * f64::from(limit) / before.max(1) as f64).round() as i32 - size(set);
        let share = if left > 0 { fair.clamp(0, left) } else { fair.clamp(left, 0) };
        left -= share;
        sizes.push(size(set) + share);
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + left).max(0);
    }
    for (set, size) in ordered.into_iter().zip(sizes) {
        Sets::resize(plan, key, deployment, set, size);
    }
}

/// All old pods first, then the new ones.
pub fn recreate(plan: &mut Plan, key: &Key, deployment: &Deployment, sets: &Sets, report: &mut Report) {
    for set in sets.old.iter().filter(|set| size(set) > 0) {
        Sets::resize(plan, key, deployment, set, 0);
    }
    if sets.old_pods() > 0 {
        return report.waits(format!("{} old pods to end", sets.old_pods()));
    }
    if let Some(new) = &sets.new {
        Sets::resize(plan, key, deployment, new, wanted(deployment));
    }
}

/// One step of a rolling update: the new set up as far as the surge allows, else the old ones down as far as
/// availability allows.
pub fn roll(plan: &mut Plan, key: &Key, deployment: &Deployment, sets: &mut Sets, report: &mut Report) {
    let Some(new) = &sets.new else { return };
    let want = wanted(deployment);
    if size(new) > want {
        return Sets::resize(plan, key, deployment, new, want);
    }
    let room = want + surge(deployment) - sets.wanted();
    if size(new) < want && room > 0 {
        return Sets::resize(plan, key, deployment, new, (size(new) + room).min(want));
    }
    Sets::resize(plan, key, deployment, new, size(new));
    let old_total: i32 = sets.old.iter().map(|set| size(set)).sum();
    if old_total == 0 {
        return;
    }
    let least = want - max_unavailable(deployment);
    let new_missing = size(new) - new.status.available_replicas;
    let mut removable = sets.wanted() - least - new_missing;
    if removable <= 0 {
        return report.waits(format!("{new_missing} new pods to become available"));
    }
    let mut sizes: Vec<i32> = sets.old.iter().map(|set| size(set)).collect();
    // Pods that serve nobody go first.
    for (set, size) in sets.old.iter().zip(&mut sizes) {
        let broken = (*size - set.status.available_replicas).clamp(0, removable);
        *size -= broken;
        removable -= broken;
    }
    let available: i32 = sets.all().map(|set| set.status.available_replicas).sum();
    let mut spare = (available - least).min(removable);
    for size in &mut sizes {
        let step = (*size).min(spare).max(0);
        *size -= step;
        spare -= step;
    }
    for (set, size) in sets.old.iter().zip(sizes) {
        if size != super::sets::size(set) {
            Sets::resize(plan, key, deployment, set, size);
        }
    }
}
