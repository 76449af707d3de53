//! Events: those of the core group may say less than those of `events.k8s.io`, which are the same objects in another form.

use super::FieldError;
use super::field::{At, Errors, same};
use super::syntax;
use crate::names::namespace;

/// The most bytes of a note, and of the shorter texts.
const MAX_NOTE: usize = 1024;
const MAX_TEXT: usize = 128;

/// An event of the core group.
pub(super) fn core(event: &At, errors: &mut Errors) {
    common(event, "involvedObject", "reportingComponent", "message", errors);
}

/// The names that errors have are those of the core group, whatever the request has.
fn named<'a>(event: &At<'a>, name: &str, shown: &str) -> At<'a> {
    event.get(name).at(shown.to_owned())
}

fn common(event: &At, object: &str, controller: &str, note: &str, errors: &mut Errors) {
    let own = event.path(&["metadata", "namespace"]);
    let about = event.get(object).get("namespace").at("involvedObject.namespace".to_owned());
    let timed = event.get("eventTime").is_set();
    let fits = match (timed, about.is_empty()) {
        (false, true) => own.is_empty() || own.text() == namespace::DEFAULT,
        (false, false) => own.text() == about.text(),
        (true, true) => own.text() == namespace::DEFAULT || own.text() == namespace::SYSTEM,
        (true, false) => true,
    };
    if !fits {
        errors.invalid_value(&about, about.text(), "does not match event.namespace");
    }
    if timed {
        let controller = event.get(controller);
        errors.need(&controller);
        errors.complaints_about(&controller, controller.text(), syntax::qualified_name(controller.text()));
        for name in ["reportingInstance", "action", "reason"] {
            let field = event.get(name);
            errors.need(&field);
            if field.text().len() > MAX_TEXT {
                errors.invalid_value(&field, "", format!("can have at most {MAX_TEXT} characters"));
            }
        }
        let note = named(event, note, "message");
        if note.text().len() > MAX_NOTE {
            errors.invalid_value(&note, "", format!("can have at most {MAX_NOTE} characters"));
        }
    }
}

/// A new event of `events.k8s.io`.
pub(super) fn new(event: &At, errors: &mut Errors) {
    common(event, "regarding", "reportingController", "note", errors);
    series(event, errors);
    let time = event.get("eventTime");
    if !time.is_set() {
        errors.required(&time, "");
    }
    let kind = event.get("type");
    if !matches!(kind.text(), "Normal" | "Warning") {
        errors.invalid_value(&kind, "", format!("has invalid value: {}", kind.text()));
    }
    for (name, shown) in [
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        ("deprecatedSource", "source"),
    ] {
        let field = named(event, name, shown);
        if !field.is_empty() && field.int() != Some(0) {
            errors.invalid_value(&field, "", "needs to be unset");
        }
    }
}

fn series(event: &At, errors: &mut Errors) {
    let series = event.get("series");
    if !series.is_set() {
        return;
    }
    if series.get("count").int().is_none_or(|n| n < 2) {
        errors.invalid_value(&series.get("count"), "", "should be at least 2");
    }
    if !series.get("lastObservedTime").is_set() {
        errors.required(&series.get("lastObservedTime"), "");
    }
}

/// A changed event of `events.k8s.io`: only its series goes on.
pub(super) fn change(new: &At, old: &At, errors: &mut Errors) {
    common(new, "regarding", "reportingController", "note", errors);
    if !same(new.get("series").value, old.get("series").value) {
        series(new, errors);
    }
    for (name, shown) in [
        ("regarding", "involvedObject"),
        ("reason", "reason"),
        ("note", "message"),
        ("deprecatedSource", "source"),
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        // Twice, as in Kubernetes.
        ("reason", "reason"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingController", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ] {
        let now = named(new, name, shown);
        if !same(now.value, old.get(name).value) {
            errors.push(FieldError::immutable(&now.path, now.value.clone()));
        }
    }
}
