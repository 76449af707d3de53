//! What a cluster's scheduler does in a turn, as `driver` does it: take what is due, place it, ask children, bind.

use std::sync::Arc;

use dunlin_control::model::{Held, Key, Pod};
use dunlin_control::scheduler::{Policy, WhyNot, kept, place};
use dunlin_driver::{TURN, UNDER_WAY};

use crate::cluster::ClusterId;
use crate::event::Event;
use crate::pods::{self, PodId};
use crate::run::Simulation;

impl Simulation<'_> {
    /// A pod is made in its home's API.
    pub(crate) fn made(&mut self, id: PodId) {
        let home = self.pods[id].route[0];
        let pod = pods::project(&self.templates.home(id, &self.pods[id]));
        self.wait_for_place(home, id, pod);
    }

    /// A pod of the cluster's API waits for its scheduler.
    pub(crate) fn wait_for_place(&mut self, at: ClusterId, id: PodId, pod: Arc<Pod>) {
        let cluster = &mut self.clusters[at];
        cluster.pending.add(pod.key(), 0, pod.metadata.creation_timestamp.map_or(0, |at| at.0));
        cluster.pods.insert(pod.metadata.name.clone(), (id, pod));
        self.arm(at);
    }

    pub(crate) fn turn(&mut self, at: ClusterId) {
        if self.clusters[at].turn_at == Some(self.now) {
            self.clusters[at].turn_at = None;
        }
        for _ in 0..TURN {
            let cluster = &mut self.clusters[at];
            if cluster.under_way >= UNDER_WAY {
                break;
            }
            let Some(key) = cluster.pending.pop(self.now) else { break };
            let Some((id, pod)) = cluster.pods.get(&key.name).cloned() else {
                cluster.pending.remove(&key);
                continue;
            };
            // A place that was kept for the pod is free for it now.
            cluster.kept.give_up(&mut cluster.snapshot, &kept::home_uid(&pod));
            let placed = self.decide(at, |cluster, seed| {
                place(&cluster.snapshot, &pod, Policy::of(&pod, cluster.policy)?, seed)
            });
            match placed {
                Ok(node) => self.bind(at, &key, id, &pod, &node),
                Err(why) => self.wait(at, &key, id, &why),
            }
        }
        self.put_offers(at);
        self.arm(at);
    }

    fn bind(&mut self, at: ClusterId, key: &Key, id: PodId, pod: &Arc<Pod>, node: &Arc<str>) {
        let cluster = &mut self.clusters[at];
        cluster.snapshot.assume(pod, node);
        if cluster.snapshot.is_child(node) {
            cluster.under_way += 1;
            self.offer(at, id, pod.clone(), node);
            return;
        }
        cluster.pending.remove(key);
        self.changed(at);
        let now = self.now;
        let pod = &mut self.pods[id];
        pod.machine = Some((at, node.clone()));
        pod.placed_at.get_or_insert(now);
        pod.why = None;
        self.tell_place(at, id, node);
        self.agenda.set(self.now + self.world.machine_link, Event::Arrived(id));
    }

    fn wait(&mut self, at: ClusterId, key: &Key, id: PodId, why: &WhyNot) {
        self.clusters[at].pending.failed(key, self.now, false);
        let waited = self.pods[id].why.replace(why.to_string());
        if self.pods[id].route[0] != at && waited.is_none() {
            let patience = u64::try_from(self.times.unplaced.as_millis()).unwrap_or(u64::MAX);
            self.agenda.set(self.now + patience, Event::Unplaced(at, id));
        }
    }

    /// Sets the next turn, if there is anything to do for it and none is set before.
    pub(crate) fn arm(&mut self, at: ClusterId) {
        let cluster = &mut self.clusters[at];
        if cluster.under_way >= UNDER_WAY {
            return;
        }
        let Some(due) = cluster.pending.next_at().map(|due| due.max(self.now)) else { return };
        if cluster.turn_at.is_none_or(|set| due < set) {
            cluster.turn_at = Some(due);
            self.agenda.set(due, Event::Turn(at));
        }
    }

    /// Room came free or may have: what waits tries again.
    pub(crate) fn wake(&mut self, at: ClusterId) {
        self.clusters[at].pending.wake();
        self.arm(at);
    }
}
