//! A taint of a device says since when it is there.

use serde_json::{Value, json};

use crate::object::{at, map};
use crate::time;

pub fn taints(slice: &mut Value) {
    let devices = map(slice, "spec").get_mut("devices").and_then(Value::as_array_mut);
    for device in devices.into_iter().flatten() {
        for taint in device.get_mut("taints").and_then(Value::as_array_mut).into_iter().flatten() {
            if at(taint, &["timeAdded"]).is_none_or(Value::is_null) {
                taint["timeAdded"] = json!(time::now());
            }
        }
    }
}
