//! Two-step scheduling: asking child clusters before pods are bound to them, and answering our own parent.
//!
//! A place that is kept for a parent counts like a placed pod until the pod comes, or its time is over.

use std::sync::Arc;

use dunlin_api::offer::{self, Answer};
use dunlin_control::model::{Key, Pod};
use dunlin_control::scheduler::{self, kept};
use dunlin_control::summary::{machines, summarise};
use serde_json::Value;

use super::{Loop, Purpose, pause, seconds, seed};
use crate::execute::Absent;
use crate::handle::Request;
use crate::offers::{self, Answered, Asked, Question, Then};

impl Loop {
    /// Puts the questions that have been gathered, one for each cluster.
    pub(super) fn put_offers(&mut self) {
        for (node, mut asked) in std::mem::take(&mut self.offers) {
            while !asked.is_empty() {
                let rest = asked.split_off(asked.len().min(offer::MOST));
                self.asking_children.spawn(offers::ask(self.client.clone(), node.clone(), asked));
                asked = rest;
            }
        }
    }

    /// Asks the cluster behind `node` before the pod is bound to it.
    pub(super) fn offer(&mut self, key: Key, pod: &Arc<Pod>, node: &Arc<str>) {
        let asked = Asked { pod: pod.clone(), raw: None, then: Then::Bind(key) };
        self.offers.entry(node.clone()).or_default().push(asked);
    }

    pub(super) fn write_binding(&mut self, key: Key, pod: &Arc<Pod>, node: &Arc<str>, at: i64) {
        let purpose = Purpose::Bind { pod: key, uid: pod.metadata.uid.clone() };
        self.write(self.bindings.clone(), purpose, scheduler::bind(pod, node), Absent::new(), at);
    }

    /// A child cluster has answered: accepted pods are bound, refused ones try elsewhere at once.
    pub(super) fn take_offered(&mut self, Answered { node, pods }: Answered) {
        let now = self.now();
        let mut again = Vec::new();
        for (asked, answer) in pods {
            let uid = asked.pod.metadata.uid.clone();
            if let Answer::Refused { reason } = &answer {
                tracing::debug!(node = %node, pod = %asked.pod.metadata.name, reason, "a child cluster refused a pod");
                self.cluster.snapshot.forget(&uid);
                let until = self.cluster.snapshot.refuse(&asked.pod, &node, reason, seconds());
                let wake = now + pause(until - seconds());
                self.forgive_at = Some(self.forgive_at.map_or(wake, |at| at.min(wake)));
            }
            match (asked.then, answer) {
                (Then::Bind(key), Answer::Reserved { .. }) => {
                    self.claim_and_bind(key, &asked.pod, &node, seconds())
                }
                (Then::Bind(key), Answer::Refused { .. }) => {
                    self.bindings_under_way -= 1;
                    let created = asked.pod.metadata.creation_timestamp.map_or(0, |at| at.0);
                    self.cluster.pending.remove(&key);
                    self.cluster.pending.add(key, asked.pod.spec.priority, created);
                }
                (Then::Answer(question, at), Answer::Reserved { machine }) => {
                    question.answer(at, Answer::Reserved { machine: format!("{node}/{machine}") });
                }
                (Then::Answer(question, at), Answer::Refused { .. }) => {
                    again.push((question, at, asked.pod, asked.raw));
                }
            }
        }
        for (question, at, pod, raw) in again {
            if !self.kept.holds(&pod) {
                question.answer(at, Answer::Refused { reason: "the time of the offer is over".into() });
                continue;
            }
            self.keep(&question, at, pod, raw);
        }
    }

    pub(super) fn take_request(&mut self, request: Request) {
        match request {
            Request::Summary { parent, reply } => {
                let _ = reply.send(summarise(&self.cluster.snapshot, &parent));
            }
            Request::Machines { parent, reply } => {
                let _ = reply.send(machines(&self.cluster.snapshot, &parent));
            }
            Request::Reserve { pods, seconds, reply } => {
                let question = Question::new(pods.len(), reply);
                let until = self.now() + u64::from(seconds) * 1000;
                for (at, mut raw) in pods.into_iter().enumerate() {
                    // It has no uid of its own before it exists.
                    kept::mark_offered(&mut raw);
                    match serde_json::from_value::<Pod>(raw.clone()) {
                        Ok(pod) => {
                            let pod = Arc::new(pod);
                            self.kept.begin(&mut self.cluster.snapshot, &pod, until);
                            self.keep(&question, at, pod, Some(raw));
                        }
                        Err(error) => {
                            question.answer(
                                at,
                                Answer::Refused { reason: format!("it cannot read the pod: {error}") },
                            );
                        }
                    }
                }
            }
        }
    }

    /// Finds a place for an offered pod and keeps it, or asks the child of ours that may have one.
    fn keep(&mut self, question: &Arc<Question>, at: usize, pod: Arc<Pod>, raw: Option<Value>) {
        match kept::place_offered(&self.cluster.snapshot, &pod, self.scheduler.policy, seed()) {
            Ok(node) => {
                self.cluster.snapshot.assume(&pod, &node);
                if self.cluster.snapshot.is_child(&node) {
                    let asked = Asked { pod, raw, then: Then::Answer(question.clone(), at) };
                    self.offers.entry(node).or_default().push(asked);
                } else {
                    question.answer(at, Answer::Reserved { machine: node.to_string() });
                }
            }
            Err(why) => {
                self.kept.end(&pod);
                question.answer(at, Answer::Refused { reason: why.to_string() });
            }
        }
    }

    /// Ends what holds for a time only: kept places and refusals.
    pub(super) fn expire(&mut self, now: u64) {
        let over = self.kept.expire(&mut self.cluster.snapshot, now);
        let forgive = self.forgive_at.is_some_and(|at| at <= now);
        if forgive {
            self.forgive_at =
                self.cluster.snapshot.forgive(seconds()).map(|until| now + pause(until - seconds()));
        }
        if forgive || over {
            self.cluster.pending.wake();
        }
    }
}
