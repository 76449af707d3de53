//! Makes a Job whenever the schedule says so, and tidies up after those that ended.
//!
//! A job's name holds the minute it is for, so a time cannot be run twice even if a write of the status is lost.
//! Times that were missed are not made up for, but for the last one. Source of rules and words: Kubernetes' CronJob
//! documentation and events.

use std::sync::Arc;

use dunlin_api::cron::{self, Schedule};
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::common;
use crate::model::{CronJob, Held, Job, Key, Time};
use crate::plan::{Action, Plan, Precondition, Report};
use crate::view::View;

const COMPONENT: &str = "cronjob-controller";
/// The time that a job is for, in the schedule's zone; jobs made by hand have none.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// More missed times than this are worth a warning.
const MANY: i64 = 100;

/// One cron job while it is planned.
struct Cron<'a> {
    key: &'a Key,
    cron: &'a CronJob,
    now: i64,
}

pub fn plan(view: &View, key: &Key, now: i64, _seed: u64) -> (Plan, Report) {
    let (mut plan, mut report) = (Plan::default(), Report::default());
    let Some(cron) = view.cron_jobs.by_key(key).cloned() else { return (plan, report) };
    let this = Cron { key, cron: &cron, now };
    let jobs = view.jobs.of_owner(&cron.metadata.uid);
    let mut active: Vec<Arc<Job>> = jobs.iter().filter(|job| job.finished().is_none()).cloned().collect();
    let mut last = cron.status.last_schedule_time.map(|at| at.0);
    this.look_back(&mut plan, &jobs);
    this.forget(&mut plan, &jobs);
    if !cron.metadata.is_deleting() && !cron.spec.suspend {
        last = this.start(&mut plan, &mut report, &jobs, &mut active).or(last);
    }
    // Jobs made by hand, or forgotten, are told of and not counted.
    active.retain(|job| job.metadata.annotations.contains_key(SCHEDULED));
    let reference = |job: &Arc<Job>| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "namespace": key.namespace, "name": job.metadata.name,
            "uid": job.metadata.uid, "resourceVersion": job.metadata.resource_version})
    };
    let same = active.len() == cron.status.active.len()
        && active.iter().all(|job| cron.status.active.iter().any(|one| one.uid == job.metadata.uid));
    let succeeded = jobs.iter().filter_map(|job| job.status.completion_time);
    let succeeded = succeeded.chain(cron.status.last_successful_time).max();
    let mut new = json!({
        "lastScheduleTime": last.map(|at| Time(at).to_string()),
        "lastSuccessfulTime": succeeded.map(|at| at.to_string()),
    });
    let before = json!({
        "lastScheduleTime": cron.status.last_schedule_time.map(|at| at.to_string()),
        "lastSuccessfulTime": cron.status.last_successful_time.map(|at| at.to_string()),
        "active": null,
    });
    if !same {
        new["active"] = json!(active.iter().map(reference).collect::<Vec<_>>());
    }
    match same || !active.is_empty() {
        true => common::patch_status(&mut plan, key, &cron.metadata, &before, new),
        // An empty list differs from the one that is there.
        false => plan.push(Action::Patch {
            target: key.clone(),
            subresource: Some("status"),
            patch: json!({"status": new}),
            only_if: Precondition::uid(&cron.metadata.uid),
        }),
    }
    (plan, report)
}

impl Cron<'_> {
    fn tell(&self, plan: &mut Plan, reason: &str, message: String) {
        plan.push(common::event(self.key, &self.cron.metadata, COMPONENT, reason, message));
    }

    fn warn(&self, plan: &mut Plan, reason: &str, message: String) {
        plan.push(common::warning(self.key, &self.cron.metadata, COMPONENT, reason, message));
    }

    /// Tells of jobs that ended, went missing, or are not the schedule's.
    fn look_back(&self, plan: &mut Plan, jobs: &[Arc<Job>]) {
        let listed = |job: &Job| self.cron.status.active.iter().any(|one| one.uid == job.metadata.uid);
        for job in jobs {
            let name = &job.metadata.name;
            match job.finished() {
                Some(condition) if listed(job) => {
                    let text = format!("Saw completed job: {name}, condition: {}", condition.kind);
                    self.tell(plan, "SawCompletedJob", text);
                }
                None if !listed(job) && !job.metadata.annotations.contains_key(SCHEDULED) => {
                    let text = format!("Saw a job that the controller did not create or forgot: {name}");
                    self.warn(plan, "UnexpectedJob", text);
                }
                _ => {}
            }
        }
        for one in &self.cron.status.active {
            if jobs.iter().all(|job| job.metadata.uid != one.uid) {
                self.tell(plan, "MissingJob", format!("Active job went missing: {}", one.name));
            }
        }
    }

    /// Deletes the oldest finished jobs beyond the limits.
    fn forget(&self, plan: &mut Plan, jobs: &[Arc<Job>]) {
        let spec = &self.cron.spec;
        for (kind, limit) in
            [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)]
        {
            let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { continue };
            let mut ended: Vec<&Arc<Job>> = jobs
                .iter()
                .filter(|job| job.finished().is_some_and(|c| &*c.kind == kind) && !job.metadata.is_deleting())
                .collect();
            ended.sort_by_key(|job| (job.status.start_time, job.metadata.name.clone()));
            let surplus = ended.len().saturating_sub(limit);
            for job in ended.into_iter().take(surplus) {
                self.delete(plan, job);
            }
        }
    }

    fn delete(&self, plan: &mut Plan, job: &Job) {
        plan.push(common::delete(job.key(), &job.metadata));
        self.tell(plan, "SuccessfulDelete", format!("Deleted job {}", job.metadata.name));
    }

    /// Makes the job that is due; gives the time for which one was made.
    fn start(
        &self,
        plan: &mut Plan,
        report: &mut Report,
        jobs: &[Arc<Job>],
        active: &mut Vec<Arc<Job>>,
    ) -> Option<i64> {
        let spec = &self.cron.spec;
        let zone = match &spec.time_zone {
            None => TimeZone::UTC,
            Some(name) => match cron::time_zone(name) {
                Some(zone) => zone,
                None => {
                    let text = format!("invalid timeZone: {name:?}: unknown time zone {name}");
                    self.warn(plan, "UnknownTimeZone", text);
                    return None;
                }
            },
        };
        let schedule = match Schedule::parse(&spec.schedule) {
            Ok(schedule) => schedule,
            Err(error) => {
                let text = format!("unparseable schedule: {:?} : {error}", spec.schedule);
                self.warn(plan, "UnparseableSchedule", text);
                return None;
            }
        };
        if let Some(next) = schedule.next(self.now, &zone) {
            plan.again_at(next);
            report.waits(format!("the next time, {}", Time(next)));
        }
        let due = self.due(plan, &schedule, &zone)?;
        if spec.starting_deadline_seconds.is_some_and(|deadline| due + deadline < self.now) {
            let at = jiff::fmt::rfc2822::to_string(&zoned(due, &zone)).unwrap_or_default();
            self.warn(plan, "MissSchedule", format!("Missed scheduled time to start a job: {at}"));
            return None;
        }
        let name = format!("{}-{}", self.key.name, due / 60);
        if jobs.iter().any(|job| *job.metadata.name == *name) {
            return Some(due);
        }
        let mine = active.iter().filter(|job| job.metadata.annotations.contains_key(SCHEDULED));
        let mine: Vec<Arc<Job>> = mine.cloned().collect();
        if &*spec.concurrency_policy == "Forbid" && !mine.is_empty() {
            let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
            self.tell(plan, "JobAlreadyActive", text.to_owned());
            report.waits(format!("{} to end", mine[0].metadata.name));
            return None;
        }
        if &*spec.concurrency_policy == "Replace" {
            for job in mine.iter().filter(|job| !job.metadata.is_deleting()) {
                self.delete(plan, job);
            }
            active.clear();
        }
        plan.push(Action::Create {
            resource: Job::RESOURCE.into(),
            namespace: self.key.namespace.clone(),
            object: self.job(&name, &zoned(due, &zone)),
        });
        self.tell(plan, "SuccessfulCreate", format!("Created job {name}"));
        Some(due)
    }

    /// The last time that has come and has had no job yet.
    fn due(&self, plan: &mut Plan, schedule: &Schedule, zone: &TimeZone) -> Option<i64> {
        let created = self.cron.metadata.creation_timestamp.map_or(self.now, |at| at.0);
        let mut from = self.cron.status.last_schedule_time.map_or(created, |at| at.0);
        if let Some(deadline) = self.cron.spec.starting_deadline_seconds {
            from = from.max(self.now - deadline);
        }
        let first = schedule.next(from, zone).filter(|first| *first <= self.now)?;
        let between = schedule.next(first, zone)? - first;
        if (self.now - first) / between.max(1) + 1 > MANY {
            let text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.warn(plan, "TooManyMissedTimes", text.to_owned());
        }
        schedule.last_between(from, self.now, zone)
    }

    fn job(&self, name: &str, due: &jiff::Zoned) -> Value {
        let template = &self.cron.spec.job_template;
        let mut metadata = Map::new();
        for field in ["labels", "annotations"] {
            if let Some(value) = template["metadata"].get(field).filter(|v| !v.is_null()) {
                metadata.insert(field.to_owned(), value.clone());
            }
        }
        let mut metadata = Value::Object(metadata);
        metadata["annotations"][SCHEDULED] =
            json!(due.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string().replace("+00:00", "Z"));
        metadata["name"] = json!(name);
        metadata["namespace"] = json!(self.key.namespace);
        let reference = common::owner_reference(&self.cron.metadata, "batch/v1", "CronJob");
        metadata["ownerReferences"] = json!([reference]);
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]})
    }
}

fn zoned(at: i64, zone: &TimeZone) -> jiff::Zoned {
    jiff::Timestamp::from_second(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_zoned(zone.clone())
}
