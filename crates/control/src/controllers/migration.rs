//! Moves one pod to another machine or cluster: makes before it breaks.
//!
//! | phase | what is so | what ends it |
//! |---|---|---|
//! | (none) | not looked at yet | refused: `Failed`; else the new pod is made: `Migrating` |
//! | `Migrating` | the new pod exists or is being made; the old one serves | the new one is ready: the old one leaves its Services, is deleted, and when it is gone: `Succeeded`. Not ready in time, or ended: the new one is deleted, `Failed` |
//! | `Succeeded`, `Failed` | nothing changes any more | removed after `migration_ttl` |
//!
//! `Failed` always means that the old pod was left as it was. The new pod has the same owner, so it is the ReplicaSet
//! that decides who counts meanwhile ([`succession`]); whoever deletes an unfinished Migration calls the move off, and
//! the ReplicaSet deletes what is left over.

mod refusal;
mod target;

use std::sync::Arc;

use serde_json::{Value, json};

use super::{common, succession};
use crate::model::migration::{FAILED, MIGRATING, SUCCEEDED};
use crate::model::{Held, Key, Migration, Pod, Time};
use crate::plan::{Action, Plan, Precondition, Report};
use crate::view::View;
use target::Target;

const COMPONENT: &str = "migration-controller";
/// Seconds between the old pod leaving its Services and its end: whoever balances load learns of it meanwhile.
const DRAIN: i64 = 2;
/// Seconds after which the old pod goes though some EndpointSlice still lists it: not all slices are ours to write.
const DRAIN_MOST: i64 = 10;

/// Why a move ends without having happened.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    /// For programs, in CamelCase.
    reason: Arc<str>,
    /// For people.
    message: String,
}

impl Refusal {
    fn new(reason: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into() }
    }
}

pub fn plan(view: &View, key: &Key, now: i64, _seed: u64) -> (Plan, Report) {
    let (mut plan, mut report) = (Plan::default(), Report::default());
    let Some(migration) = view.migrations.by_key(key).cloned() else { return (plan, report) };
    if migration.metadata.is_deleting() {
        return (plan, report);
    }
    let mut step = Step { view, key, migration: &migration, now, plan: &mut plan, report: &mut report };
    if migration.is_finished() {
        step.expire();
    } else if &*migration.status.phase == MIGRATING {
        step.go_on();
    } else {
        step.start();
    }
    (plan, report)
}

/// One look at one Migration.
struct Step<'a> {
    view: &'a View,
    key: &'a Key,
    migration: &'a Migration,
    now: i64,
    plan: &'a mut Plan,
    report: &'a mut Report,
}

impl Step<'_> {
    fn start(&mut self) {
        let found = refusal::check(self.view, self.migration).and_then(|pod| {
            let target = Target::find(self.view, self.migration, &pod)?;
            Ok((self.replacement(&pod, &target)?, pod, target))
        });
        match found {
            Ok((object, pod, target)) => {
                let name = object["metadata"]["name"].clone();
                self.status(json!({
                    "phase": MIGRATING, "podUID": pod.metadata.uid, "replacement": name,
                    "startTime": Time(self.now).to_string(), "reason": "Replacing",
                    "message": format!("the pod {} is being made on {target}", name.as_str().unwrap_or_default()),
                }));
                self.create(object);
            }
            Err(refusal) => self.fail(refusal),
        }
    }

    fn go_on(&mut self) {
        let status = &self.migration.status;
        let namespace = &self.key.namespace;
        let old = self.view.pods.get(namespace, &self.migration.spec.pod);
        let old = old.filter(|pod| pod.metadata.uid == status.pod_uid && !pod.is_finished()).cloned();
        let new = self.view.pods.get(namespace, &status.replacement);
        let new = new.filter(|pod| succession::predecessor(pod) == Some(&status.pod_uid)).cloned();
        let ready = new.as_ref().filter(|pod| pod.is_active() && pod.is_ready());
        match (&old, &new) {
            (None, Some(new)) if ready.is_some() => {
                self.succeed(format!("{} has taken over", new.metadata.name))
            }
            (Some(old), Some(new)) if ready.is_some() && common::is_dangling(old) => self.succeed(format!(
                "{} has taken over; {} is out of reach and goes when its machine comes back",
                new.metadata.name, old.metadata.name
            )),
            (Some(old), _) if old.metadata.is_deleting() => self.report.waits("the old pod to end"),
            (Some(old), Some(new)) if ready.is_some() => self.hand_over(old, new),
            _ if self.now >= self.deadline() => self.roll_back(new.as_ref(), "TimedOut"),
            (_, Some(new)) if new.is_finished() => self.roll_back(Some(new), "ReplacementFailed"),
            (_, Some(_)) => self.wait_for_ready(),
            (Some(old), None) => self.make_again(old),
            (None, None) => self.fail(Refusal::new(
                "PodGone",
                "the pod ended before another had taken its place; its controller makes a new one",
            )),
        }
    }

    /// The new pod is ready: the old one leaves its Services, and a little later it ends.
    fn hand_over(&mut self, old: &Arc<Pod>, new: &Arc<Pod>) {
        let Some(switch) = self.migration.status.switch_time else {
            let message =
                format!("{} is ready; {} leaves its Services", new.metadata.name, old.metadata.name);
            let at = Time(self.now).to_string();
            self.status(json!({"switchTime": at, "reason": "HandingOver", "message": message}));
            return self.plan.again_at(self.now + DRAIN);
        };
        let since = self.now - switch.0;
        let listed = since < DRAIN_MOST && self.is_listed(&old.metadata.uid);
        if since >= DRAIN && !listed {
            self.plan.push(common::delete(old.key(), &old.metadata));
            return self.report.waits("the old pod to end");
        }
        self.report.waits("the old pod to leave its Services");
        self.plan.again_at(switch.0 + if listed { DRAIN_MOST } else { DRAIN });
    }

    fn is_listed(&self, uid: &str) -> bool {
        let slices = self.view.endpoint_slices.in_namespace(&self.key.namespace);
        let mut endpoints = slices.iter().flat_map(|slice| slice.endpoints.as_array().into_iter().flatten());
        endpoints.any(|endpoint| endpoint["targetRef"]["uid"] == uid)
    }

    fn wait_for_ready(&mut self) {
        self.plan.again_at(self.deadline());
        self.report.waits("the new pod to be ready");
        if self.migration.status.switch_time.is_some() {
            // It was ready and is not any more: the old one is in its Services again.
            self.status(json!({"switchTime": null, "reason": "Replacing", "message": "the new pod is not ready any more"}));
        }
    }

    /// The new pod is not there: it could not be made yet, or somebody deleted it.
    fn make_again(&mut self, old: &Arc<Pod>) {
        self.plan.again_at(self.deadline());
        let target = Target::find(self.view, self.migration, old);
        match target.and_then(|target| self.replacement(old, &target)) {
            Ok(object) => self.create(object),
            Err(refusal) => self.fail(refusal),
        }
    }

    fn roll_back(&mut self, new: Option<&Arc<Pod>>, reason: &str) {
        let why = new.and_then(|pod| refusal::why_not_ready(pod)).unwrap_or_default();
        let message = match reason {
            "TimedOut" => format!("the new pod was not ready within {} s{why}", self.timeout()),
            _ => format!("the new pod ended{why}"),
        };
        if let Some(new) = new.filter(|pod| !pod.metadata.is_deleting()) {
            self.plan.push(common::delete(new.key(), &new.metadata));
        }
        self.fail(Refusal::new(reason, message));
    }

    fn succeed(&mut self, message: String) {
        self.finish(SUCCEEDED, "Moved", message);
    }

    fn fail(&mut self, refusal: Refusal) {
        self.finish(FAILED, &refusal.reason, refusal.message);
    }

    fn finish(&mut self, phase: &str, reason: &str, message: String) {
        let at = Time(self.now).to_string();
        self.status(json!({"phase": phase, "reason": reason, "message": message, "completionTime": at}));
        self.plan.push(Action::Event {
            target: self.key.clone(),
            uid: self.migration.metadata.uid.clone(),
            warning: phase == FAILED,
            reason: reason.into(),
            message,
            component: COMPONENT,
        });
    }

    fn expire(&mut self) {
        let ended = self.migration.status.completion_time.map_or(self.now, |at| at.0);
        let ends = ended.saturating_add(self.view.settings.migration_ttl);
        if self.now >= ends {
            self.plan.push(common::delete(self.key.clone(), &self.migration.metadata));
        } else {
            self.plan.again_at(ends);
        }
    }

    fn status(&mut self, status: Value) {
        self.plan.push(Action::Patch {
            target: self.key.clone(),
            subresource: Some("status"),
            patch: json!({"status": status}),
            only_if: Precondition::uid(&self.migration.metadata.uid),
        });
    }

    fn create(&mut self, object: Value) {
        self.report.waits("the new pod");
        self.plan.push(Action::Create {
            resource: "pods".into(),
            namespace: self.key.namespace.clone(),
            object,
        });
    }

    /// The new pod. Its name follows from the Migration, so that it cannot be made twice.
    fn replacement(&self, old: &Pod, target: &Target) -> Result<Value, Refusal> {
        let owner = old.metadata.controller().map(|owner| owner.name.clone()).unwrap_or_default();
        let set = self.view.replica_sets.get(&self.key.namespace, &owner).ok_or_else(|| {
            Refusal::new("NoController", format!("the ReplicaSet {owner} of the pod is not there any more"))
        })?;
        let reference = common::owner_reference(&set.metadata, "apps/v1", "ReplicaSet");
        let mut pod = common::pod_from(&set.spec.template, &self.key.namespace, &set.metadata, reference);
        let prefix = pod["metadata"]["generateName"].as_str().unwrap_or_default().to_owned();
        let suffix = common::hash(&json!(self.migration.metadata.uid), 0);
        if let Some(metadata) = pod["metadata"].as_object_mut() {
            metadata.remove("generateName");
        }
        pod["metadata"]["name"] = json!(format!("{prefix}{}", &suffix[..suffix.len().min(5)]));
        pod["metadata"]["annotations"][dunlin_api::names::annotation::REPLACES] = json!(old.metadata.uid);
        target.put(&mut pod);
        Ok(pod)
    }

    fn timeout(&self) -> i64 {
        let given = self.migration.spec.timeout_seconds.filter(|seconds| *seconds > 0);
        given.unwrap_or(self.view.settings.migration_timeout)
    }

    fn deadline(&self) -> i64 {
        self.migration.status.start_time.map_or(self.now, |at| at.0).saturating_add(self.timeout())
    }
}
