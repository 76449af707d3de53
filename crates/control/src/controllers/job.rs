//! Runs pods until enough of them have succeeded, or too many have failed.
//!
//! Every pod carries a finalizer until the status counts it, so that none is lost however pods are deleted: its uid goes
//! into `uncountedTerminatedPods`, then its finalizer goes, then the count rises. A job that has its verdict ends in two
//! steps as well: `SuccessCriteriaMet` or `FailureTarget` at once, `Complete` or `Failed` when no pod is left running.
//! Source: the Job documentation, KEP-2307, 3329, 3850, 3939 and 3998.

mod indexes;
mod policy;
mod tally;
mod template;
mod verdict;

use std::sync::Arc;

use serde_json::json;

use super::common::{self, BURST, Conditions};
use crate::model::{Held, Job, Key, Pod, Time};
use crate::plan::{Action, Plan, Precondition, Propagation, Report};
use crate::view::View;
pub use tally::release;
use tally::{FINALIZER, Tally};
use verdict::Verdict;

const COMPONENT: &str = "job-controller";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How often the pods of an index had failed before this pod.
const INDEX_FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// The first delay before a failed pod is replaced, and the longest; it doubles with each failure.
const BACKOFF: (i64, i64) = (10, 600);

pub fn plan(view: &View, key: &Key, now: i64, seed: u64) -> (Plan, Report) {
    let (mut plan, mut report) = (Plan::default(), Report::default());
    let Some(job) = view.jobs.by_key(key).cloned() else { return (plan, report) };
    if job.spec.managed_by.as_deref().is_some_and(|by| by != "kubernetes.io/job-controller") {
        return (plan, report);
    }
    let pods = view.pods.of_owner(&job.metadata.uid);
    if job.metadata.is_deleting() || job.finished().is_some() {
        plan.actions.extend(pods.iter().filter_map(|pod| release(pod)));
        if let Some(finished) = job.finished().filter(|_| !job.metadata.is_deleting()) {
            let since = finished.last_transition_time.map_or(0, |at| at.0);
            expire(&mut plan, key, &job, since, now);
        }
        return (plan, report);
    }
    let mut tally = Tally::take(&job, &pods);
    let verdict = verdict::of(&job, &tally, now);
    if let Some(verdict) = &verdict {
        tally.close(&job, verdict);
    }
    let this = Running { job: &job, key, now, seed };
    let mut conditions = Conditions::new(&job.status.conditions);
    plan.actions.extend(tally.released.iter().filter_map(|pod| release(pod)));
    let mut completion = None;
    match &verdict {
        Some(verdict) => {
            let (interim, end) = verdict.conditions();
            conditions.set(interim, true, &verdict.reason, &verdict.message, now, false);
            this.end(&mut plan, &tally.active, false);
            if tally.is_settled() {
                conditions.set(end, true, &verdict.reason, &verdict.message, now, false);
                completion = verdict.success.then_some(now);
                plan.push(match verdict.success {
                    true => common::event(key, &job.metadata, COMPONENT, "Completed", "Job completed".into()),
                    false => {
                        let message = verdict.message.clone();
                        common::warning(key, &job.metadata, COMPONENT, &verdict.reason, message)
                    }
                });
            } else {
                report.waits("its pods to end");
            }
        }
        None => this.manage(&mut plan, &mut report, &tally, &mut conditions),
    }
    this.status(&mut plan, &tally, conditions, completion, verdict.as_ref());
    (plan, report)
}

/// A job that has not ended, while it is planned.
struct Running<'a> {
    job: &'a Job,
    key: &'a Key,
    now: i64,
    seed: u64,
}

impl Running<'_> {
    /// Deletes pods; `forgiven` ones do not count as failures.
    fn end(&self, plan: &mut Plan, pods: &[Arc<Pod>], forgiven: bool) {
        if forgiven {
            plan.actions.extend(pods.iter().filter_map(|pod| release(pod)));
        }
        for pod in pods {
            plan.push(common::delete(pod.key(), &pod.metadata));
            let message = format!("Deleted pod: {}", pod.metadata.name);
            plan.push(common::event(self.key, &self.job.metadata, COMPONENT, "SuccessfulDelete", message));
        }
    }

    /// As many pods as there should be now.
    fn manage(&self, plan: &mut Plan, report: &mut Report, tally: &Tally, conditions: &mut Conditions) {
        let Self { job, now, .. } = self;
        let tell = |plan: &mut Plan, reason: &str, text: &str| {
            plan.push(common::event(self.key, &job.metadata, COMPONENT, reason, text.to_owned()));
        };
        let was_suspended =
            job.status.conditions.iter().any(|c| &*c.kind == "Suspended" && &*c.status == "True");
        if job.spec.suspend {
            conditions.set("Suspended", true, "JobSuspended", "Job suspended", *now, false);
            if !was_suspended {
                tell(plan, "Suspended", "Job suspended");
            }
            return self.end(plan, &tally.active, true);
        }
        if was_suspended {
            conditions.set("Suspended", false, "JobResumed", "Job resumed", *now, false);
            tell(plan, "Resumed", "Job resumed");
        }
        if let Some((limit, start)) = job.spec.active_deadline_seconds.zip(self.started()) {
            plan.again_at(start + limit);
        }
        let wanted = tally.wanted(job);
        let active = tally.active.len();
        // With `Failed`, the place of a pod is free only when it has ended for good.
        let waits = &*job.spec.pod_replacement_policy == "Failed";
        let taken = active + if waits { tally.terminating.len() } else { 0 };
        if active > wanted {
            let mut surplus = tally.active.clone();
            common::rank_for_deletion(&mut surplus);
            self.end(plan, &surplus[..active - wanted], true);
        } else if taken < wanted {
            self.make(plan, report, tally, (wanted - taken).min(BURST));
        }
    }

    fn make(&self, plan: &mut Plan, report: &mut Report, tally: &Tally, count: usize) {
        let Self { job, now, .. } = self;
        if job.is_indexed() {
            let (due, later) = tally.free_indexes(job, *now);
            if let Some(at) = later {
                plan.again_at(at);
                report.waits(format!("{} s before a failed index is tried again", at - now));
            }
            for (n, (index, failures)) in due.into_iter().take(count).enumerate() {
                let object = template::pod(job, self.key, Some((index, failures)));
                common::create_pod(plan, self.key, &job.metadata, COMPONENT, object, (self.seed, n));
            }
            return;
        }
        let resume = tally.resume_at();
        if *now < resume {
            plan.again_at(resume);
            return report.waits(format!("{} s before failed pods are replaced", resume - now));
        }
        for n in 0..count {
            let object = template::pod(job, self.key, None);
            common::create_pod(plan, self.key, &job.metadata, COMPONENT, object, (self.seed, n));
        }
        report.waits(format!("{count} new pods"));
    }

    fn started(&self) -> Option<i64> {
        self.job.status.start_time.map(|at| at.0)
    }

    fn status(
        &self,
        plan: &mut Plan,
        tally: &Tally,
        conditions: Conditions,
        completion: Option<i64>,
        verdict: Option<&Verdict>,
    ) {
        let job = self.job;
        let old = &job.status;
        let time = |at: Option<Time>| at.map(|at| at.to_string());
        let before = json!({
            "active": old.active, "ready": old.ready, "succeeded": old.succeeded, "failed": old.failed,
            "terminating": old.terminating, "startTime": time(old.start_time),
            "completedIndexes": old.completed_indexes, "failedIndexes": old.failed_indexes,
            "uncountedTerminatedPods": tally::uncounted(&tally::uids(old, "succeeded"), &tally::uids(old, "failed")),
        });
        let suspended = job.spec.suspend && verdict.is_none();
        let start = if suspended { None } else { Some(Time(self.started().unwrap_or(self.now))) };
        let ended = suspended || verdict.is_some();
        let active = if ended { 0 } else { tally.active.len() };
        let ready = if ended { 0 } else { tally.active.iter().filter(|pod| pod.is_ready()).count() };
        let mut new = json!({
            "active": active, "ready": ready,
            "succeeded": if job.is_indexed() { tally.done.len() as i32 } else { tally.counted.0 },
            "failed": tally.counted.1,
            "terminating": tally.terminating.len() + if ended { tally.active.len() } else { 0 },
            "startTime": time(start),
            "uncountedTerminatedPods": tally::uncounted(&tally.uncounted.0, &tally.uncounted.1),
        });
        if let Some(at) = completion {
            new["completionTime"] = json!(Time(at).to_string());
        }
        if job.is_indexed() {
            new["completedIndexes"] = json!(indexes::write(&tally.done));
        }
        if job.spec.backoff_limit_per_index.is_some() {
            new["failedIndexes"] = json!(indexes::write(&tally.failed_indexes));
        }
        if let Some(conditions) = conditions.into_changed() {
            new["conditions"] = conditions;
        }
        common::patch_status(plan, self.key, &job.metadata, &before, new);
    }
}

/// Deletes a finished job whose time to live is over.
fn expire(plan: &mut Plan, key: &Key, job: &Job, finished: i64, now: i64) {
    let Some(ttl) = job.spec.ttl_seconds_after_finished else { return };
    if now < finished + ttl {
        return plan.again_at(finished + ttl);
    }
    plan.push(Action::Delete {
        target: key.clone(),
        only_if: Precondition::unchanged(&job.metadata),
        propagation: Propagation::Foreground,
        grace: None,
    });
}
