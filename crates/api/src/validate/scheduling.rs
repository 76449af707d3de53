//! Where a pod may run: tolerations, affinity, spreading.

use super::error::Shown;
use super::field::{At, Errors};
use super::{FieldError, selectors, syntax};

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

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
            "" | "Equal" => {
                let found = syntax::label_value(value.text());
                if !found.is_empty() {
                    errors.invalid_value(&operator, value.text(), found.join(";"));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    let words = "value must be empty when `operator` is 'Exists'";
                    errors.invalid_value(&operator, value.text(), words);
                }
            }
            // Known, but only behind a feature gate that is off.
            "Lt" | "Gt" => {
                let words = &["Equal", "Exists", "Lt", "Gt"];
                errors.push(FieldError::not_supported(&operator.path, operator.text(), words));
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
        let key = item.get("key");
        errors.complaints_about(&key, key.text(), syntax::qualified_name(key.text()));
        errors.form(&item.get("value"), syntax::label_value);
        errors.need_supported(&item.get("effect"), EFFECTS);
        let pair = (item.get("key").text(), item.get("effect").text());
        if seen.contains(&pair) {
            // As Kubernetes prints its own form of a taint.
            let shown = format!(
                r#"{{"Key":{},"Value":{},"Effect":{},"TimeAdded":null}}"#,
                crate::status::quote(pair.0),
                crate::status::quote(item.get("value").text()),
                crate::status::quote(pair.1)
            );
            let error = FieldError::duplicate(&item.path, "");
            errors.push(FieldError {
                bad_value: Some(Shown::Text(shown)),
                detail: "taints must be unique by key and effect pair".into(),
                ..error
            });
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
        selectors::node_selector_term(&item.get("preference"), false, errors);
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
    }
}

/// `matchLabelKeys` and `mismatchLabelKeys`, which add to the label selector beside them.
fn label_keys(term: &At, errors: &mut Errors) {
    let selector = term.get("labelSelector");
    for name in ["matchLabelKeys", "mismatchLabelKeys"] {
        let keys = term.get(name);
        if !keys.is_empty() && !selector.is_set() {
            errors.forbidden(&keys, "must not be specified when labelSelector is not set");
            continue;
        }
        for key in keys.items() {
            errors.complaints(&key, syntax::qualified_name(key.text()));
        }
    }
    let wanted = term.get("matchLabelKeys").items();
    let labels = selector.get("matchLabels");
    let mut selected: Vec<&str> = labels.entries().iter().map(|(key, _)| *key).collect();
    for expression in selector.get("matchExpressions").items() {
        let key = expression.get("key").text();
        if let Some(index) = wanted.iter().rposition(|wanted| wanted.text() == key)
            && selected.contains(&key)
        {
            let at = term.at(format!("{}[{index}]", term.path));
            errors.invalid_value(&at, key, "exists in both matchLabelKeys and labelSelector");
        }
        selected.push(key);
    }
    let unwanted = term.get("mismatchLabelKeys").items();
    for key in wanted.iter().filter(|key| unwanted.iter().any(|other| other.text() == key.text())) {
        errors.invalid(key, "exists in both matchLabelKeys and mismatchLabelKeys");
    }
}

fn pod_term(term: &At, errors: &mut Errors) {
    selectors::label_selector(&term.get("labelSelector"), errors);
    selectors::label_selector(&term.get("namespaceSelector"), errors);
    for namespace in term.get("namespaces").items() {
        errors.complaints(&namespace.at(term.get("namespace").path), syntax::dns_label(namespace.text()));
    }
    label_keys(term, errors);
    topology_key(term, errors);
    let key = term.get("topologyKey");
    errors.complaints_about(&key, key.text(), syntax::qualified_name(key.text()));
}

pub(super) fn spread(list: &At, errors: &mut Errors) {
    let pair = |item: &At| {
        format!("{{{}, {}}}", item.get("topologyKey").text(), item.get("whenUnsatisfiable").text())
    };
    for (index, item) in list.items().iter().enumerate() {
        let (skew, unsatisfiable) = (item.get("maxSkew"), item.get("whenUnsatisfiable"));
        if skew.int().unwrap_or_default() <= 0 {
            errors.invalid_value(&skew, skew.int().unwrap_or_default(), "must be greater than zero");
        }
        topology_key(item, errors);
        errors.one_of(&unsatisfiable, &["DoNotSchedule", "ScheduleAnyway"]);
        if list.items()[index + 1..].iter().any(|later| pair(later) == pair(item)) {
            let at = format!("{}.{{topologyKey, whenUnsatisfiable}}", item.path);
            errors.push(FieldError::duplicate(&at, pair(item)));
        }
        let domains = item.get("minDomains");
        if domains.int().is_some_and(|n| n <= 0) {
            errors.invalid(&domains, "must be greater than zero");
        }
        if domains.is_set() && unsatisfiable.text() != "DoNotSchedule" {
            let other = unsatisfiable.text();
            let words = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {other}");
            errors.invalid(&domains, words);
        }
        errors.supported(&item.get("nodeAffinityPolicy"), &["Honor", "Ignore"]);
        errors.supported(&item.get("nodeTaintsPolicy"), &["Honor", "Ignore"]);
        label_keys(item, errors);
        selectors::label_selector(&item.get("labelSelector"), errors);
    }
}
