//! Two-step scheduling, as `driver` does it: asking children before pods are bound to them, and answering.

use std::collections::HashMap;
use std::sync::Arc;

use dunlin_api::offer::{self, Answer, Answers, Offer};
use dunlin_control::model::{Held, Pod};
use dunlin_control::scheduler::kept;
use dunlin_driver::KEPT;
use dunlin_uplink::plan::offer::as_mirror;

use crate::cluster::ClusterId;
use crate::event::Event;
use crate::pods::{self, PodId};
use crate::run::Simulation;
use crate::stats::Sort;

/// What an accepted pod is then.
#[derive(Debug, Clone, Copy)]
pub enum Then {
    /// Bound here.
    Bind,
    /// Reported to our own parent, which asked; with the place among its answers.
    Answer(u64, usize),
}

/// A pod that waits for a child's answer.
#[derive(Debug)]
pub struct Asked {
    pub id: PodId,
    pub pod: Arc<Pod>,
    /// As it is sent.
    pub raw: k8s_openapi::api::core::v1::Pod,
    pub then: Then,
}

/// A question of a parent whose answers come in one by one.
struct Question {
    asked: Vec<Asked>,
    answers: Vec<Option<Answer>>,
}

/// All that are open.
#[derive(Default)]
pub struct Questions {
    open: HashMap<u64, Question>,
    count: u64,
}

impl Simulation<'_> {
    /// Asks the cluster behind `node` at the end of the turn.
    pub(crate) fn offer(&mut self, at: ClusterId, id: PodId, pod: Arc<Pod>, node: &Arc<str>) {
        let step = self.pods[id].route.len() - 1;
        let raw = self.templates.at(&self.clusters, id, &self.pods[id], step);
        let asked = Asked { id, pod, raw, then: Then::Bind };
        self.clusters[at].offers.entry(node.clone()).or_default().push(asked);
    }

    /// Puts the questions that have been gathered.
    pub(crate) fn put_offers(&mut self, at: ClusterId) {
        for (node, mut asked) in std::mem::take(&mut self.clusters[at].offers) {
            let Some(child) = self.clusters[at].children.get(&node).copied() else { continue };
            while !asked.is_empty() {
                let rest = asked.split_off(asked.len().min(offer::MOST));
                let pods = asked.iter().map(|one| serde_json::to_value(&one.raw).unwrap_or_default());
                let body = serde_json::to_vec(&Offer { seconds: KEPT, pods: pods.collect() });
                let depth = self.clusters[child].depth;
                self.levels[depth].sent(Sort::Offer, body.map_or(0, |body| body.len()), self.now);
                self.levels[depth - 1].offered += asked.len() as u64;
                self.agenda.set(self.now + self.link(child), Event::Offered(child, asked));
                asked = rest;
            }
        }
    }

    /// A parent's question has come down.
    pub(crate) fn offered(&mut self, at: ClusterId, asked: Vec<Asked>) {
        self.questions.count += 1;
        let question = self.questions.count;
        let Some(level) = self.clusters[at].uplink.clone() else { return };
        let until = self.now + u64::from(KEPT.min(offer::LONGEST)) * 1000;
        let mut found = Vec::new();
        for (place, one) in asked.iter().enumerate() {
            let mirror = serde_json::to_value(as_mirror(&level, &one.raw)).map_err(|e| e.to_string());
            let mirror = mirror.and_then(|mut raw| {
                kept::mark_offered(&mut raw);
                let pod: Pod = serde_json::from_value(raw.clone()).map_err(|e| e.to_string())?;
                let typed = serde_json::from_value(raw).map_err(|e| e.to_string())?;
                Ok((Arc::new(pod), typed))
            });
            found.push((place, one.id, mirror));
        }
        let answers = asked.iter().map(|_| None).collect();
        self.questions.open.insert(question, Question { asked, answers });
        for (place, id, mirror) in found {
            match mirror {
                Ok((pod, raw)) => {
                    let cluster = &mut self.clusters[at];
                    cluster.kept.begin(&mut cluster.snapshot, &pod, until);
                    self.keep(at, Asked { id, pod, raw, then: Then::Answer(question, place) });
                }
                Err(reason) => self.answer(at, question, place, Answer::Refused { reason }),
            }
        }
        self.put_offers(at);
        self.arm_expiry(at);
    }

    /// Finds a place for an offered pod and keeps it, or asks the child that may have one.
    fn keep(&mut self, at: ClusterId, asked: Asked) {
        let Then::Answer(question, place) = asked.then else { return };
        let found = self.decide(at, |cluster, seed| {
            kept::place_offered(&cluster.snapshot, &asked.pod, cluster.policy, seed)
        });
        let cluster = &mut self.clusters[at];
        match found {
            Ok(node) => {
                cluster.snapshot.assume(&asked.pod, &node);
                if cluster.snapshot.is_child(&node) {
                    cluster.offers.entry(node).or_default().push(asked);
                } else {
                    self.answer(at, question, place, Answer::Reserved { machine: node.to_string() });
                }
                self.changed(at);
            }
            Err(why) => {
                cluster.kept.end(&asked.pod);
                self.answer(at, question, place, Answer::Refused { reason: why.to_string() });
            }
        }
    }

    /// Takes the answer for one pod; the last one sends all.
    fn answer(&mut self, at: ClusterId, question: u64, place: usize, answer: Answer) {
        let Some(open) = self.questions.open.get_mut(&question) else { return };
        open.answers[place] = Some(answer);
        if open.answers.iter().any(Option::is_none) {
            return;
        }
        let Some(Question { asked, answers }) = self.questions.open.remove(&question) else { return };
        let all = Answers { answers: answers.into_iter().flatten().collect() };
        let bytes = serde_json::to_vec(&all).map_or(0, |body| body.len());
        let cluster = &self.clusters[at];
        self.levels[cluster.depth].sent(Sort::Answer, bytes, self.now);
        if let Some(parent) = cluster.parent {
            let answered = asked.into_iter().zip(all.answers).collect();
            let event = Event::Answered(parent, cluster.name.clone(), answered);
            self.agenda.set(self.now + self.link(at), event);
        }
    }

    /// A child has answered: accepted pods are bound, refused ones try elsewhere at once.
    pub(crate) fn answered(&mut self, at: ClusterId, node: &Arc<str>, answers: Vec<(Asked, Answer)>) {
        let mut again = Vec::new();
        for (asked, answer) in answers {
            let seconds = self.seconds();
            let cluster = &mut self.clusters[at];
            if let Answer::Refused { reason } = &answer {
                self.levels[cluster.depth].refused += 1;
                cluster.snapshot.forget(&asked.pod.metadata.uid);
                let until = cluster.snapshot.refuse(&asked.pod, node, reason, seconds);
                let wake = self.now + u64::try_from(until - seconds).unwrap_or(0).max(1) * 1000;
                cluster.forgive_at = Some(cluster.forgive_at.map_or(wake, |at| at.min(wake)));
            }
            match (asked.then, answer) {
                (Then::Bind, Answer::Reserved { .. }) => {
                    cluster.under_way -= 1;
                    cluster.pending.remove(&asked.pod.key());
                    let Some(child) = cluster.children.get(node).copied() else { continue };
                    self.pods[asked.id].why = None;
                    self.changed(at);
                    self.tell_place(at, asked.id, node);
                    self.agenda.set(self.now + self.link(child), Event::Bound(child, asked.id));
                }
                (Then::Bind, Answer::Refused { .. }) => {
                    cluster.under_way -= 1;
                    let created = asked.pod.metadata.creation_timestamp.map_or(0, |at| at.0);
                    cluster.pending.remove(&asked.pod.key());
                    cluster.pending.add(asked.pod.key(), 0, created);
                }
                (Then::Answer(question, place), Answer::Reserved { machine }) => {
                    let machine = format!("{node}/{machine}");
                    self.answer(at, question, place, Answer::Reserved { machine });
                }
                (Then::Answer(question, place), Answer::Refused { .. }) => {
                    again.push((question, place, asked));
                }
            }
        }
        for (question, place, asked) in again {
            if self.clusters[at].kept.holds(&asked.pod) {
                self.keep(at, asked);
            } else {
                let reason = "the time of the offer is over".to_owned();
                self.answer(at, question, place, Answer::Refused { reason });
            }
        }
        self.put_offers(at);
        self.arm_expiry(at);
        self.arm(at);
    }

    /// A bound pod has come down: its mirror is made, which waits for the child's scheduler.
    pub(crate) fn bound_to_child(&mut self, at: ClusterId, id: PodId) {
        self.pods[id].route.push(at);
        let step = self.pods[id].route.len() - 1;
        let mirror = self.templates.at(&self.clusters, id, &self.pods[id], step);
        self.tell_waiting(at, id);
        self.wait_for_place(at, id, pods::project(&mirror));
    }

    /// Ends what holds for a time only: kept places and refusals.
    pub(crate) fn expire(&mut self, at: ClusterId) {
        let (now, seconds) = (self.now, self.seconds());
        let cluster = &mut self.clusters[at];
        cluster.expire_at = None;
        let over = cluster.kept.expire(&mut cluster.snapshot, now);
        let forgive = cluster.forgive_at.is_some_and(|at| at <= now);
        if forgive {
            let next = cluster.snapshot.forgive(seconds);
            let pause = |until: i64| u64::try_from(until - seconds).unwrap_or(0).max(1) * 1000;
            cluster.forgive_at = next.map(|until| now + pause(until));
        }
        if forgive || over {
            self.wake(at);
        }
        if over {
            self.changed(at);
        }
        self.arm_expiry(at);
    }

    fn arm_expiry(&mut self, at: ClusterId) {
        let cluster = &mut self.clusters[at];
        let next = cluster.kept.next_at().into_iter().chain(cluster.forgive_at).min();
        let Some(next) = next.map(|next| next.max(self.now)) else { return };
        if cluster.expire_at.is_none_or(|set| next < set) {
            cluster.expire_at = Some(next);
            self.agenda.set(next, Event::Expire(at));
        }
    }
}
