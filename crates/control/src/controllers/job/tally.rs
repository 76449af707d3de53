//! What a job's pods count for, and which of them have been counted and may go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::policy::{self, Failure};
use super::verdict::Verdict;
use super::{BACKOFF, INDEX, INDEX_FAILURES, indexes};
use crate::model::{Held, Job, JobStatus, Pod};
use crate::plan::{Action, Precondition};

/// Keeps a pod until its job has counted it.
pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

type Uids = BTreeSet<Arc<str>>;

#[derive(Debug, Default)]
pub struct Tally {
    /// Neither ended nor being deleted.
    pub active: Vec<Arc<Pod>>,
    /// Being deleted, but not ended yet.
    pub terminating: Vec<Arc<Pod>>,
    /// Succeeded and failed pods that the status counts from now on.
    pub counted: (i32, i32),
    /// Those that it will count when their finalizer is gone.
    pub uncounted: (Uids, Uids),
    pub done: BTreeSet<i64>,
    pub failed_indexes: BTreeSet<i64>,
    /// Pods whose finalizer may go.
    pub released: Vec<Arc<Pod>>,
    /// Why a pod's failure fails the whole job.
    pub fails_job: Option<String>,
    /// Whether pods are left whose failure or success is not written down yet.
    unsettled: bool,
    /// Failures of each index and when the last of them ended.
    failures: BTreeMap<i64, (i64, i64)>,
    /// Failures since the last success, and when the last of them ended.
    recent: (i64, i64),
}

impl Tally {
    pub fn take(job: &Job, pods: &[Arc<Pod>]) -> Self {
        let status = &job.status;
        let mut tally = Self { counted: (status.succeeded, status.failed), ..Self::default() };
        let known = (uids(status, "succeeded"), uids(status, "failed"));
        let end = if job.is_indexed() { i64::from(job.spec.completions.unwrap_or(0)) } else { 0 };
        tally.done = indexes::read(&status.completed_indexes, end);
        let written = tally.done.clone();
        if let Some(failed) = &status.failed_indexes {
            tally.failed_indexes = indexes::read(failed, end);
        }
        let written_failed = tally.failed_indexes.clone();
        // What has lost its finalizer, or is gone, is counted for good.
        let holds = |uid: &Arc<str>| pods.iter().any(|pod| pod.metadata.uid == *uid && is_tracked(pod));
        tally.uncounted.0 = known.0.iter().filter(|uid| holds(uid)).cloned().collect();
        tally.uncounted.1 = known.1.iter().filter(|uid| holds(uid)).cloned().collect();
        tally.counted.0 += (known.0.len() - tally.uncounted.0.len()) as i32;
        tally.counted.1 += (known.1.len() - tally.uncounted.1.len()) as i32;
        let closing =
            job.status.conditions.iter().any(|c| &*c.kind == "FailureTarget" && &*c.status == "True");
        let last_success =
            pods.iter().filter(|p| &*p.status.phase == "Succeeded").filter_map(|p| ended(p)).max();
        for pod in pods {
            let index = index(pod).filter(|n| (0..end).contains(n));
            let stray = job.is_indexed() && index.is_none();
            if &*pod.status.phase == "Succeeded" {
                if let Some(index) = index {
                    tally.done.insert(index);
                }
                let noted = match index {
                    Some(index) => written.contains(&index),
                    None => stray || known.0.contains(&pod.metadata.uid),
                };
                if is_tracked(pod) && noted {
                    tally.released.push(pod.clone());
                } else if is_tracked(pod) && index.is_none() {
                    tally.uncounted.0.insert(pod.metadata.uid.clone());
                }
            } else if has_failed(job, pod) && (is_tracked(pod) || &*pod.status.phase == "Failed") {
                let verdict = policy::failure(job, pod);
                if let Failure::FailJob(message) = &verdict {
                    tally.fails_job = Some(message.clone());
                }
                let before = failures_before(pod);
                let counts = verdict != Failure::Ignore;
                // A pod that was deleted is replaced at once.
                if counts && &*pod.status.phase == "Failed" && ended(pod) >= last_success {
                    tally.recent = (tally.recent.0 + 1, tally.recent.1.max(ended(pod).unwrap_or(0)));
                }
                if let Some(index) = index {
                    let now = (before + i64::from(counts), ended(pod).unwrap_or(0));
                    let most = tally.failures.entry(index).or_default();
                    *most = (*most).max(now);
                    let limit = job.spec.backoff_limit_per_index.map(i64::from);
                    // A pod that the job's end has ended says nothing about its index.
                    let ours = closing && pod.metadata.is_deleting();
                    let over = verdict == Failure::FailIndex || limit.is_some_and(|limit| now.0 > limit);
                    if over && !ours {
                        tally.failed_indexes.insert(index);
                    }
                }
                if !is_tracked(pod) {
                    continue;
                }
                // The last failed pod of an index keeps its count until the next pod has it.
                let replaced = job.spec.backoff_limit_per_index.is_none()
                    || index.is_none_or(|n| written_failed.contains(&n) || is_followed(pods, pod, n));
                let noted = stray || !counts || known.1.contains(&pod.metadata.uid);
                if noted && replaced {
                    tally.released.push(pod.clone());
                } else if !noted {
                    tally.uncounted.1.insert(pod.metadata.uid.clone());
                }
            } else if !pod.metadata.is_deleting() {
                tally.active.push(pod.clone());
            }
            if pod.metadata.is_deleting() && !pod.is_finished() {
                tally.terminating.push(pod.clone());
            }
        }
        let done = tally.done.clone();
        tally.failed_indexes.retain(|index| !done.contains(index));
        tally.unsettled = tally.done != written || tally.failed_indexes != written_failed;
        tally
    }

    /// The job has its verdict: what still runs counts as failed if the job has, and no pod is held back any more.
    pub fn close(&mut self, job: &Job, verdict: &Verdict) {
        let known = uids(&job.status, "failed");
        for pod in self.active.iter().chain(&self.terminating).filter(|pod| is_tracked(pod)) {
            if verdict.success || known.contains(&pod.metadata.uid) {
                self.released.push(pod.clone());
            } else {
                self.uncounted.1.insert(pod.metadata.uid.clone());
            }
        }
    }

    /// Whether every pod has ended and is counted, so that the job's end can be written down.
    pub fn is_settled(&self) -> bool {
        let none = self.uncounted.0.is_empty() && self.uncounted.1.is_empty();
        self.active.is_empty()
            && self.terminating.is_empty()
            && self.released.is_empty()
            && none
            && !self.unsettled
    }

    pub fn succeeded(&self, job: &Job) -> i32 {
        if job.is_indexed() {
            return self.done.len() as i32;
        }
        self.counted.0 + self.uncounted.0.len() as i32
    }

    pub fn failed(&self) -> i32 {
        self.counted.1 + self.uncounted.1.len() as i32
    }

    /// How many pods should be active.
    pub fn wanted(&self, job: &Job) -> usize {
        let parallelism = job.spec.parallelism.unwrap_or(1).max(0);
        let wanted = match job.spec.completions {
            Some(count) => parallelism.min(count - self.succeeded(job)),
            // A work queue without a number of completions starts no more pods once one has succeeded.
            None if self.succeeded(job) > 0 => self.active.len() as i32,
            None => parallelism,
        };
        usize::try_from(wanted).unwrap_or(0)
    }

    /// When failed pods may be replaced.
    pub fn resume_at(&self) -> i64 {
        let (failures, last) = self.recent;
        if failures == 0 { 0 } else { last + backoff(failures) }
    }

    /// Indexes that need a pod now, with their failures so far, lowest first; and when the next one may be tried.
    pub fn free_indexes(&self, job: &Job, now: i64) -> (Vec<(i64, i64)>, Option<i64>) {
        let waits = &*job.spec.pod_replacement_policy == "Failed";
        let ending = self.terminating.iter().filter(|_| waits);
        let taken: BTreeSet<i64> = self.active.iter().chain(ending).filter_map(|pod| index(pod)).collect();
        let (mut due, mut later) = (Vec::new(), None::<i64>);
        for n in 0..i64::from(job.spec.completions.unwrap_or(0)) {
            if taken.contains(&n) || self.done.contains(&n) || self.failed_indexes.contains(&n) {
                continue;
            }
            let (failures, last) = self.failures.get(&n).copied().unwrap_or_default();
            let at = match job.spec.backoff_limit_per_index {
                Some(_) if failures > 0 => last + backoff(failures),
                Some(_) => 0,
                None => self.resume_at(),
            };
            if at <= now {
                due.push((n, failures));
            } else {
                later = Some(later.map_or(at, |earlier| earlier.min(at)));
            }
        }
        (due, later)
    }
}

fn backoff(failures: i64) -> i64 {
    (BACKOFF.0 << (failures - 1).clamp(0, 10)).min(BACKOFF.1)
}

/// Takes the pod's finalizer away, if it has it.
pub fn release(pod: &Pod) -> Option<Action> {
    let left: Vec<_> = pod.metadata.finalizers.iter().filter(|f| &***f != FINALIZER).collect();
    is_tracked(pod).then(|| Action::Patch {
        target: pod.key(),
        subresource: None,
        patch: json!({"metadata": {"finalizers": left}}),
        only_if: Precondition::unchanged(&pod.metadata),
    })
}

/// `uncountedTerminatedPods` of a status.
pub fn uncounted(succeeded: &Uids, failed: &Uids) -> Value {
    let list = |uids: &Uids| if uids.is_empty() { Value::Null } else { json!(uids) };
    json!({"succeeded": list(succeeded), "failed": list(failed)})
}

pub fn uids(status: &JobStatus, which: &str) -> Uids {
    let list = status.uncounted_terminated_pods.as_deref().and_then(|all| all[which].as_array());
    list.into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect()
}

fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().any(|f| &**f == FINALIZER)
}

/// Failed, or deleted by somebody before it could end; with `Failed`, a deleted pod is waited for.
fn has_failed(job: &Job, pod: &Pod) -> bool {
    &*pod.status.phase == "Failed"
        || (pod.metadata.is_deleting() && &*job.spec.pod_replacement_policy != "Failed")
}

fn index(pod: &Pod) -> Option<i64> {
    pod.metadata.annotations.get(INDEX).and_then(|text| text.parse().ok())
}

fn failures_before(pod: &Pod) -> i64 {
    pod.metadata.annotations.get(INDEX_FAILURES).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Whether a later pod of the index carries on this pod's count.
fn is_followed(pods: &[Arc<Pod>], pod: &Pod, n: i64) -> bool {
    pods.iter().any(|other| {
        let later = other.metadata.creation_timestamp >= pod.metadata.creation_timestamp;
        index(other) == Some(n)
            && other.metadata.uid != pod.metadata.uid
            && later
            && failures_before(other) > failures_before(pod)
    })
}

/// When the pod ended, as far as its containers tell.
fn ended(pod: &Pod) -> Option<i64> {
    let times = pod.status.container_statuses.iter().filter_map(|c| c.state.terminated.as_ref()?.finished_at);
    times.max().or(pod.metadata.deletion_timestamp).map(|t| t.0)
}
