//! Pods of the parent with `dunlin.io/fence-after`: when the parent has not heard this cluster for so long, they are ended
//! here, because then the parent starts them elsewhere. It is the one case in which a mirror ends without the parent's word.

use std::sync::Arc;
use std::time::Duration;

use dunlin_base::task::Task;
use dunlin_node::fence::{self, Fenced};
use k8s_openapi::api::core::v1::Pod;

use crate::queue::Id;
use crate::uplink::Shared;

/// How long mirrors may go on after a start of this server's machine, when nobody knows how long the parent has not heard
/// us. Part of the margin that the parent adds (`fence-margin`).
const UNKNOWN: Duration = Duration::from_secs(10);

/// Watches over contact with the parent.
pub fn start(shared: &Arc<Shared>) -> Option<Task> {
    let contact = shared.config.contact.clone()?;
    let options = fence::Options {
        client: shared.parent.clone(),
        // The parent renews it from our tunnel, whether it sees us or our machines.
        node: shared.config.level.node.clone(),
        file: contact.file,
        interval: contact.interval,
        gate: shared.fence.clone(),
        unknown: Some(UNKNOWN),
    };
    let shared = shared.clone();
    Some(Task::spawn("fence", async move {
        // What an earlier process has made must be known first: it may have to be stopped.
        let mut known = shared.mirrors_listed.subscribe();
        if known.wait_for(|known| *known).await.is_ok() {
            fence::run(options, shared.clone()).await;
        }
    }))
}

/// How long this level waits: a mirror carries its half.
fn after(mirror: &Pod) -> Option<Duration> {
    let phase = mirror.status.as_ref().and_then(|status| status.phase.as_deref());
    let over = mirror.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed"));
    fence::after(mirror).filter(|_| !over)
}

impl Fenced for Shared {
    fn shortest(&self) -> Option<Duration> {
        self.lock().mirrors.values().filter_map(|mirror| after(mirror)).min()
    }

    fn stop(&self, lapsed: &dyn Fn(Duration) -> bool) {
        let mut state = self.lock();
        let must = state.mirrors.iter().filter(|(_, mirror)| after(mirror).is_some_and(lapsed));
        let must: Vec<String> = must.map(|(uid, _)| uid.clone()).collect();
        for uid in &must {
            if state.fenced.insert(uid.clone()) {
                tracing::warn!(
                    pod = uid,
                    "the parent has not heard this cluster for too long, a fenced pod ends"
                );
            }
        }
        drop(state);
        must.into_iter().for_each(|uid| self.queue.push(Id::Pod(uid)));
    }

    fn opened(&self) {}
}
