//! A new pod has no history: it is pending, whatever its creator wrote.

use dunlin_api::defaults::qos_class;
use serde_json::{Value, json};

use crate::object::list;
use crate::time;

pub fn create(pod: &mut Value) {
    let mut status = json!({"phase": "Pending", "qosClass": qos_class(&pod["spec"])});
    if !list(pod, &["spec", "schedulingGates"]).is_empty() {
        status["conditions"] = json!([{
            "type": "PodScheduled",
            "status": "False",
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastTransitionTime": time::now(),
            "lastProbeTime": null,
        }]);
    }
    pod["status"] = status;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(resources: Value, class_: &str) {
        assert_eq!(qos_class(&json!({"containers": [{"resources": resources}]})), class_);
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
