//! A pod on its machine, and what becomes of one that loses its place: the statuses that go up, and the room that comes
//! free on the way.

use dunlin_agent::Delays;
use dunlin_agent::model::{ContainerRecord, Record, Sandbox, State, Terminated};
use dunlin_agent::podstatus;
use dunlin_api::names::reason;
use dunlin_control::model::Held;
use dunlin_node::status::patch;
use dunlin_uplink::plan::mirror::Expose;
use dunlin_uplink::plan::status;
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::cluster::ClusterId;
use crate::event::Event;
use crate::pods::{PodId, Simulated, timestamp, uid};
use crate::random::Random;
use crate::run::Simulation;
use crate::stats::Sort;

const HOUR: u64 = 3_600_000;
/// The agent's defaults.
const DELAYS: Delays =
    Delays { first: std::time::Duration::from_secs(10), most: std::time::Duration::from_secs(300) };

impl Simulation<'_> {
    pub(crate) fn arrived(&mut self, id: PodId) {
        self.tell_state(id, State::Waiting, false);
        let mut random = self.own_random(id);
        let start = random.within(self.world.start).unsigned_abs();
        self.agenda.set(self.now + start, Event::Running(id));
    }

    pub(crate) fn running(&mut self, id: PodId) {
        self.tell_state(id, State::Running { since: timestamp(self.now) }, true);
        if let Some(life) = self.pods[id].life {
            self.agenda.set(self.now + life, Event::Finished(id));
        }
        self.set_change(id, true);
    }

    pub(crate) fn readiness(&mut self, id: PodId, ready: bool) {
        if !self.pods[id].finished {
            self.tell_state(id, State::Running { since: timestamp(self.now) }, ready);
            self.set_change(id, ready);
        }
    }

    fn set_change(&mut self, id: PodId, ready: bool) {
        let often = self.world.workload[self.pods[id].group].changes;
        if let Some(mean) = HOUR.checked_div(often) {
            let after = 1 + self.random.next() % (2 * mean + 1);
            self.agenda.set(self.now + after, Event::Changed(id, !ready));
        }
    }

    pub(crate) fn finished(&mut self, id: PodId) {
        self.pods[id].finished = true;
        let life = self.pods[id].life.unwrap_or(0);
        let ended = Terminated {
            exit_code: 0,
            signal: None,
            reason: "Completed".to_owned(),
            message: None,
            started: Some(timestamp(self.now.saturating_sub(life))),
            finished: timestamp(self.now),
            container_id: format!("dunlin://{}/main-0", uid(0, id)),
        };
        self.tell_state(id, State::Exited(ended), false);
    }

    /// What the agent writes of its pod.
    fn tell_state(&mut self, id: PodId, state: State, ready: bool) {
        let pod = &self.pods[id];
        let Some((at, _)) = pod.machine.clone() else { return };
        let step = pod.route.len() - 1;
        let mut typed = self.templates.at(&self.clusters, id, pod, step);
        typed.status =
            Some(PodStatus { conditions: Some(vec![scheduled(self.now)]), ..PodStatus::default() });
        let running = matches!(state, State::Running { .. });
        let container = ContainerRecord {
            launches: u32::from(state != State::Waiting),
            state,
            started: running,
            ready,
            image_id: format!("registry.example/main@sha256:{}", "0".repeat(64)),
            ..ContainerRecord::default()
        };
        let mut record = Record {
            runtime: "oci".to_owned(),
            start_time: Some(timestamp(self.now)),
            sandbox: Sandbox::Ready,
            ip: Some(format!("10.244.{}.{}", id / 250 % 250, id % 250)),
            initialized: true,
            containers: [("main".to_owned(), container)].into(),
            ..Record::default()
        };
        let host = format!("10.{}.{}.{}", id / 62_500 % 250, id / 250 % 250, id % 250);
        let mut status = podstatus::status(&typed, &mut record, &host, &DELAYS, timestamp(self.now));
        let depth = self.clusters[at].depth;
        self.write(depth + 1, at, id, &status);
        // The API server's own condition stays beside those that were written.
        status.conditions.get_or_insert_default().push(scheduled(self.now));
        self.agenda.set(self.now + self.world.machine_link, Event::Status(at, id, Box::new(status)));
    }

    /// Counts the patch by which a status of the pod is written into the API of `to`.
    fn write(&mut self, from_depth: usize, to: ClusterId, id: PodId, status: &PodStatus) {
        let value = serde_json::to_value(status).unwrap_or_default();
        let bytes = serde_json::to_vec(&patch(&uid(to, id), &value)).map_or(0, |body| body.len());
        self.levels[from_depth].sent(Sort::PodStatus, bytes, self.now);
    }

    /// The mirror has been made and waits for a machine.
    pub(crate) fn tell_waiting(&mut self, at: ClusterId, id: PodId) {
        self.report(at, id, pending(Vec::new()), None);
    }

    /// The cluster has bound the pod to `node`.
    pub(crate) fn tell_place(&mut self, at: ClusterId, id: PodId, node: &str) {
        self.report(at, id, pending(vec![scheduled(self.now)]), Some(node.to_owned()));
    }

    /// What the uplink of a cluster writes of a mirror into the API above.
    fn report(&mut self, at: ClusterId, id: PodId, status: PodStatus, node: Option<String>) {
        let Some(parent) = self.above(at, id) else { return };
        let spec = Some(PodSpec { node_name: node, ..PodSpec::default() });
        let mirror = Pod { spec, status: Some(status), ..Pod::default() };
        let Some(status) = status::of_mirror(&mirror, Expose::Cluster, timestamp(self.now)) else { return };
        self.pass_up(at, parent, id, status);
    }

    fn pass_up(&mut self, at: ClusterId, parent: ClusterId, id: PodId, status: PodStatus) {
        let depth = self.clusters[at].depth;
        self.write(depth, parent, id, &status);
        self.agenda.set(self.now + self.link(at), Event::Status(parent, id, Box::new(status)));
    }

    /// The cluster above, where the pod is not at home here.
    fn above(&self, at: ClusterId, id: PodId) -> Option<ClusterId> {
        let route = &self.pods[id].route;
        let step = route.iter().position(|cluster| *cluster == at)?;
        route[..step].last().copied()
    }

    /// A status has come up into the API of `at`.
    pub(crate) fn status(&mut self, at: ClusterId, id: PodId, status: PodStatus) {
        let phase = status.phase.clone().unwrap_or_default();
        if matches!(phase.as_str(), "Succeeded" | "Failed") {
            self.leave(at, id);
        }
        let node = {
            let pod = &self.pods[id];
            let step = pod.route.iter().position(|cluster| *cluster == at);
            let below = step.and_then(|step| pod.route.get(step + 1));
            let machine = pod.machine.as_ref().map(|(_, machine)| machine);
            below.map(|below| &self.clusters[*below].name).or(machine).map(ToString::to_string)
        };
        let refused = status.reason.as_deref() == Some(reason::CLUSTER_REFUSED);
        match self.above(at, id) {
            Some(_) => self.report(at, id, status, node),
            None if refused => self.replace(id),
            None => {}
        }
    }

    /// The pod takes no room in the cluster any more.
    fn leave(&mut self, at: ClusterId, id: PodId) {
        let cluster = &mut self.clusters[at];
        let Some((_, pod)) = cluster.pods.remove(&self.pods[id].name) else { return };
        cluster.pending.remove(&pod.key());
        cluster.snapshot.remove_pod(&pod.metadata.uid);
        self.wake(at);
        self.changed(at);
    }

    /// A mirror that has found no place for too long has lost it: the pod above fails, and its controller makes another.
    pub(crate) fn unplaced(&mut self, at: ClusterId, id: PodId) {
        let pod = &self.pods[id];
        let waits = pod.route.last() == Some(&at) && pod.machine.is_none() && pod.why.is_some() && !pod.lost;
        let Some(parent) = self.above(at, id).filter(|_| waits) else { return };
        let why = pod.why.clone().unwrap_or_default();
        self.pods[id].lost = true;
        self.leave(at, id);
        let upper = Pod { status: Some(pending(vec![scheduled(self.now)])), ..Pod::default() };
        self.pass_up(at, parent, id, status::refused(&upper, reason::CLUSTER_REFUSED, why));
    }

    /// The controller at home makes a successor.
    fn replace(&mut self, id: PodId) {
        self.replaced += 1;
        let old = &self.pods[id];
        let name: std::sync::Arc<str> = format!("{}-r{}", old.name, self.replaced).into();
        let next = Simulated {
            name,
            only: old.only.clone(),
            near: old.near.clone(),
            route: vec![old.route[0]],
            machine: None,
            placed_at: None,
            lost: false,
            why: None,
            ..*old
        };
        let successor = self.pods.len();
        self.pods.push(next);
        self.made(successor);
    }

    /// Numbers that do not depend on when they are asked for.
    fn own_random(&self, id: PodId) -> Random {
        Random::new(self.world.seed, 1_000_000 + id as u64)
    }
}

fn pending(conditions: Vec<PodCondition>) -> PodStatus {
    PodStatus { phase: Some("Pending".to_owned()), conditions: Some(conditions), ..PodStatus::default() }
}

/// The condition that a binding sets.
fn scheduled(now: u64) -> PodCondition {
    PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "True".to_owned(),
        last_transition_time: Some(Time(timestamp(now))),
        ..PodCondition::default()
    }
}
