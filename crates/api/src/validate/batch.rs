//! Jobs and cron jobs.

use super::field::{At, Errors, same};
use super::{FieldError, job_policies, pod, selectors, syntax};
use crate::cron;
use crate::names::label;
use crate::selector::LabelSelector;

/// A cron job's jobs are named after it with eleven characters more, and names of jobs end at 63.
const CRON_JOB_NAME: usize = 52;

pub(super) fn kind(kind: &str, object: &At, errors: &mut Errors) {
    let spec = object.get("spec");
    match kind {
        "Job" => {
            generated_selector(object, errors);
            job(&spec, errors);
        }
        "CronJob" => cron_job(object, &spec, None, errors),
        _ => {}
    }
}

/// The checks of a changed object as such: some are for new ones only.
pub(super) fn changed_kind(kind: &str, new: &At, old: &At, errors: &mut Errors) {
    match kind {
        "CronJob" => cron_job(new, &new.get("spec"), Some(&old.get("spec")), errors),
        // Kubernetes looks at the specification of a changed job twice.
        "Job" => {
            self::kind(kind, new, errors);
            job(&new.get("spec"), errors);
        }
        _ => self::kind(kind, new, errors),
    }
}

/// The spec of a job with its selector.
fn job(spec: &At, errors: &mut Errors) {
    job_spec(spec, errors);
    let selector = spec.get("selector");
    if selector.is_set() {
        selectors::label_selector(&selector, errors);
    } else {
        errors.required(&selector, "");
    }
    if let Ok(parsed) = LabelSelector::from_value(selector.value) {
        selectors::fits_template(&parsed, spec, errors);
    }
}

/// Unless its author chose it, the selector of a job is the one that is made of its uid.
fn generated_selector(job: &At, errors: &mut Errors) {
    let spec = job.get("spec");
    let selector = spec.get("selector");
    if spec.get("manualSelector").is_true() || !selector.is_set() {
        return;
    }
    let metadata = spec.path(&["template", "metadata"]);
    let (uid, name) = (job.path(&["metadata", "uid"]).text(), job.path(&["metadata", "name"]).text());
    let mut expected = serde_json::Map::new();
    for (key, value) in [
        (label::CONTROLLER_UID_LEGACY, uid),
        (label::JOB_NAME_LEGACY, name),
        (label::CONTROLLER_UID, uid),
        (label::JOB_NAME, name),
    ] {
        let found = metadata.get("labels").value.get(key).and_then(serde_json::Value::as_str);
        let at = metadata.get("labels");
        match found {
            None => errors.required(&at.at(format!("{}[{key}]", at.path)), &format!("must be '{value}'")),
            Some(found) if found != value => {
                errors.invalid(&at.at(at.path.clone()), format!("must be '{value}'"));
            }
            Some(_) => {}
        }
        expected.insert(key.to_owned(), value.into());
    }
    if let Ok(parsed) = LabelSelector::from_value(selector.value)
        && !parsed.matches(&serde_json::Value::Object(expected))
    {
        errors.invalid(&selector, "`selector` not auto-generated");
    }
}

pub(super) fn change(kind: &str, new: &At, old: &At, errors: &mut Errors) {
    if kind != "Job" {
        return;
    }
    let (spec, old_spec) = (new.get("spec"), old.get("spec"));
    let (completions, before) = (spec.get("completions"), old_spec.get("completions"));
    if spec.get("completionMode").text() != "Indexed" {
        errors.immutable(&completions, &before);
    } else if completions.is_set()
        && completions.value != before.value
        && completions.int() != spec.get("parallelism").int()
    {
        errors.invalid(&completions, "can only be modified in tandem with spec.parallelism");
    }
    errors.immutable(&spec.get("selector"), &old_spec.get("selector"));
    template_change(&spec, &old_spec, old, errors);
    for name in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        errors.immutable(&spec.get(name), &old_spec.get(name));
    }
}

/// While a job waits, it may still be told where to run and with what.
fn template_change(spec: &At, old_spec: &At, old: &At, errors: &mut Errors) {
    let suspended = old_spec.get("suspend").is_true();
    let waiting = suspended && !old.path(&["status", "startTime"]).is_set();
    let fixed = |template: &At| {
        let mut value = template.value.clone();
        if waiting {
            if let Some(map) = value.get_mut("spec").and_then(|v| v.as_object_mut()) {
                for name in ["nodeSelector", "tolerations", "schedulingGates"] {
                    map.remove(name);
                }
                if let Some(affinity) = map.get_mut("affinity").and_then(|v| v.as_object_mut()) {
                    affinity.remove("nodeAffinity");
                }
                for list in ["containers", "initContainers"] {
                    let containers = map.get_mut(list).and_then(|v| v.as_array_mut());
                    for container in containers.into_iter().flatten().filter_map(|v| v.as_object_mut()) {
                        container.remove("resources");
                    }
                }
            }
            if let Some(map) = value.get_mut("metadata").and_then(|v| v.as_object_mut()) {
                map.remove("labels");
                map.remove("annotations");
            }
        }
        value
    };
    let (template, before) = (spec.get("template"), old_spec.get("template"));
    if !template.value.is_object() || same(&fixed(&template), &fixed(&before)) {
        return;
    }
    let at = if suspended { template.get("spec") } else { template };
    errors.push(FieldError::immutable(&at.path, at.value.clone()));
}

/// What the controller reports.
pub(super) fn status(kind: &str, new: &At, old: &At, errors: &mut Errors) {
    if kind != "Job" {
        return;
    }
    let (status, before) = (new.get("status"), old.get("status"));
    for name in ["active", "succeeded", "failed"] {
        errors.non_negative(&status.get(name));
    }
    errors.non_negative(&status.get("ready"));
    errors.non_negative(&status.get("terminating"));
    let number = |at: &At, name: &str| at.get(name).int().unwrap_or_default();
    if number(&status, "ready") > number(&status, "active") {
        errors.invalid(&status.get("ready"), "cannot set more ready pods than active");
    }
    for name in ["failed", "succeeded"] {
        if number(&status, name) < number(&before, name) {
            errors.invalid(&status.get(name), format!("cannot decrease the {name} counter"));
        }
    }
}

const MAX_PARALLELISM: i64 = 100_000;
/// Above this many completions there are further limits for jobs that count failures by index.
const MANY_COMPLETIONS: i64 = 100_000;
const MANY_PARALLELISM: i64 = 10_000;
const MANY_FAILED: i64 = 10_000;

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
    let (per_index, max_failed) = (spec.get("backoffLimitPerIndex"), spec.get("maxFailedIndexes"));
    if max_failed.is_set() && !per_index.is_set() {
        errors.required(&per_index, "when maxFailedIndexes is specified");
    }
    managed_by(&spec.get("managedBy"), errors);
    let mode = spec.get("completionMode");
    errors.supported(&mode, &["NonIndexed", "Indexed"]);
    match mode.text() {
        "Indexed" => indexed(spec, errors),
        "NonIndexed" | "" => {
            for field in [&per_index, &max_failed] {
                if field.is_set() {
                    errors.invalid(field, "requires indexed completion mode");
                }
            }
        }
        _ => {}
    }
    job_policies::failure(spec, errors);
    job_policies::success(spec, errors);
    let replacement = spec.get("podReplacementPolicy");
    if spec.get("podFailurePolicy").is_set() {
        errors.supported(&replacement, &["Failed"]);
    } else {
        errors.supported(&replacement, &["Failed", "TerminatingOrFailed"]);
    }
    let template = spec.get("template");
    pod::template(&template, errors);
    let policy = template.path(&["spec", "restartPolicy"]);
    match policy.text() {
        "Always" | "" => errors.required(&policy, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if spec.get("podFailurePolicy").is_set() => {
            errors.invalid(&policy, "only \"Never\" is supported when podFailurePolicy is specified");
        }
        _ => errors.supported(&policy, &["OnFailure", "Never"]),
    }
}

/// `example.com/controller`.
fn managed_by(at: &At, errors: &mut Errors) {
    if !at.is_set() {
        return;
    }
    if at.is_empty() {
        errors.required(at, "");
    } else {
        match at.text().split_once('/') {
            Some((domain, path)) if !domain.is_empty() && !path.is_empty() => {
                errors.complaints_about(at, domain, syntax::dns_subdomain(domain));
            }
            _ => errors.invalid(at, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
        }
    }
    if at.text().len() > 63 {
        errors.push(FieldError::too_long(&at.path, 63));
    }
}

fn indexed(spec: &At, errors: &mut Errors) {
    let (completions, parallelism) = (spec.get("completions"), spec.get("parallelism"));
    let failed = spec.get("maxFailedIndexes");
    if !completions.is_set() {
        errors.required(&completions, "when completion mode is Indexed");
    }
    let over = |at: &At, limit: i64| at.int().is_some_and(|n| n > limit);
    if over(&parallelism, MAX_PARALLELISM) {
        let words = "must be less than or equal to 100000 when completion mode is Indexed";
        errors.invalid(&parallelism, words);
    }
    if completions.int().is_some_and(|all| over(&failed, all)) {
        errors.invalid(&failed, "must be less than or equal to completions");
    }
    if over(&failed, MAX_PARALLELISM) {
        errors.invalid(&failed, "must be less than or equal to 100000");
    }
    if over(&completions, MANY_COMPLETIONS) && spec.get("backoffLimitPerIndex").is_set() {
        if !failed.is_set() {
            errors.required(&failed, "must be specified when completions is above 100000");
        }
        let words = "must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index";
        for (at, limit) in [(&parallelism, MANY_PARALLELISM), (&failed, MANY_FAILED)] {
            if over(at, limit) {
                errors.invalid(at, words);
            }
        }
    }
}

/// `old` is the specification that it replaces.
fn cron_job(object: &At, spec: &At, old: Option<&At>, errors: &mut Errors) {
    let schedule = spec.get("schedule");
    let zone = spec.get("timeZone");
    if errors.need(&schedule) {
        let kept = old.is_some_and(|old| old.get("schedule").text().contains("TZ"));
        if !schedule.text().contains("TZ") {
            if let Err(words) = cron::Schedule::parse(schedule.text()) {
                errors.invalid(&schedule, words);
            }
        } else if !kept {
            errors.invalid(&schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
        } else if zone.is_set() {
            errors.invalid(&schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
        }
    }
    errors.non_negative(&spec.get("startingDeadlineSeconds"));
    if old.is_none_or(|old| old.get("timeZone").value != zone.value) && zone.is_set() {
        time_zone(&zone, errors);
    }
    errors.need_supported(&spec.get("concurrencyPolicy"), &["Allow", "Forbid", "Replace"]);
    let job = spec.path(&["jobTemplate", "spec"]);
    job_spec(&job, errors);
    if job.get("selector").is_set() {
        errors.invalid(&job.get("selector"), "`selector` will be auto-generated");
    }
    if job.get("manualSelector").is_true() {
        errors.push(FieldError::not_supported(&job.get("manualSelector").path, true, &["nil", "false"]));
    }
    for name in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        errors.non_negative(&spec.get(name));
    }
    let name = object.path(&["metadata", "name"]);
    if old.is_none() && name.text().len() > CRON_JOB_NAME {
        errors.invalid(&name, format!("must be no more than {CRON_JOB_NAME} characters"));
    }
}

fn time_zone(zone: &At, errors: &mut Errors) {
    let text = zone.text();
    if text.is_empty() {
        return errors.invalid(zone, "timeZone must be nil or non-empty string");
    }
    if text.eq_ignore_ascii_case("local") {
        let words = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(zone, words);
    } else if cron::time_zone(text).is_none() {
        errors.invalid(zone, format!("unknown time zone {text}"));
    }
}
