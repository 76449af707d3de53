//! Pods that have a place and wait there for the volumes of their claims.
//!
//! Such a pod counts as placed, so that nobody takes its room; it is bound once its claims are, and looks for another
//! place when that takes too long or the place is none any more.

use std::sync::Arc;

use dunlin_control::model::{Held, Key, Pod};
use dunlin_control::scheduler::{self, volumes::Prepared};

use super::{Loop, Purpose, seconds};
use crate::execute::{Absent, Outcome};

/// kube-scheduler's `bindTimeoutSeconds`, in milliseconds.
const LONGEST: u64 = 600_000;

/// A pod whose claims are being bound.
#[derive(Debug, Clone)]
pub(super) struct Claiming {
    pub(super) pod: Key,
    node: Arc<str>,
    until: u64,
    /// The claims were seen to be told of the node: from then on they must stay so.
    told: bool,
}

impl Loop {
    /// Binds the pod to its place, or begins with its claims if they are not bound.
    pub(super) fn claim_and_bind(&mut self, key: Key, pod: &Arc<Pod>, node: &Arc<str>, at: i64) {
        match scheduler::volumes::prepare(&self.cluster.snapshot, pod, node) {
            Prepared::Ready => self.write_binding(key, pod, node, at),
            Prepared::Lost => {
                self.bindings_under_way -= 1;
                self.lose_place(&key, &pod.metadata.uid);
            }
            Prepared::Writes(writes) => {
                let uid = pod.metadata.uid.clone();
                let until = self.now() + LONGEST;
                let claiming = Claiming { pod: key, node: node.clone(), until, told: writes.is_empty() };
                self.claiming.insert(uid.clone(), claiming);
                if writes.is_empty() {
                    self.bindings_under_way -= 1;
                    return;
                }
                self.write(self.bindings.clone(), Purpose::Claim { uid }, writes, Absent::new(), at);
            }
        }
    }

    pub(super) fn take_claimed(&mut self, uid: &Arc<str>, outcome: &Outcome) {
        if outcome.errors.is_empty() {
            return;
        }
        if let Some(claiming) = self.claiming.remove(uid) {
            self.lose_place(&claiming.pod, uid);
        }
    }

    /// Binds pods whose claims are bound by now, and gives up those that wait in vain.
    pub(super) fn look_at_claims(&mut self, now: u64) {
        for (uid, claiming) in self.claiming.clone() {
            let pod = self.cluster.view.pods.by_key(&claiming.pod).cloned();
            let waits = |pod: &Arc<Pod>| pod.metadata.uid == uid && scheduler::is_pending(pod);
            let Some(pod) = pod.filter(waits) else {
                self.claiming.remove(&uid);
                self.cluster.snapshot.forget(&uid);
                continue;
            };
            match scheduler::volumes::prepare(&self.cluster.snapshot, &pod, &claiming.node) {
                Prepared::Ready => {
                    self.claiming.remove(&uid);
                    self.bindings_under_way += 1;
                    self.write_binding(pod.key(), &pod, &claiming.node, seconds());
                }
                // What is still to be written has been written, unless it was seen before.
                Prepared::Writes(writes) if now < claiming.until && (writes.is_empty() || !claiming.told) => {
                    if let Some(known) = self.claiming.get_mut(&uid) {
                        known.told = writes.is_empty();
                    }
                }
                Prepared::Writes(_) | Prepared::Lost => {
                    self.claiming.remove(&uid);
                    self.lose_place(&pod.key(), &uid);
                }
            }
        }
    }

    fn lose_place(&mut self, key: &Key, uid: &Arc<str>) {
        self.cluster.snapshot.forget(uid);
        let now = self.now();
        self.cluster.pending.failed(key, now, true);
    }

    pub(super) fn next_claim_at(&self) -> Option<u64> {
        self.claiming.values().map(|claiming| claiming.until).min()
    }
}
