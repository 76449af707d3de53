//! The claims of each pod: made before it, kept after it, and owned as the retention policy says.
//!
//! A claim that shall go with its set is owned by the set; one that shall go when its pod is scaled away is owned by that
//! pod from the moment it is condemned. Garbage collection does the rest. Source: KEP-1847.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Set;
use crate::controllers::common::{self, reference_json};
use crate::model::{Key, Object, OwnerReference, Pod, StatefulSet};
use crate::plan::{Action, Plan};

const CLAIMS: &str = "persistentvolumeclaims";

/// Volume and claim names of the pod `n`.
pub fn names(set: &StatefulSet, name: &str, n: i64) -> impl Iterator<Item = (String, String)> {
    set.spec.volume_claim_templates.iter().map(move |template| {
        let volume = template["metadata"]["name"].as_str().unwrap_or_default();
        (volume.to_owned(), format!("{volume}-{name}-{n}"))
    })
}

fn there(this: &Set, n: i64) -> Vec<Arc<Object>> {
    let keys = names(this.set, &this.key.name, n)
        .map(|(_, claim)| Key::new(CLAIMS, this.key.namespace.clone(), claim));
    keys.filter_map(|key| this.view.objects.get(&key).cloned()).collect()
}

/// Asks for the claims that are not there; whether there were any.
pub fn make_missing(this: &Set, plan: &mut Plan, n: i64, pod: &str) -> bool {
    let mut missing = false;
    for (template, (_, name)) in
        this.set.spec.volume_claim_templates.iter().zip(names(this.set, &this.key.name, n))
    {
        if this.view.objects.get(&Key::new(CLAIMS, this.key.namespace.clone(), name.clone())).is_some() {
            continue;
        }
        missing = true;
        let mut metadata = json!({"name": name, "namespace": this.key.namespace});
        metadata["annotations"] = template["metadata"]["annotations"].clone();
        metadata["labels"] = template["metadata"]["labels"].clone();
        for (label, value) in this.set.spec.selector["matchLabels"].as_object().into_iter().flatten() {
            metadata["labels"][label] = value.clone();
        }
        if deleted(this.set) {
            let reference = common::owner_reference(&this.set.metadata, "apps/v1", "StatefulSet");
            metadata["ownerReferences"] = json!([reference]);
        }
        plan.push(Action::Create {
            resource: CLAIMS.into(),
            namespace: this.key.namespace.clone(),
            object: json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata,
                "spec": template["spec"],
            }),
        });
        let set = &this.key.name;
        let text = format!("create Claim {name} Pod {pod} in StatefulSet {set} success");
        this.tell(plan, "SuccessfulCreate", text);
    }
    missing
}

/// Whether a claim is on its way out with the pod that had this name before: a new pod must not use it.
pub fn are_stale(this: &Set, n: i64) -> bool {
    let of_pod = |owner: &OwnerReference| &*owner.kind == "Pod" && &*owner.api_version == "v1";
    there(this, n)
        .iter()
        .any(|claim| claim.metadata.is_deleting() || claim.metadata.owner_references.iter().any(of_pod))
}

/// Gives the claims of a pod the owners that the policy asks for; others' owner references stay.
pub fn keep_owners(this: &Set, plan: &mut Plan, n: i64, pod: Option<&Pod>, condemned: bool) {
    for claim in there(this, n).into_iter().filter(|claim| !claim.metadata.is_deleting()) {
        let set = &this.set.metadata;
        let mine = |owner: &OwnerReference| {
            owner.uid == set.uid
                || (&*owner.kind == "Pod" && pod.is_some_and(|pod| owner.name == pod.metadata.name))
        };
        let (old, others): (Vec<_>, Vec<_>) = claim.metadata.owner_references.iter().partition(|o| mine(o));
        // Somebody else decides about a claim that it controls.
        if others.iter().any(|owner| owner.controller) {
            continue;
        }
        let wanted = match pod {
            Some(pod) if condemned && scaled(this.set) => {
                Some(common::owner_reference(&pod.metadata, "v1", "Pod"))
            }
            _ if deleted(this.set) && !(condemned && scaled(this.set)) => {
                Some(common::owner_reference(set, "apps/v1", "StatefulSet"))
            }
            _ => None,
        };
        let same = match (&wanted, old.as_slice()) {
            (None, []) => true,
            (Some(wanted), [one]) => wanted["uid"] == json!(one.uid),
            _ => false,
        };
        if !same {
            let mut owners: Vec<Value> = others.into_iter().map(reference_json).collect();
            owners.extend(wanted);
            plan.push(common::set_owners(claim.key(), &claim.metadata, owners));
        }
    }
}

fn deleted(set: &StatefulSet) -> bool {
    &*set.spec.persistent_volume_claim_retention_policy.when_deleted == "Delete"
}

fn scaled(set: &StatefulSet) -> bool {
    &*set.spec.persistent_volume_claim_retention_policy.when_scaled == "Delete"
}
