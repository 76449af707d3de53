//! As many pods as the ReplicaSet asks for, and a status that counts them.
//!
//! Pods on machines out of reach (`dunlin.io/Dangling`) are not counted, so that others replace them; when the machine
//! comes back they count again, and the surplus goes by the usual rank: never a ready pod before an unready one. Of a pod
//! that moves and its successor only one counts ([`succession`]).

use std::sync::Arc;

use serde_json::json;

use super::common::{self, BURST, Conditions};
use super::succession::{self, Succession};
use crate::labels;
use crate::model::{Key, Pod, ReplicaSet};
use crate::plan::{Plan, Report};
use crate::view::View;

const COMPONENT: &str = "replicaset-controller";

pub fn plan(view: &View, key: &Key, now: i64, seed: u64) -> (Plan, Report) {
    let (mut plan, mut report) = (Plan::default(), Report::default());
    let Some(set) = view.replica_sets.by_key(key).cloned() else { return (plan, report) };
    let reference = common::owner_reference(&set.metadata, "apps/v1", "ReplicaSet");
    let claimed = common::claim(view, key, &set.metadata, &set.spec.selector, &reference, &mut plan);
    let Succession { mut counted, surplus } = succession::sort(view, &claimed);
    status(&mut plan, key, &set, &counted, now);
    if set.metadata.is_deleting() {
        return (plan, report);
    }
    for pod in surplus {
        plan.push(common::delete(crate::model::Held::key(&*pod), &pod.metadata));
    }
    let wanted = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0);
    if counted.len() < wanted {
        let missing = (wanted - counted.len()).min(BURST);
        let pod = common::pod_from(&set.spec.template, &key.namespace, &set.metadata, reference);
        for n in 0..missing {
            common::create_pod(&mut plan, key, &set.metadata, COMPONENT, pod.clone(), (seed, n));
        }
        report.waits(format!("{missing} new pods"));
    } else if counted.len() > wanted {
        common::rank_for_deletion(&mut counted);
        for pod in counted.iter().take((counted.len() - wanted).min(BURST)) {
            plan.push(common::delete(crate::model::Held::key(&**pod), &pod.metadata));
            let message = format!("Deleted pod: {}", pod.metadata.name);
            plan.push(common::event(key, &set.metadata, COMPONENT, "SuccessfulDelete", message));
        }
    }
    (plan, report)
}

fn status(plan: &mut Plan, key: &Key, set: &ReplicaSet, pods: &[Arc<Pod>], now: i64) {
    let count = |test: &dyn Fn(&Pod) -> bool| pods.iter().filter(|pod| test(pod)).count();
    let template_labels = json!({"matchLabels": set.spec.template["metadata"]["labels"]});
    let available = count(&|pod| pod.is_available(set.spec.min_ready_seconds, now));
    let ready = count(&Pod::is_ready);
    let soon = pods.iter().filter_map(|pod| pod.available_at(set.spec.min_ready_seconds, now));
    soon.for_each(|at| plan.again_at(at));
    let mut conditions = Conditions::new(&set.status.conditions);
    // A failure to create is written by whoever executes plans; a full count ends it.
    if pods.len() >= usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0) {
        conditions.remove("ReplicaFailure");
    }
    let old = json!({
        "replicas": set.status.replicas,
        "fullyLabeledReplicas": set.status.fully_labeled_replicas,
        "readyReplicas": set.status.ready_replicas,
        "availableReplicas": set.status.available_replicas,
        "observedGeneration": set.status.observed_generation,
    });
    let mut new = json!({
        "replicas": pods.len(),
        "fullyLabeledReplicas": count(&|pod| labels::matches(&template_labels, &pod.metadata.labels)),
        "readyReplicas": ready,
        "availableReplicas": available,
        "observedGeneration": set.metadata.generation,
    });
    if let Some(conditions) = conditions.into_changed() {
        new["conditions"] = conditions;
    }
    common::patch_status(plan, key, &set.metadata, &old, new);
}
