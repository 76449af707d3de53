//! Jobs and cron jobs. The job inside a cron job gets its defaults when it is created, as in Kubernetes.

use super::fill::{Object, at, child, ensure, has, items, set, set_text};
use super::pod;

pub(super) fn apply(kind: &str, object: &mut Object) {
    match kind {
        "Job" => job(object),
        "CronJob" => cron_job(object),
        _ => {}
    }
}

fn job(object: &mut Object) {
    let labels = at(object, &["spec", "template", "metadata", "labels"]).cloned();
    if let Some(labels) = labels
        && let Some(metadata) = ensure(object, "metadata")
        && metadata.get("labels").and_then(|l| l.as_object()).is_none_or(Object::is_empty)
    {
        metadata.insert("labels".into(), labels.into());
    }
    let Some(spec) = ensure(object, "spec") else { return };
    pod::template(spec);
    if !has(spec, "completions") && !has(spec, "parallelism") {
        set(spec, "completions", 1);
    }
    set(spec, "parallelism", 1);
    let limit = if has(spec, "backoffLimitPerIndex") { i64::from(i32::MAX) } else { 6 };
    set(spec, "backoffLimit", limit);
    set_text(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    set(spec, "manualSelector", false);
    let replacement = if has(spec, "podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    set_text(spec, "podReplacementPolicy", replacement);
    if let Some(policy) = child(spec, "podFailurePolicy") {
        for rule in items(policy, "rules") {
            for pattern in items(rule, "onPodConditions") {
                set_text(pattern, "status", "True");
            }
        }
    }
}

fn cron_job(object: &mut Object) {
    let Some(spec) = ensure(object, "spec") else { return };
    set_text(spec, "concurrencyPolicy", "Allow");
    set(spec, "suspend", false);
    set(spec, "successfulJobsHistoryLimit", 3);
    set(spec, "failedJobsHistoryLimit", 1);
    if let Some(job) = at(spec, &["jobTemplate", "spec"]) {
        pod::template(job);
    }
}
