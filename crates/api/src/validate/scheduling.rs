//! Where a pod may run: tolerations, affinity, spreading.

use super::field::{At, Errors};
use super::{FieldError, selectors, syntax};

const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "PreferNoSchedule"];

pub(super) fn tolerations(list: &At, errors: &mut Errors) {
    for item in list.items() {
        let (key, operator, value) = (item.get("key"), item.get("operator"), item.get("value"));
        let (effect, seconds) = (item.get("effect"), item.get("tolerationSeconds"));
        errors.form(&key, syntax::qualified_name);
        if key.is_empty() && operator.text() != "Exists" {
            errors.invalid_value(
                &operator,
                operator.text(),
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if seconds.is_set() && effect.text() != "NoExecute" {
            errors.invalid_value(
                &effect,
                effect.text(),
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            );
        }
        match operator.text() {
            "" | "Equal" => errors.form(&value, syntax::label_value),
            "Exists" => {
                if !value.is_empty() {
                    errors.invalid(&operator, "value must be empty when `operator` is 'Exists'");
                }
            }
            _ => errors.supported(&operator, &["Equal", "Exists"]),
        }
        errors.supported(&effect, EFFECTS);
    }
}

/// Taints of a node.
pub(super) fn taints(list: &At, errors: &mut Errors) {
    let mut seen = Vec::new();
    for item in list.items() {
        errors.need_form(&item.get("key"), syntax::qualified_name);
        errors.form(&item.get("value"), syntax::label_value);
        errors.need_supported(&item.get("effect"), EFFECTS);
        let pair = (item.get("key").text(), item.get("effect").text());
        if seen.contains(&pair) {
            errors.push(FieldError::duplicate(&item.path, item.value.clone()));
        }
        seen.push(pair);
    }
}

pub(super) fn affinity(affinity: &At, errors: &mut Errors) {
    let node = affinity.get("nodeAffinity");
    let required = node.get("requiredDuringSchedulingIgnoredDuringExecution");
    if required.is_set() {
        selectors::node_selector(&required, errors);
    }
    for item in node.get("preferredDuringSchedulingIgnoredDuringExecution").items() {
        weight(&item, errors);
        selectors::node_selector_term(&item.get("preference"), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pods = affinity.get(kind);
        for term in pods.get("requiredDuringSchedulingIgnoredDuringExecution").items() {
            pod_term(&term, errors);
        }
        for item in pods.get("preferredDuringSchedulingIgnoredDuringExecution").items() {
            weight(&item, errors);
            pod_term(&item.get("podAffinityTerm"), errors);
        }
    }
}

fn weight(item: &At, errors: &mut Errors) {
    let weight = item.get("weight");
    if !weight.int().is_some_and(|n| (1..=100).contains(&n)) {
        errors.invalid_value(&weight, weight.int().unwrap_or_default(), "must be in the range 1-100");
    }
}

fn topology_key(term: &At, errors: &mut Errors) {
    let key = term.get("topologyKey");
    if key.is_empty() {
        errors.required(&key, "can not be empty");
    } else {
        errors.complaints(&key, syntax::qualified_name(key.text()));
    }
}

fn pod_term(term: &At, errors: &mut Errors) {
    selectors::label_selector(&term.get("labelSelector"), errors);
    selectors::label_selector(&term.get("namespaceSelector"), errors);
    for namespace in term.get("namespaces").items() {
        errors.complaints(&namespace, syntax::dns_label(namespace.text()));
    }
    topology_key(term, errors);
}

pub(super) fn spread(list: &At, errors: &mut Errors) {
    let mut seen = Vec::new();
    for item in list.items() {
        let (skew, unsatisfiable) = (item.get("maxSkew"), item.get("whenUnsatisfiable"));
        if skew.int().unwrap_or_default() <= 0 {
            errors.invalid_value(&skew, skew.int().unwrap_or_default(), "must be greater than zero");
        }
        topology_key(&item, errors);
        errors.need_supported(&unsatisfiable, &["DoNotSchedule", "ScheduleAnyway"]);
        let domains = item.get("minDomains");
        if domains.int().is_some_and(|n| n <= 0) {
            errors.invalid(&domains, "must be greater than zero");
        }
        if domains.is_set() && unsatisfiable.text() == "ScheduleAnyway" {
            errors.invalid(
                &domains,
                "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
            );
        }
        errors.supported(&item.get("nodeAffinityPolicy"), &["Honor", "Ignore"]);
        errors.supported(&item.get("nodeTaintsPolicy"), &["Honor", "Ignore"]);
        selectors::label_selector(&item.get("labelSelector"), errors);
        let pair = (item.get("topologyKey").text(), unsatisfiable.text());
        if seen.contains(&pair) {
            let shown = format!("{{{}, {}}}", pair.0, pair.1);
            let at = format!("{}.{{topologyKey, whenUnsatisfiable}}", item.path);
            errors.push(FieldError::duplicate(&at, shown));
        }
        seen.push(pair);
    }
}
