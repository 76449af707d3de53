//! Pods bear a node that is out of reach for a while, unless they say otherwise. Pure.

use serde_json::{Value, json};

use crate::object::{list, map, text};

pub fn create(pod: &mut Value, seconds: u64) {
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = list(pod, &["spec", "tolerations"]).iter().any(|t| {
            (text(t, &["key"]) == key || text(t, &["key"]).is_empty())
                && matches!(text(t, &["effect"]), "NoExecute" | "")
        });
        if tolerated {
            continue;
        }
        let all = map(pod, "spec").entry("tolerations").or_insert_with(|| json!([]));
        if let Some(all) = all.as_array_mut() {
            all.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}));
        }
    }
}
