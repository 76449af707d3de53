//! Jobs and cron jobs.

use super::field::{At, Errors, same};
use super::{FieldError, pod, selectors};
use crate::cron;
use crate::selector::LabelSelector;

/// A cron job's jobs are named after it with eleven characters more, and names of jobs end at 63.
const CRON_JOB_NAME: usize = 52;

pub(super) fn kind(kind: &str, object: &At, errors: &mut Errors) {
    let spec = object.get("spec");
    match kind {
        "Job" => {
            let selector = spec.get("selector");
            if !selector.is_set() {
                errors.required(&selector, "");
            } else {
                selectors::label_selector(&selector, errors);
                if let Ok(parsed) = LabelSelector::from_value(selector.value) {
                    selectors::fits_template(&parsed, &spec, errors);
                }
            }
            job_spec(&spec, errors);
        }
        "CronJob" => cron_job(object, &spec, errors),
        _ => {}
    }
}

pub(super) fn change(kind: &str, new: &At, old: &At, errors: &mut Errors) {
    if kind != "Job" {
        return;
    }
    let (spec, old_spec) = (new.get("spec"), old.get("spec"));
    let number = |at: &At, name: &str| at.get(name).int();
    let elastic = spec.get("completionMode").text() == "Indexed"
        && number(&spec, "completions") == number(&spec, "parallelism")
        && number(&old_spec, "completions") == number(&old_spec, "parallelism");
    if !elastic {
        errors.immutable(&spec.get("completions"), &old_spec.get("completions"));
    }
    for name in [
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
        "podReplacementPolicy",
    ] {
        errors.immutable(&spec.get(name), &old_spec.get(name));
    }
    let waiting = old_spec.get("suspend").is_true() && !old.path(&["status", "startTime"]).is_set();
    let (template, old_template) = (spec.get("template"), old_spec.get("template"));
    // A job that has not started may still be told where to run.
    let fixed = |template: &At| {
        let mut value = template.value.clone();
        if waiting {
            if let Some(map) = value.get_mut("spec").and_then(|v| v.as_object_mut()) {
                for name in ["nodeSelector", "affinity", "tolerations", "schedulingGates"] {
                    map.remove(name);
                }
            }
            if let Some(map) = value.get_mut("metadata").and_then(|v| v.as_object_mut()) {
                map.remove("labels");
                map.remove("annotations");
            }
        }
        value
    };
    if template.value.is_object()
        && old_template.value.is_object()
        && !same(&fixed(&template), &fixed(&old_template))
    {
        errors.push(FieldError::immutable(&template.path, template.value.clone()));
    }
}

/// What the spec of a job has in a job and in a cron job.
fn job_spec(spec: &At, errors: &mut Errors) {
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        errors.non_negative(&spec.get(name));
    }
    let mode = spec.get("completionMode");
    errors.supported(&mode, &["Indexed", "NonIndexed"]);
    let completions = spec.get("completions");
    if mode.text() == "Indexed" {
        if !completions.is_set() {
            errors.required(&completions, "when completion mode is Indexed");
        }
        let parallelism = spec.get("parallelism");
        if parallelism.int().is_some_and(|n| n > 100_000) {
            errors.invalid(
                &parallelism,
                "must be less than or equal to 100000 when completion mode is Indexed",
            );
        }
    } else {
        for name in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            let field = spec.get(name);
            if field.is_set() {
                errors.invalid(&field, "requires indexed completion mode");
            }
        }
    }
    errors.supported(&spec.get("podReplacementPolicy"), &["Failed", "TerminatingOrFailed"]);
    failure_policy(spec, errors);
    let template = spec.get("template");
    if !template.is_set() {
        errors.required(&template, "");
        return;
    }
    pod::template(&template, errors);
    let policy = template.path(&["spec", "restartPolicy"]);
    if policy.text() == "Always" || policy.is_empty() {
        errors.required(&policy, "valid values: \"OnFailure\", \"Never\"");
    } else {
        errors.supported(&policy, &["Never", "OnFailure"]);
    }
}

fn failure_policy(spec: &At, errors: &mut Errors) {
    let policy = spec.get("podFailurePolicy");
    if !policy.is_set() {
        return;
    }
    let restart = spec.path(&["template", "spec", "restartPolicy"]);
    if restart.text() != "Never" {
        errors.invalid(&restart, "only \"Never\" is supported when podFailurePolicy is specified");
    }
    for rule in policy.get("rules").items() {
        errors.need_supported(&rule.get("action"), &["Count", "FailIndex", "FailJob", "Ignore"]);
        let (codes, conditions) = (rule.get("onExitCodes"), rule.get("onPodConditions"));
        match (codes.is_set(), !conditions.is_empty()) {
            (true, true) => {
                errors.invalid(&rule, "specifying both OnExitCodes and OnPodConditions is not supported");
            }
            (false, false) => {
                errors.invalid(&rule, "specifying one of OnExitCodes and OnPodConditions is required");
            }
            _ => {}
        }
        if codes.is_set() {
            errors.need_supported(&codes.get("operator"), &["In", "NotIn"]);
            let values = codes.get("values");
            if values.is_empty() {
                errors.invalid_value(&values, Vec::<i64>::new(), "at least one value is required");
            }
            for value in values.items() {
                if value.int() == Some(0) && codes.get("operator").text() == "In" {
                    errors.invalid(&value, "must not be 0 for the In operator");
                }
            }
        }
        for condition in conditions.items() {
            errors.need(&condition.get("type"));
            errors.need_supported(&condition.get("status"), &["False", "True", "Unknown"]);
        }
    }
}

fn cron_job(object: &At, spec: &At, errors: &mut Errors) {
    let name = object.path(&["metadata", "name"]);
    if name.text().len() > CRON_JOB_NAME {
        errors.invalid(&name, format!("must be no more than {CRON_JOB_NAME} characters"));
    }
    let schedule = spec.get("schedule");
    if errors.need(&schedule) {
        if schedule.text().contains("TZ") {
            errors.invalid(&schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
        } else if let Err(words) = cron::Schedule::parse(schedule.text()) {
            errors.invalid(&schedule, words);
        }
    }
    let zone = spec.get("timeZone");
    if zone.is_set() {
        if zone.text().is_empty() {
            errors.invalid(&zone, "timeZone must be nil or non-empty string");
        } else if zone.text().eq_ignore_ascii_case("local") {
            errors.invalid(
                &zone,
                "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
            );
        } else if cron::time_zone(zone.text()).is_none() {
            errors.invalid(&zone, format!("unknown time zone {}", zone.text()));
        }
    }
    for name in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        errors.non_negative(&spec.get(name));
    }
    errors.need_supported(&spec.get("concurrencyPolicy"), &["Allow", "Forbid", "Replace"]);
    let job = spec.path(&["jobTemplate", "spec"]);
    if job.get("manualSelector").is_true() {
        errors.push(FieldError::not_supported(&job.get("manualSelector").path, true, &["nil", "false"]));
    } else if job.get("selector").is_set() {
        errors.invalid(&job.get("selector"), "`selector` will be auto-generated");
    }
    job_spec(&job, errors);
}
