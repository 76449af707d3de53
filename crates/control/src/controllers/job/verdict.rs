//! Whether a job has succeeded or failed, and why.

use super::policy;
use super::tally::Tally;
use crate::model::{Job, Pod};

/// How the job ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub success: bool,
    pub reason: String,
    pub message: String,
}

impl Verdict {
    fn new(success: bool, reason: &str, message: impl Into<String>) -> Self {
        Self { success, reason: reason.to_owned(), message: message.into() }
    }

    /// The conditions that are set at once, and when all pods have ended.
    pub fn conditions(&self) -> (&'static str, &'static str) {
        if self.success { ("SuccessCriteriaMet", "Complete") } else { ("FailureTarget", "Failed") }
    }
}

/// The verdict that was given before, or can be given now.
pub fn of(job: &Job, tally: &Tally, now: i64) -> Option<Verdict> {
    for (kind, success) in [("FailureTarget", false), ("SuccessCriteriaMet", true)] {
        let given = job.status.conditions.iter().find(|c| &*c.kind == kind && &*c.status == "True");
        if let Some(given) = given {
            return Some(Verdict::new(success, &given.reason, &*given.message));
        }
    }
    let fail = |reason: &str, message: &str| Some(Verdict::new(false, reason, message));
    if let Some(message) = &tally.fails_job {
        return fail("PodFailurePolicy", message);
    }
    let limit = job.spec.backoff_limit.unwrap_or(6);
    if tally.failed() > limit || (restarts_on_failure(job) && restarts(tally) > i64::from((limit - 1).max(0)))
    {
        return fail("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    let started = job.status.start_time.filter(|_| !job.spec.suspend).map(|at| at.0);
    if job.spec.active_deadline_seconds.zip(started).is_some_and(|(limit, start)| now >= start + limit) {
        return fail("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    if job.is_indexed() {
        let failed = tally.failed_indexes.len();
        if job.spec.max_failed_indexes.is_some_and(|most| failed > usize::try_from(most).unwrap_or(0)) {
            let text = "Job has exceeded the specified maximal number of failed indexes";
            return fail("MaxFailedIndexesExceeded", text);
        }
        let all = usize::try_from(job.spec.completions.unwrap_or(0)).unwrap_or(0);
        if failed > 0 && failed + tally.done.len() >= all {
            return fail("FailedIndexes", "Job has failed indexes");
        }
        if let Some(rule) = policy::success(job, &tally.done) {
            return Some(Verdict::new(true, "SuccessPolicy", format!("Matched rules at index {rule}")));
        }
    }
    let complete = match job.spec.completions {
        Some(count) => tally.succeeded(job) >= count,
        None => tally.succeeded(job) > 0 && tally.active.is_empty(),
    };
    let text = "Reached expected number of succeeded pods";
    complete.then(|| Verdict::new(true, "CompletionsReached", text))
}

fn restarts_on_failure(job: &Job) -> bool {
    job.spec.template["spec"]["restartPolicy"] == "OnFailure"
}

/// Restarts of containers in pods that go on: with `OnFailure` they are the job's failures.
fn restarts(tally: &Tally) -> i64 {
    let of = |pod: &Pod| -> i64 {
        let all = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
        all.map(|container| container.restart_count).sum()
    };
    tally.active.iter().map(|pod| of(pod)).sum()
}
