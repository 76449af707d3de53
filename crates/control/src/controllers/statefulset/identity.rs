//! What makes a pod that one and no other: its name, host name, labels and claims.

use serde_json::{Map, Value, json};

use super::claims;
use crate::controllers::common;
use crate::controllers::revisions::POD_LABEL;
use crate::model::{Held, Key, Pod, StatefulSet};
use crate::plan::{Action, Plan, Precondition};

const NAME: &str = "statefulset.kubernetes.io/pod-name";
const INDEX: &str = "apps.kubernetes.io/pod-index";

/// `2` of `web-2` in the set `web`; `None` for names that the set would not give.
pub fn ordinal(set: &str, pod: &str) -> Option<i64> {
    let digits = pod.strip_prefix(set)?.strip_prefix('-')?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| plain)
}

/// The pod of ordinal `n` from a revision's template.
pub fn pod(set: &StatefulSet, key: &Key, template: &Value, revision: &str, n: i64) -> Value {
    let reference = common::owner_reference(&set.metadata, "apps/v1", "StatefulSet");
    let mut pod = common::pod_from(template, &key.namespace, &set.metadata, reference);
    let name = format!("{}-{n}", key.name);
    let metadata = &mut pod["metadata"];
    metadata.as_object_mut().map(|fields| fields.remove("generateName"));
    metadata["name"] = json!(name);
    for (label, value) in [(NAME, &*name), (INDEX, &*n.to_string()), (POD_LABEL, revision)] {
        metadata["labels"][label] = json!(value);
    }
    pod["spec"]["hostname"] = json!(name);
    if !set.spec.service_name.is_empty() {
        pod["spec"]["subdomain"] = json!(set.spec.service_name);
    }
    // A claim takes the place of a volume of the same name.
    let mut volumes: Vec<Value> = claims::names(set, &key.name, n)
        .map(|(volume, claim)| json!({"name": volume, "persistentVolumeClaim": {"claimName": claim}}))
        .collect();
    let mine = volumes.len();
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        if volumes[..mine].iter().all(|claim| claim["name"] != volume["name"]) {
            volumes.push(volume.clone());
        }
    }
    if !volumes.is_empty() {
        pod["spec"]["volumes"] = Value::Array(volumes);
    }
    pod
}

/// Gives an adopted pod the labels of its identity.
pub fn mend(plan: &mut Plan, pod: &Pod, n: i64) {
    let wanted = [(NAME, pod.metadata.name.to_string()), (INDEX, n.to_string())];
    let missing: Map<String, Value> = wanted
        .into_iter()
        .filter(|(label, value)| pod.metadata.labels.get(*label).is_none_or(|have| **have != **value))
        .map(|(label, value)| (label.to_owned(), json!(value)))
        .collect();
    if !missing.is_empty() && !pod.metadata.is_deleting() {
        plan.push(Action::Patch {
            target: pod.key(),
            subresource: None,
            patch: json!({"metadata": {"labels": missing}}),
            only_if: Precondition::uid(&pod.metadata.uid),
        });
    }
}
