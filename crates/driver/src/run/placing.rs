//! What becomes of the scheduler's decisions: bindings of one pod or a whole group, room made for one, words for those
//! that wait, and questions to an external scheduler.
//!
//! An external scheduler is asked about one pod at a time, and about the next when the last one is bound, as
//! kube-scheduler does: schedulers of this protocol look at the cluster for each pod and would otherwise not see the
//! pod before.

use std::collections::VecDeque;
use std::sync::Arc;

use dunlin_base::error::chain;
use dunlin_control::model::{Held, Key, Pod};
use dunlin_control::plan::Action;
use dunlin_control::scheduler::{self, WhyNot, external, group};

use super::{Loop, Purpose, seconds, seed};
use crate::execute::{Absent, Error, Outcome};
use crate::extender::Extender;

/// A pod about which an external scheduler is being asked.
pub(super) struct Asked {
    pub(super) pod: Key,
    uid: Arc<str>,
    offered: Vec<Arc<str>>,
}

#[derive(Default)]
pub(super) struct Asking {
    busy: bool,
    /// Pods that were popped while another was asked about; the queue of pending pods bounds it.
    waiting: VecDeque<Key>,
}

impl Loop {
    pub(super) fn bind(&mut self, key: Key, pod: &Arc<Pod>, node: &Arc<str>, at: i64) {
        self.cluster.snapshot.assume(pod, node);
        self.bindings_under_way += 1;
        if self.cluster.snapshot.is_child(node) {
            return self.offer(key, pod, node);
        }
        self.claim_and_bind(key, pod, node, at);
    }

    /// Tells why the pod waits; it is tried again when the cluster changes.
    pub(super) fn wait(&mut self, key: Key, pod: &Arc<Pod>, why: &WhyNot, at: i64) {
        self.cluster.pending.failed(&key, self.now(), false);
        self.tell(key, scheduler::unschedulable(pod, why, at), at);
    }

    /// Ends pods of lower priority if that lets the pod run, and tells why it waits.
    pub(super) fn make_room(&mut self, key: Key, pod: &Arc<Pod>, why: &WhyNot, at: i64) {
        let Some(room) = scheduler::preempt(&self.cluster.snapshot, pod, seed()) else {
            return self.wait(key, pod, why, at);
        };
        tracing::info!(pod = %key, node = %room.node, victims = room.victims.len(), "making room");
        self.cluster.snapshot.nominate(pod, &room.node);
        self.cluster.pending.failed(&key, self.now(), false);
        self.tell(key, room.writes(pod, scheduler::unschedulable(pod, why, at)), at);
    }

    fn tell(&mut self, key: Key, actions: Vec<Action>, at: i64) {
        if actions.is_empty() {
            return;
        }
        self.bindings_under_way += 1;
        self.write(self.bindings.clone(), Purpose::Explain { pod: key }, actions, Absent::new(), at);
    }

    /// Binds all pods of the group that wait, or none.
    pub(super) fn place_group(&mut self, key: Key, pod: &Arc<Pod>, at: i64) {
        let snapshot = &self.cluster.snapshot;
        let group = group::members(&self.cluster.view.pods, snapshot, pod);
        match group.and_then(|group| scheduler::place_group(snapshot, &group, seed())) {
            Ok(placed) => {
                for (pod, node) in placed {
                    self.cluster.pending.claim(&pod.key());
                    self.bind(pod.key(), &pod, &node, at);
                }
            }
            Err(why) => self.wait(key, pod, &why, at),
        }
    }

    /// Asks the external scheduler about a pod, now or after those before it.
    pub(super) fn ask(&mut self, key: Key, pod: &Arc<Pod>, at: i64) {
        let Some(url) = self.scheduler.extender.clone() else {
            let why = "the policy external needs a server that was started with --scheduler external=URL";
            return self.wait(key, pod, &WhyNot::because(why), at);
        };
        if self.asking.busy {
            self.asking.waiting.push_back(key);
            return;
        }
        let offered = match external::candidates(&self.cluster.snapshot, pod, seed()) {
            Ok(offered) => offered,
            Err(why) => return self.wait(key, pod, &why, at),
        };
        self.asking.busy = true;
        self.bindings_under_way += 1;
        let asked = Asked { pod: key, uid: pod.metadata.uid.clone(), offered: offered.clone() };
        let extender = Extender::new(url, self.client.clone());
        let pod = pod.clone();
        let task = self.writing.spawn(async move {
            match extender.ask(&pod, &offered).await {
                Ok(answers) => Outcome { answers: Some(Box::new(answers)), ..Outcome::default() },
                Err(error) => Outcome { errors: vec![Error::Extender(error)], ..Outcome::default() },
            }
        });
        self.purposes.insert(task.id(), Purpose::Ask(Box::new(asked)));
    }

    pub(super) fn take_answers(&mut self, asked: Asked, outcome: Outcome) {
        self.asking.busy = false;
        let Asked { pod: key, uid, offered } = asked;
        let pod = self.cluster.view.pods.by_key(&key).cloned();
        let waits = |pod: &Arc<Pod>| pod.metadata.uid == uid && scheduler::is_pending(pod);
        let Some(pod) = pod.filter(waits) else {
            // The informer has told the queue already.
            return self.ask_next();
        };
        let at = seconds();
        let chosen = match (outcome.answers, outcome.errors.first()) {
            (Some(answers), None) => {
                external::choose(&self.cluster.snapshot, &pod, &offered, &answers, seed())
            }
            (_, error) => {
                self.cluster.pending.failed(&key, self.now(), true);
                let why = external::failed(&error.map(cause).unwrap_or_default());
                self.tell(key, scheduler::unschedulable(&pod, &why, at), at);
                return self.ask_next();
            }
        };
        match chosen {
            Ok(node) => self.bind_asked(key, &pod, &node, at),
            Err(why) => {
                self.wait(key, &pod, &why, at);
                self.ask_next();
            }
        }
    }

    /// Binds as the external scheduler decided; it may do so itself.
    fn bind_asked(&mut self, key: Key, pod: &Arc<Pod>, node: &Arc<str>, at: i64) {
        let Some(url) = self.scheduler.extender.clone() else { return };
        let claims = scheduler::volumes::prepare(&self.cluster.snapshot, pod, node);
        if self.cluster.snapshot.is_child(node) || claims != scheduler::volumes::Prepared::Ready {
            // The child decides about machines, or claims come first; the external scheduler has chosen the node.
            self.bind(key, pod, node, at);
            return self.ask_next();
        }
        self.asking.busy = true;
        self.cluster.snapshot.assume(pod, node);
        self.bindings_under_way += 1;
        let (extender, executor) = (Extender::new(url, self.client.clone()), self.bindings.clone());
        let (resources, node, pod) = (self.resources.clone(), node.clone(), pod.clone());
        let purpose = Purpose::BindAsked { pod: key, uid: pod.metadata.uid.clone() };
        let task = self.writing.spawn(async move {
            let mut actions = scheduler::bind(&pod, &node);
            match extender.bind(&pod, &node).await {
                Ok(true) => actions.retain(|action| !matches!(action, Action::Bind { .. })),
                Ok(false) => {}
                Err(error) => return Outcome { errors: vec![Error::Extender(error)], ..Outcome::default() },
            }
            executor.execute(&resources, actions, &Absent::new(), at).await
        });
        self.purposes.insert(task.id(), purpose);
    }

    pub(super) fn take_asked_binding(&mut self, key: Key, uid: &Arc<str>, outcome: &Outcome) {
        self.asking.busy = false;
        if let Some(error) = outcome.errors.first()
            && self.cluster.snapshot.forget(uid)
        {
            self.cluster.pending.failed(&key, self.now(), true);
            self.cluster.pending.wake();
            if let (Error::Extender(_), Some(pod)) = (error, self.cluster.view.pods.by_key(&key).cloned()) {
                let at = seconds();
                self.tell(key, scheduler::unschedulable(&pod, &external::failed(&cause(error)), at), at);
            }
        }
        self.ask_next();
    }

    fn ask_next(&mut self) {
        while !self.asking.busy {
            let Some(key) = self.asking.waiting.pop_front() else { return };
            let pod = self.cluster.view.pods.by_key(&key).cloned();
            // It may have been put in twice, when a pod of the same name took the place of the first.
            let waits = |pod: &Arc<Pod>| {
                scheduler::is_pending(pod) && !self.cluster.snapshot.is_assumed(&pod.metadata.uid)
            };
            if let Some(pod) = pod.filter(waits) {
                self.ask(key, &pod, seconds());
            }
        }
    }
}

/// What went wrong, without the words that say whose fault it is: the condition says them.
fn cause(error: &Error) -> String {
    match error {
        Error::Extender(error) => chain(error),
        error => chain(error),
    }
}
