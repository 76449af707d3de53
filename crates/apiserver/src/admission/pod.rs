//! A new pod has no history: it is pending, whatever its creator wrote.

use serde_json::{Value, json};

use crate::admission::qos;
use crate::object::list;
use crate::time;

pub fn create(pod: &mut Value) {
    let mut status = json!({"phase": "Pending", "qosClass": qos::class(pod)});
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
