//! Runs pods until enough of them have succeeded, or too many have failed.
//!
//! Finished pods are counted while they exist, together with what the status already says of those that are gone.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::common::{self, BURST, Conditions};
use crate::model::{Held, Job, Key, Pod, Time};
use crate::plan::{Action, Plan, Precondition, Propagation, Report};
use crate::view::View;

const COMPONENT: &str = "job-controller";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// The first delay before a failed pod is replaced, and the longest; it doubles with each failure.
const BACKOFF: (i64, i64) = (10, 360);

pub fn plan(view: &View, key: &Key, now: i64, _seed: u64) -> (Plan, Report) {
    let (mut plan, mut report) = (Plan::default(), Report::default());
    let Some(job) = view.jobs.by_key(key).cloned() else { return (plan, report) };
    if job.metadata.is_deleting() {
        return (plan, report);
    }
    if let Some(finished) = finished_at(&job) {
        expire(&mut plan, key, &job, finished, now);
        return (plan, report);
    }
    let pods = view.pods.of_owner(&job.metadata.uid);
    let active: Vec<Arc<Pod>> = pods.iter().filter(|pod| pod.is_active()).cloned().collect();
    let phase = |wanted: &str| pods.iter().filter(|pod| &*pod.status.phase == wanted).count() as i32;
    let indexed = &*job.spec.completion_mode == "Indexed";
    let done: BTreeSet<i64> =
        pods.iter().filter(|pod| &*pod.status.phase == "Succeeded").filter_map(|pod| index(pod)).collect();
    // Pods may have been deleted since they were counted: counts never go back.
    let succeeded = if indexed { done.len() as i32 } else { phase("Succeeded") }.max(job.status.succeeded);
    let failed = phase("Failed").max(job.status.failed);
    let mut conditions = Conditions::new(&job.status.conditions);
    let started = job.status.start_time.map(|t| t.0);

    let completions = job.spec.completions;
    let complete = match completions {
        Some(count) => succeeded >= count,
        None => succeeded > 0 && active.is_empty(),
    };
    let overdue =
        job.spec.active_deadline_seconds.zip(started).is_some_and(|(limit, start)| now >= start + limit);
    let failure = if failed > job.spec.backoff_limit.unwrap_or(6) {
        Some(("BackoffLimitExceeded", "Job has reached the specified backoff limit"))
    } else if overdue {
        Some(("DeadlineExceeded", "Job was active longer than specified deadline"))
    } else {
        None
    };
    let mut now_active = active.len() as i32;
    let mut completion = Value::Null;
    if complete {
        let text = "Reached expected number of succeeded pods";
        conditions.set("SuccessCriteriaMet", true, "CompletionsReached", text, now, false);
        conditions.set("Complete", true, "CompletionsReached", text, now, false);
        completion = json!(Time(now).to_string());
        plan.push(common::event(key, &job.metadata, COMPONENT, "Completed", "Job completed".to_owned()));
        end(&mut plan, &active);
        now_active = 0;
    } else if let Some((reason, message)) = failure {
        conditions.set("FailureTarget", true, reason, message, now, false);
        conditions.set("Failed", true, reason, message, now, false);
        plan.push(common::warning(key, &job.metadata, COMPONENT, reason, message.to_owned()));
        end(&mut plan, &active);
        now_active = 0;
    } else if job.spec.suspend {
        conditions.set("Suspended", true, "JobSuspended", "Job suspended", now, false);
        end(&mut plan, &active);
        now_active = 0;
    } else {
        if job.status.conditions.iter().any(|c| &*c.kind == "Suspended") {
            conditions.set("Suspended", false, "JobResumed", "Job resumed", now, false);
        }
        let parallelism = job.spec.parallelism.unwrap_or(1).max(0);
        let wanted = completions.map_or(parallelism, |count| parallelism.min(count - succeeded));
        // A work queue without a number of completions starts no more pods once one has succeeded.
        let wanted = if completions.is_none() && succeeded > 0 { 0 } else { wanted };
        let resume =
            pods.iter().filter(|pod| &*pod.status.phase == "Failed").filter_map(|pod| ended(pod)).max();
        let resume = resume
            .map_or(0, |last| last + BACKOFF.0.saturating_mul(1 << (failed - 1).clamp(0, 10)).min(BACKOFF.1));
        if now_active > wanted {
            let mut surplus = active.clone();
            common::rank_for_deletion(&mut surplus);
            end(&mut plan, &surplus[..(now_active - wanted) as usize]);
        } else if now_active < wanted && now < resume {
            plan.again_at(resume);
            report.waits(format!("{} s before failed pods are replaced", resume - now));
        } else {
            let count = ((wanted - now_active) as usize).min(BURST);
            let mut free = free_indexes(&job, &done, &active);
            for _ in 0..count {
                let slot = if indexed { free.next() } else { None };
                if indexed && slot.is_none() {
                    break;
                }
                plan.push(Action::Create {
                    resource: "pods".into(),
                    namespace: key.namespace.clone(),
                    object: pod(&job, key, slot),
                });
                now_active += 1;
            }
            if count > 0 {
                report.waits(format!("{count} new pods"));
                plan.push(common::event(
                    key,
                    &job.metadata,
                    COMPONENT,
                    "SuccessfulCreate",
                    format!("Created {count} pods"),
                ));
            }
        }
        if let Some((limit, start)) = job.spec.active_deadline_seconds.zip(started) {
            plan.again_at(start + limit);
        }
    }
    let ready = active.iter().filter(|pod| pod.is_ready()).count().min(now_active as usize);
    let before = json!({
        "active": job.status.active, "ready": job.status.ready, "succeeded": job.status.succeeded, "failed": job.status.failed,
        "startTime": job.status.start_time.map(|t| t.to_string()), "completionTime": job.status.completion_time.map(|t| t.to_string()),
        "completedIndexes": job.status.completed_indexes, "terminating": job.status.terminating,
    });
    let start = if job.spec.suspend { None } else { Some(started.unwrap_or(now)) };
    let mut new = json!({
        "active": now_active, "ready": ready, "succeeded": succeeded, "failed": failed,
        "terminating": pods.iter().filter(|pod| !pod.is_finished() && pod.metadata.is_deleting()).count(),
        "startTime": start.map(|t| Time(t).to_string()),
    });
    if !completion.is_null() {
        new["completionTime"] = completion;
    }
    if indexed {
        new["completedIndexes"] = json!(ranges(&done));
    }
    if let Some(conditions) = conditions.into_changed() {
        new["conditions"] = conditions;
    }
    common::patch_status(&mut plan, key, &job.metadata, &before, new);
    (plan, report)
}

fn finished_at(job: &Job) -> Option<i64> {
    let ended =
        |c: &&crate::model::Condition| matches!(&*c.kind, "Complete" | "Failed") && &*c.status == "True";
    job.status.conditions.iter().find(ended).map(|c| c.last_transition_time.map_or(0, |t| t.0))
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

fn end(plan: &mut Plan, pods: &[Arc<Pod>]) {
    plan.actions.extend(pods.iter().map(|pod| common::delete(pod.key(), &pod.metadata)));
}

fn index(pod: &Pod) -> Option<i64> {
    pod.metadata.annotations.get(INDEX).and_then(|text| text.parse().ok())
}

fn ended(pod: &Pod) -> Option<i64> {
    let times = pod.status.container_statuses.iter().filter_map(|c| c.state.terminated.as_ref()?.finished_at);
    times.max().map(|t| t.0)
}

fn free_indexes(job: &Job, done: &BTreeSet<i64>, active: &[Arc<Pod>]) -> impl Iterator<Item = i64> {
    let taken: BTreeSet<i64> =
        active.iter().filter_map(|pod| index(pod)).chain(done.iter().copied()).collect();
    (0..i64::from(job.spec.completions.unwrap_or(0))).filter(move |n| !taken.contains(n))
}

fn pod(job: &Job, key: &Key, slot: Option<i64>) -> Value {
    let reference = common::owner_reference(&job.metadata, "batch/v1", "Job");
    let mut template = (*job.spec.template).clone();
    for name in ["batch.kubernetes.io/job-name", "job-name"] {
        template["metadata"]["labels"][name] = json!(key.name);
    }
    for name in ["batch.kubernetes.io/controller-uid", "controller-uid"] {
        template["metadata"]["labels"][name] = json!(job.metadata.uid);
    }
    if let Some(slot) = slot {
        template["metadata"]["annotations"][INDEX] = json!(slot.to_string());
        template["metadata"]["labels"][INDEX] = json!(slot.to_string());
        let variable = json!({"name": "JOB_COMPLETION_INDEX", "value": slot.to_string()});
        for sort in ["containers", "initContainers"] {
            for container in template["spec"][sort].as_array_mut().into_iter().flatten() {
                match container["env"].as_array_mut() {
                    Some(env) => env.push(variable.clone()),
                    None => container["env"] = json!([variable]),
                }
            }
        }
    }
    let mut pod = common::pod_from(&template, &key.namespace, &job.metadata, reference);
    if let Some(slot) = slot {
        pod["metadata"]["generateName"] = json!(format!("{}-{slot}-", key.name));
        pod["spec"]["hostname"] = json!(format!("{}-{slot}", key.name));
    }
    pod
}

/// `0,2-4`: how Kubernetes writes sets of indexes.
fn ranges(set: &BTreeSet<i64>) -> String {
    let mut text: Vec<String> = Vec::new();
    let mut all = set.iter().copied().peekable();
    while let Some(first) = all.next() {
        let mut last = first;
        while all.peek() == Some(&(last + 1)) {
            last = all.next().unwrap_or(last);
        }
        text.push(match last - first {
            0 => first.to_string(),
            1 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        });
    }
    text.join(",")
}
