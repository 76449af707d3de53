//! Matching of label selectors against the labels of projections.

use serde_json::Value;

use crate::model::Labels;

/// Whether a `metav1.LabelSelector` matches; an empty one matches all, null matches nothing, and so does one that
/// cannot be read.
pub fn matches(selector: &Value, labels: &Labels) -> bool {
    let Some(selector) = selector.as_object() else { return false };
    let equal = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let expressions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
    equal
        .into_iter()
        .all(|(key, value)| labels.get(key.as_str()).is_some_and(|have| Some(&**have) == value.as_str()))
        && expressions.into_iter().all(|expression| requirement(expression, labels))
}

/// Whether labels contain every one of `wanted`.
pub fn contains(labels: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// One `{key, operator, values}` of label selectors and of node selectors, whose `Gt` and `Lt` compare integers.
pub fn requirement(expression: &Value, labels: &Labels) -> bool {
    let Some(key) = expression["key"].as_str() else { return false };
    let have = labels.get(key).map(|have| &**have);
    let values = || expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let number = |text: &str| text.parse::<i64>().ok();
    let compare = |holds: fn(i64, i64) -> bool| {
        let (have, limit) = (have.and_then(number), values().next().and_then(number));
        have.zip(limit).is_some_and(|(have, limit)| holds(have, limit))
    };
    match expression["operator"].as_str() {
        Some("In") => have.is_some_and(|have| values().any(|value| value == have)),
        Some("NotIn") => have.is_none_or(|have| values().all(|value| value != have)),
        Some("Exists") => have.is_some(),
        Some("DoesNotExist") => have.is_none(),
        Some("Gt") => compare(|have, limit| have > limit),
        Some("Lt") => compare(|have, limit| have < limit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_match_as_documented() {
        let labels: Labels = [("app".into(), "web".into()), ("n".into(), "5".into())].into();
        let check = |selector: Value, want: bool| assert_eq!(matches(&selector, &labels), want, "{selector}");
        check(json!({}), true);
        check(json!(null), false);
        check(json!({"matchLabels": {"app": "web"}}), true);
        check(json!({"matchLabels": {"app": "db"}}), false);
        for (operator, key, values, want) in [
            ("In", "app", json!(["db", "web"]), true),
            ("In", "none", json!(["web"]), false),
            ("NotIn", "app", json!(["web"]), false),
            ("NotIn", "none", json!(["web"]), true),
            ("Exists", "app", json!(null), true),
            ("DoesNotExist", "app", json!(null), false),
            ("Gt", "n", json!(["4"]), true),
            ("Lt", "n", json!(["4"]), false),
            ("Gt", "app", json!(["4"]), false),
        ] {
            check(json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}), want);
        }
    }
}
