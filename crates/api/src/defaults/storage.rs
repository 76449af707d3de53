//! Storage classes, CSI drivers, priority classes, device claims.

use serde_json::json;

use super::fill::{
    Object, at, child, ensure, items, quantity, resource_list, set, set_number, set_text, text,
};

pub(super) fn apply(kind: &str, object: &mut Object) {
    match kind {
        "StorageClass" => {
            set(object, "reclaimPolicy", "Delete");
            set(object, "volumeBindingMode", "Immediate");
        }
        "CSIDriver" => {
            let Some(spec) = ensure(object, "spec") else { return };
            set(spec, "attachRequired", true);
            set(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
            for flag in ["podInfoOnMount", "requiresRepublish", "seLinuxMount", "storageCapacity"] {
                set(spec, flag, false);
            }
            set(spec, "volumeLifecycleModes", json!(["Persistent"]));
        }
        "CSIStorageCapacity" => {
            quantity(object, "capacity");
            quantity(object, "maximumVolumeSize");
        }
        "RuntimeClass" => {
            if let Some(overhead) = at(object, &["overhead"]) {
                resource_list(overhead, "podFixed");
            }
        }
        "PriorityClass" => set(object, "preemptionPolicy", "PreemptLowerPriority"),
        "ResourceClaim" => {
            if let Some(devices) = at(object, &["spec", "devices"]) {
                device_requests(devices);
            }
        }
        "ResourceClaimTemplate" => {
            if let Some(devices) = at(object, &["spec", "spec", "devices"]) {
                device_requests(devices);
            }
        }
        _ => {}
    }
}

fn device_requests(devices: &mut Object) {
    for request in items(devices, "requests") {
        if let Some(exactly) = child(request, "exactly") {
            device_request(exactly);
        }
        items(request, "firstAvailable").for_each(device_request);
    }
}

fn device_request(request: &mut Object) {
    set_text(request, "allocationMode", "ExactCount");
    if text(request, "allocationMode") == "ExactCount" {
        set_number(request, "count", 1);
    }
    for toleration in items(request, "tolerations") {
        set_text(toleration, "operator", "Equal");
    }
}
