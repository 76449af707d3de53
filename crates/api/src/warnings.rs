//! What authors are told about objects that are valid: that something is deprecated, or is probably not what was meant.

use serde_json::Value;

use crate::gvk::GroupVersionKind;

/// The warnings about a new or changed object, in Kubernetes' words.
pub fn of(gvk: &GroupVersionKind, object: &Value) -> Vec<String> {
    let spec = &object["spec"];
    let mut found = Vec::new();
    match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("", "Service") => {
            if spec["externalIPs"].as_array().is_some_and(|list| !list.is_empty()) {
                found.push(
                    "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
                        .to_owned(),
                );
            }
            if spec["trafficDistribution"] == "PreferClose" {
                found.push(
                    r#"spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone""#
                        .to_owned(),
                );
            }
        }
        ("storage.k8s.io", "CSIDriver") => {
            let tokens = spec["tokenRequests"].as_array().is_some_and(|list| !list.is_empty());
            if tokens && spec["serviceAccountTokenInSecrets"].is_null() {
                found.push("spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes".to_owned());
            }
        }
        _ => {}
    }
    found
}
