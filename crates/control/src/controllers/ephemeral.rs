//! Makes the claims of ephemeral volumes (KEP-1698): the pod owns them, so that they go with it.

use serde_json::{Map, json};

use super::common;
use crate::model::{Key, Pod};
use crate::plan::{Action, Plan, Report};
use crate::view::View;

/// Plans the pod `key`.
pub fn plan(view: &View, key: &Key, _now: i64, _seed: u64) -> (Plan, Report) {
    let (mut plan, mut report) = (Plan::default(), Report::default());
    let Some(pod) = view.pods.by_key(key).filter(|pod| pod.is_active()).cloned() else {
        return (plan, report);
    };
    for volume in &pod.spec.claims {
        let Some(template) = &volume.template else { continue };
        let name = volume.claim(&pod);
        if let Some(claim) = view.claims.get(&key.namespace, &name) {
            if !is_of(&pod, &claim.metadata) {
                report.waits(format!("claim {name}, which is not the pod's, to go"));
            }
            continue;
        }
        let mut metadata = Map::new();
        for field in ["labels", "annotations"] {
            if let Some(value) = template["metadata"].get(field).filter(|value| !value.is_null()) {
                metadata.insert(field.to_owned(), value.clone());
            }
        }
        metadata.insert("name".to_owned(), json!(name));
        metadata.insert("namespace".to_owned(), json!(key.namespace));
        let owner = common::owner_reference(&pod.metadata, "v1", "Pod");
        metadata.insert("ownerReferences".to_owned(), json!([owner]));
        plan.push(Action::Create {
            resource: "persistentvolumeclaims".into(),
            namespace: key.namespace.clone(),
            object: json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"]}),
        });
    }
    (plan, report)
}

/// Whether a claim was made for the pod.
pub fn is_of(pod: &Pod, claim: &crate::model::Meta) -> bool {
    claim.controller().is_some_and(|owner| owner.uid == pod.metadata.uid)
}
