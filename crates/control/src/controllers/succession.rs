//! Who counts while a pod is being moved: the old pod until the new one is ready, the new one from then on.
//!
//! A pod that carries `dunlin.io/replaces: UID` is the *successor* of the pod with that uid. Everything here follows
//! from the pods alone, so that whoever looks comes to the same answer; only whether somebody still conducts the move
//! is read from the Migrations.

use std::collections::HashSet;
use std::sync::Arc;

use dunlin_api::names::annotation::REPLACES;

use super::common::{is_dangling, is_replaced};
use crate::model::Pod;
use crate::view::View;

/// The pods of one controller, sorted by what they count for.
#[derive(Debug, Default)]
pub struct Succession {
    /// One pod for each place: those that count as copies.
    pub counted: Vec<Arc<Pod>>,
    /// Pods that do not count and that no Migration looks after any more: they go.
    pub surplus: Vec<Arc<Pod>>,
}

/// The uid of the pod whose place this one takes.
pub fn predecessor(pod: &Pod) -> Option<&Arc<str>> {
    pod.metadata.annotations.get(REPLACES).filter(|uid| !uid.is_empty())
}

/// Uids of pods whose successor is ready: they leave their Services.
pub fn relieved(pods: &[Arc<Pod>]) -> HashSet<Arc<str>> {
    let ready = pods.iter().filter(|pod| pod.is_active() && pod.is_ready() && !is_dangling(pod));
    ready.filter_map(|pod| predecessor(pod).cloned()).collect()
}

/// Sorts the pods that one controller has claimed.
pub fn sort(view: &View, claimed: &[Arc<Pod>]) -> Succession {
    let mut sorted = Succession::default();
    let here: Vec<&Arc<Pod>> = claimed.iter().filter(|pod| pod.is_active() && !is_replaced(pod)).collect();
    let relieved = relieved(claimed);
    for pod in &here {
        let old = predecessor(pod).and_then(|uid| here.iter().find(|old| old.metadata.uid == *uid));
        // Of a pair, the old pod stands in the name by which its Migration knows it.
        let moving = match old {
            Some(old) if !pod.is_ready() => Some(*old),
            _ if relieved.contains(&pod.metadata.uid) => Some(*pod),
            _ => None,
        };
        match moving {
            None => sorted.counted.push((*pod).clone()),
            Some(old) if is_conducted(view, old) => {}
            Some(_) => sorted.surplus.push((*pod).clone()),
        }
    }
    sorted
}

/// Whether an unfinished Migration moves the pod.
fn is_conducted(view: &View, pod: &Pod) -> bool {
    view.migrations.in_namespace(&pod.metadata.namespace).iter().any(|migration| {
        migration.spec.pod == pod.metadata.name
            && !migration.is_finished()
            && !migration.metadata.is_deleting()
    })
}
