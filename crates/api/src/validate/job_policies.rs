//! When a job has failed, and when it has succeeded: its `podFailurePolicy` and its `successPolicy`.

use super::FieldError;
use super::error::Shown;
use super::field::{At, Errors};
use super::syntax;

/// The most rules, exit codes of a rule, and conditions of a rule.
const MAX_RULES: usize = 20;
const MAX_CODES: usize = 255;
const MAX_CONDITIONS: usize = 20;
/// The most bytes of `succeededIndexes`.
const MAX_INDEXES: usize = 64 * 1024;

fn at_most(at: &At, limit: usize, errors: &mut Errors) {
    let count = at.items().len();
    if count > limit {
        errors.push(FieldError::too_many(&at.path, count, limit));
    }
}

/// A text that must be there, said with what it can be.
fn one_of(at: &At, known: &[&str], errors: &mut Errors) {
    if at.is_empty() {
        let quoted: Vec<String> = known.iter().map(|value| crate::status::quote(value)).collect();
        errors.required(at, &format!("valid values: [{}]", quoted.join(" ")));
    } else {
        errors.supported(at, known);
    }
}

/// `podFailurePolicy`, if there is one.
pub(super) fn failure(spec: &At, errors: &mut Errors) {
    let rules = spec.path(&["podFailurePolicy", "rules"]);
    at_most(&rules, MAX_RULES, errors);
    let pod = spec.path(&["template", "spec"]);
    let names: Vec<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| pod.get(list).items())
        .map(|container| container.get("name").text())
        .collect();
    for rule in rules.items() {
        let (action, codes, conditions) =
            (rule.get("action"), rule.get("onExitCodes"), rule.get("onPodConditions"));
        if action.text() == "FailIndex" {
            if !spec.get("backoffLimitPerIndex").is_set() {
                errors.invalid(&action, "requires the backoffLimitPerIndex to be set");
            }
        } else {
            one_of(&action, &["Count", "FailIndex", "FailJob", "Ignore"], errors);
        }
        if codes.is_set() {
            exit_codes(&codes, &names, errors);
        }
        at_most(&conditions, MAX_CONDITIONS, errors);
        for condition in conditions.items() {
            let kind = condition.get("type");
            errors.complaints_about(&kind, kind.text(), syntax::qualified_name(kind.text()));
            one_of(&condition.get("status"), &["False", "True", "Unknown"], errors);
        }
        let how_many = match (codes.is_set(), !conditions.is_empty()) {
            (true, true) => "both OnExitCodes and OnPodConditions is not supported",
            (false, false) => "one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        let error = FieldError::invalid(&rule.path, "", format!("specifying {how_many}"));
        errors.push(FieldError { bad_value: Some(Shown::Omitted), ..error });
    }
}

fn exit_codes(codes: &At, names: &[&str], errors: &mut Errors) {
    let operator = codes.get("operator");
    one_of(&operator, &["In", "NotIn"], errors);
    let name = codes.get("containerName");
    if name.is_set() && !names.contains(&name.text()) {
        let words = "must be one of the container or initContainer names in the pod template";
        errors.invalid(&name, words);
    }
    let values = codes.get("values");
    if values.is_empty() {
        errors.invalid_value(&values, Vec::<i64>::new(), "at least one value is required");
    }
    at_most(&values, MAX_CODES, errors);
    let mut seen = Vec::new();
    for value in values.items() {
        if operator.text() == "In" && value.int() == Some(0) {
            errors.invalid(&value, "must not be 0 for the In operator");
        }
        if seen.contains(&value.int()) {
            errors.duplicate(&value);
        }
        seen.push(value.int());
    }
    if !seen.is_sorted() {
        errors.invalid(&values, "must be ordered");
    }
}

/// `successPolicy`, if there is one.
pub(super) fn success(spec: &At, errors: &mut Errors) {
    let policy = spec.get("successPolicy");
    if !policy.is_set() {
        return;
    }
    if spec.get("completionMode").text() != "Indexed" {
        return errors.invalid(&policy, "requires indexed completion mode");
    }
    let rules = policy.get("rules");
    if rules.is_empty() {
        let words = "at least one rules must be specified when the successPolicy is specified";
        errors.required(&rules, words);
    }
    at_most(&rules, MAX_RULES, errors);
    let completions = spec.get("completions").int().unwrap_or_default();
    for rule in rules.items() {
        success_rule(&rule, completions, errors);
    }
}

fn success_rule(rule: &At, completions: i64, errors: &mut Errors) {
    let (count, indexes) = (rule.get("succeededCount"), rule.get("succeededIndexes"));
    if !count.is_set() && !indexes.is_set() {
        errors.required(rule, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut total = 0;
    if indexes.is_set() {
        if indexes.text().len() > MAX_INDEXES {
            errors.push(FieldError::too_long(&indexes.path, MAX_INDEXES));
        }
        match count_indexes(indexes.text(), completions) {
            Ok(found) => total = found,
            Err(words) => errors.invalid(&indexes, format!("error parsing succeededIndexes: {words}")),
        }
    }
    let Some(wanted) = count.int() else { return };
    errors.non_negative(&count);
    if wanted > completions {
        let words =
            format!("must be less than or equal to {completions} (the number of specified completions)");
        errors.invalid(&count, words);
    }
    if indexes.is_set() && wanted > total {
        let words = format!(
            "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        );
        errors.invalid(&count, words);
    }
}

/// How many indexes `1,3-5` names.
fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut last) = (0, None);
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let number = |text: &str| {
            let index: i64 = text.parse().map_err(|_| {
                format!("cannot convert string to integer for index: {}", crate::status::quote(text))
            })?;
            if index >= completions {
                return Err(format!("too large index: {}", crate::status::quote(text)));
            }
            Ok(index)
        };
        let (low, high) = match part.split('-').collect::<Vec<_>>().as_slice() {
            [one] => (number(one)?, number(one)?),
            [low, high] => {
                let (low, high) = (number(low)?, number(high)?);
                if low >= high {
                    return Err(format!("non-increasing order, previous: {low}, current: {high}"));
                }
                (low, high)
            }
            _ => {
                let shown = crate::status::quote(part);
                return Err(format!(
                    "the fragment {shown} violates the requirement that an index interval can have at most two parts separated by '-'"
                ));
            }
        };
        if let Some(last) = last
            && last >= low
        {
            return Err(format!("non-increasing order, previous: {last}, current: {low}"));
        }
        total += high - low + 1;
        last = Some(high);
    }
    Ok(total)
}
