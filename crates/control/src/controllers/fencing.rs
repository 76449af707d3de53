//! Which pods must never run twice, and when one that is out of reach has certainly ended.
//!
//! A pod with an identity, a claim or a device of its own is replaced only after its side has stopped it, and only
//! `dunlin.io/fence-after` makes that side stop it. The server hears a node no earlier than the node hears that it is
//! heard (the agent counts from the question whose answer showed a renewed Lease), so counting from the last word here is safe; the
//! grace period, the pod's own time to end, and a margin for clocks that run differently come on top. A node that stands
//! for a cluster keeps the same bound: its cluster and what lies below share the time (`crates/node/src/fence.rs`).

use dunlin_api::duration;
use dunlin_api::names::annotation::FENCE_AFTER;

use crate::model::Pod;
use crate::settings::Settings;
use crate::view::View;

/// Why two of this pod must never run at once; `None` if they may.
pub fn exclusive(view: &View, pod: &Pod) -> Option<&'static str> {
    if pod.metadata.controller().is_some_and(|owner| &*owner.kind == "StatefulSet") {
        return Some("it belongs to a StatefulSet");
    }
    if pod.spec.claims.iter().any(|volume| !is_shared(view, pod, &volume.claim(pod))) {
        return Some("it uses a persistent volume claim");
    }
    // Kubernetes' own resources have no domain, or are below kubernetes.io.
    let device =
        |name: &str| name.split_once('/').is_some_and(|(domain, _)| !domain.ends_with("kubernetes.io"));
    pod.spec.requests.iter().any(|(name, amount)| amount > 0 && device(name)).then_some("it uses a device")
}

/// Whether pods on several machines may use the claim at once. One that is not there is not known to be shared.
fn is_shared(view: &View, pod: &Pod, claim: &str) -> bool {
    let claim = view.claims.get(&pod.metadata.namespace, claim);
    claim.is_some_and(|claim| {
        claim.spec.access_modes.iter().any(|mode| matches!(&**mode, "ReadWriteMany" | "ReadOnlyMany"))
    })
}

/// Seconds after which the side that lost contact stops the pod, rounded up. A malformed value is none.
pub fn fence_after(pod: &Pod) -> Option<i64> {
    let text = pod.metadata.annotations.get(FENCE_AFTER)?;
    let length = duration::parse(text).ok()?;
    i64::try_from(length.as_secs() + u64::from(length.subsec_nanos() > 0)).ok()
}

/// When a pod whose node was last heard at `heard` has ended for certain: it is fenced, and nothing lives so long.
pub fn ended_at(pod: &Pod, heard: i64, settings: &Settings) -> Option<i64> {
    let grace = pod.spec.termination_grace_period_seconds.unwrap_or(30).max(0);
    let parts = [fence_after(pod)?, settings.node_grace, grace, settings.fence_margin];
    Some(parts.iter().fold(heard, |sum, part| sum.saturating_add(*part)))
}
