//! When CronJobs make jobs, and which they keep.

use super::*;
use crate::model::{CronJob, Job, Time};

const START: &str = "2026-03-01T00:00:00Z";

fn at(text: &str) -> i64 {
    Time::parse(text).expect("a time").0
}

fn cron(more: Value) -> CronJob {
    let mut cron = json!({
        "metadata": {"name": "tick", "namespace": "n", "uid": "cron", "creationTimestamp": START},
        "spec": {"schedule": "*/10 * * * *", "concurrencyPolicy": "Allow", "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1,
            "jobTemplate": {"metadata": {"labels": {"app": "tick"}}, "spec": {"template": {"spec": {}}}}},
    });
    json_patch_merge(&mut cron, more);
    serde_json::from_value(cron).expect("a CronJob")
}

/// Names the minute after `START` that the job is for; active unless it ended as `end` says.
fn job(minute: i64, end: &str) -> Job {
    let mut job = json!({
        "metadata": {"name": format!("tick-{}", at(START) / 60 + minute), "namespace": "n", "uid": format!("j{minute}"),
            "annotations": {"batch.kubernetes.io/cronjob-scheduled-timestamp": "then"},
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "CronJob", "name": "tick", "uid": "cron", "controller": true}]},
        "status": {"startTime": Time(at(START) + minute * 60).to_string()},
    });
    if !end.is_empty() {
        job["status"]["conditions"] = json!([{"type": end, "status": "True"}]);
        if end == "Complete" {
            job["status"]["completionTime"] = json!(Time(at(START) + minute * 60 + 5).to_string());
        }
    }
    serde_json::from_value(job).expect("a Job")
}

/// What is made (`+minute`), deleted (`-minute`) and told at `now`.
fn done(view: &View, now: i64) -> String {
    let (plan, _) = cronjob::plan(view, &Key::new("cronjobs.batch", "n", "tick"), now, 0);
    let minute = |name: &str| {
        name.rsplit('-').next().and_then(|n| n.parse::<i64>().ok()).expect("a minute") - at(START) / 60
    };
    let words = plan.actions.iter().filter_map(|action| match action {
        Action::Create { object, .. } => {
            Some(format!("+{}", minute(object["metadata"]["name"].as_str().expect("a name"))))
        }
        Action::Delete { target, .. } => Some(format!("-{}", minute(&target.name))),
        Action::Event { reason, .. } if !reason.starts_with("Successful") => Some(reason.to_string()),
        _ => None,
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn jobs_are_made_when_due_and_only_then() {
    let last = |text: &str| json!({"status": {"lastScheduleTime": text}});
    let with = |spec: Value| json!({"spec": spec});
    let active = |policy: &str| json!({"spec": {"concurrencyPolicy": policy}, "status": {"lastScheduleTime": "2026-03-01T00:10:00Z"}});
    for (more, jobs, now, want) in [
        (json!({}), vec![], "2026-03-01T00:09:59Z", ""),
        (json!({}), vec![], "2026-03-01T00:10:00Z", "+10"),
        (json!({}), vec![], "2026-03-01T00:39:59Z", "+30"),
        (last("2026-03-01T00:10:00Z"), vec![], "2026-03-01T00:19:00Z", ""),
        (last("2026-03-01T00:10:00Z"), vec![], "2026-03-01T00:20:01Z", "+20"),
        // The write of the status was lost: the job is there.
        (json!({}), vec![job(10, "Complete")], "2026-03-01T00:10:05Z", ""),
        (json!({}), vec![], "2026-03-02T00:10:00Z", "TooManyMissedTimes +1450"),
        (with(json!({"suspend": true})), vec![], "2026-03-01T00:10:00Z", ""),
        (with(json!({"startingDeadlineSeconds": 30})), vec![], "2026-03-01T00:10:20Z", "+10"),
        (with(json!({"startingDeadlineSeconds": 30})), vec![], "2026-03-01T00:10:31Z", ""),
        (
            with(json!({"timeZone": "Asia/Kolkata", "schedule": "0 6 * * *"})),
            vec![],
            "2026-03-01T00:31:00Z",
            "+30",
        ),
        (with(json!({"timeZone": "Atlantis/Capital"})), vec![], "2026-03-01T00:10:00Z", "UnknownTimeZone"),
        (with(json!({"schedule": "often"})), vec![], "2026-03-01T00:10:00Z", "UnparseableSchedule"),
        (json!({"metadata": {"deletionTimestamp": START}}), vec![], "2026-03-01T00:10:00Z", ""),
        (active("Allow"), vec![job(10, "")], "2026-03-01T00:20:00Z", "+20"),
        (active("Forbid"), vec![job(10, "")], "2026-03-01T00:20:00Z", "JobAlreadyActive"),
        (active("Forbid"), vec![job(10, "Failed")], "2026-03-01T00:20:00Z", "+20"),
        (active("Replace"), vec![job(10, "")], "2026-03-01T00:20:00Z", "-10 +20"),
    ] {
        let mut view = View::default();
        view.cron_jobs.upsert(cron(more.clone()));
        jobs.into_iter().for_each(|job| drop(view.jobs.upsert(job)));
        assert_eq!(done(&view, at(now)), want, "{more} at {now}");
    }
}

#[test]
fn finished_jobs_are_kept_up_to_the_limits_and_the_status_follows() {
    let mut view = View::default();
    view.cron_jobs.upsert(cron(json!({"status": {"lastScheduleTime": "2026-03-01T01:00:00Z",
        "active": [{"name": "tick-x", "uid": "gone"}, {"name": "tick-y", "uid": "j50"}]}})));
    for minute in [10, 20, 30, 40] {
        view.jobs.upsert(job(minute, "Complete"));
    }
    for minute in [45, 50] {
        view.jobs.upsert(job(minute, "Failed"));
    }
    view.jobs.upsert(job(60, ""));
    let now = at("2026-03-01T01:01:00Z");
    assert_eq!(done(&view, now), "SawCompletedJob MissingJob -10 -45");
    let (plan, _) = cronjob::plan(&view, &Key::new("cronjobs.batch", "n", "tick"), now, 0);
    let status = plan.actions.iter().find_map(|action| match action {
        Action::Patch { subresource: Some("status"), patch, .. } => Some(patch["status"].clone()),
        _ => None,
    });
    let status = status.expect("a status");
    assert_eq!(status["active"][0]["uid"], "j60");
    assert_eq!(status["active"].as_array().map(Vec::len), Some(1));
    assert_eq!(status["lastSuccessfulTime"], "2026-03-01T00:40:05Z");
    assert_eq!(plan.again_at, Some(at("2026-03-01T01:10:00Z")));
}

#[test]
fn a_job_says_what_it_is_for_in_its_zone() {
    let mut view = View::default();
    view.cron_jobs.upsert(cron(json!({"spec": {"timeZone": "Asia/Kolkata"}})));
    let now = at("2026-03-01T00:10:00Z");
    let (plan, _) = cronjob::plan(&view, &Key::new("cronjobs.batch", "n", "tick"), now, 0);
    let Some(Action::Create { object, .. }) = plan.actions.first() else { panic!("nothing is made") };
    let annotations = &object["metadata"]["annotations"];
    assert_eq!(annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"], "2026-03-01T05:40:00+05:30");
    assert_eq!(object["metadata"]["labels"]["app"], "tick");
    assert_eq!(object["metadata"]["ownerReferences"][0]["kind"], "CronJob");
}
