//! The quality-of-service class of a pod: what is reserved for it decides who suffers first under pressure. Pure.

use dunlin_api::quantity::Quantity;
use serde_json::Value;

use crate::object::{at, list};

pub fn class(pod: &Value) -> &'static str {
    let (mut any, mut guaranteed) = (false, true);
    let all = ["containers", "initContainers"].iter().flat_map(|f| list(pod, &["spec", f]));
    for container in all {
        for resource in ["cpu", "memory"] {
            let request = amount(container, "requests", resource);
            let limit = amount(container, "limits", resource);
            any |= request > 0 || limit > 0;
            guaranteed &= limit > 0 && (request == limit || request == 0);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn amount(container: &Value, kind: &str, resource: &str) -> i128 {
    let text = match at(container, &["resources", kind, resource]) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => return 0,
    };
    text.parse::<Quantity>().map_or(0, |q| q.milli())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(resources: Value, class_: &str) {
        assert_eq!(class(&json!({"spec": {"containers": [{"resources": resources}]}})), class_);
    }

    #[test]
    fn classes_follow_requests_and_limits() {
        check(json!({}), "BestEffort");
        check(json!({"requests": {"cpu": "1"}}), "Burstable");
        check(json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed");
        check(
            json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}),
            "Guaranteed",
        );
        check(json!({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}}), "Burstable");
    }
}
