//! Which pods can move, and in which words the others are refused.

use std::sync::Arc;

use super::Refusal;
use crate::controllers::{common, succession};
use crate::model::{Held, Migration, Pod};
use crate::view::View;

/// The pod that shall move, if it can.
pub fn check(view: &View, migration: &Migration) -> Result<Arc<Pod>, Refusal> {
    let (namespace, name) = (&migration.metadata.namespace, &migration.spec.pod);
    let Some(pod) = view.pods.get(namespace, name).cloned() else {
        return Err(Refusal::new("NotFound", format!("there is no pod {name} in {namespace}")));
    };
    if !pod.is_active() {
        return Err(Refusal::new("PodGone", format!("the pod {name} has ended or is ending")));
    }
    if common::is_dangling(&pod) {
        return Err(Refusal::new(
            "Dangling",
            format!("the machine of {name} is out of reach; its controller replaces the pod by itself"),
        ));
    }
    controller(&pod)?;
    ties(&pod)?;
    if let Some(other) = earlier(view, migration) {
        return Err(Refusal::new(
            "AlreadyMigrating",
            format!("the pod {name} is moved by the Migration {} already", other.metadata.name),
        ));
    }
    let owner = pod.metadata.controller().map(|owner| owner.uid.clone()).unwrap_or_default();
    let is_old = |uid: &Arc<str>| {
        view.pods.of_owner(&owner).iter().any(|old| old.metadata.uid == *uid && old.is_active())
    };
    if succession::predecessor(&pod).is_some_and(is_old) {
        return Err(Refusal::new(
            "AlreadyMigrating",
            format!("the pod {name} is about to take another's place; move it when it has"),
        ));
    }
    Ok(pod)
}

/// Only a ReplicaSet makes do with one pod for another.
fn controller(pod: &Pod) -> Result<(), Refusal> {
    let name = &pod.metadata.name;
    let kind = pod.metadata.controller().map(|owner| owner.kind.clone());
    let why = match kind.as_deref() {
        Some("ReplicaSet") => return Ok(()),
        None => {
            let message = format!(
                "the pod {name} has no controller that could take another in its place; `dunlin deploy` makes one"
            );
            return Err(Refusal::new("NoController", message));
        }
        Some("StatefulSet") => "its name is its identity, so no second one may run beside it",
        Some("DaemonSet") => "there is one on every machine that matches",
        Some("Job") => "its work would begin again from the start",
        Some(_) => "its controller does not know of moves",
    };
    let kind = kind.unwrap_or_default();
    Err(Refusal::new("NotMovable", format!("the pod {name} belongs to a {kind}: {why}")))
}

/// What ties a pod to its place.
fn ties(pod: &Pod) -> Result<(), Refusal> {
    let name = &pod.metadata.name;
    if let Some(on_claim) = pod.spec.claims.first() {
        let volume = &on_claim.volume;
        let message = format!("the volume {volume} of the pod {name} is on a claim, which stays where it is");
        return Err(Refusal::new("TiedToClaim", message));
    }
    // Extended resources have a domain (KEP-127); they stand for devices of the machine.
    let device = pod.spec.requests.iter().find(|(name, amount)| *amount > 0 && name.contains('/'));
    if let Some((device, _)) = device {
        let message = format!("the pod {name} holds {device} of its machine");
        return Err(Refusal::new("TiedToDevice", message));
    }
    Ok(())
}

/// Another unfinished Migration of the same pod that goes first.
fn earlier(view: &View, migration: &Migration) -> Option<Arc<Migration>> {
    let rank =
        |m: &Migration| (m.status.phase.is_empty(), m.metadata.creation_timestamp, m.metadata.name.clone());
    let all = view.migrations.in_namespace(&migration.metadata.namespace);
    all.into_iter().find(|other| {
        other.key() != migration.key()
            && other.spec.pod == migration.spec.pod
            && !other.is_finished()
            && !other.metadata.is_deleting()
            && rank(other) < rank(migration)
    })
}

/// What the pod or its scheduler says of why it is not ready, ready to be added to a sentence.
pub fn why_not_ready(pod: &Pod) -> Option<String> {
    let said = |kind: &str| {
        let condition = pod.condition(kind).filter(|c| &*c.status != "True")?;
        [&condition.message, &condition.reason].into_iter().find(|text| !text.is_empty()).cloned()
    };
    let own = [&pod.status.message, &pod.status.reason].into_iter().find(|text| !text.is_empty()).cloned();
    let why =
        own.or_else(|| said("PodScheduled")).or_else(|| said("ContainersReady")).or_else(|| said("Ready"))?;
    Some(format!(": {}", why.trim_end_matches('.')))
}
