//! A job's pod: its template with the labels, the finalizer and, for indexed jobs, the index.

use serde_json::{Value, json};

use super::{FINALIZER, INDEX, INDEX_FAILURES};
use crate::controllers::common;
use crate::model::{Job, Key};

/// The pod of an index that has failed so often before, or of none.
pub fn pod(job: &Job, key: &Key, index: Option<(i64, i64)>) -> Value {
    let reference = common::owner_reference(&job.metadata, "batch/v1", "Job");
    let mut template = (*job.spec.template).clone();
    for name in ["batch.kubernetes.io/job-name", "job-name"] {
        template["metadata"]["labels"][name] = json!(key.name);
    }
    for name in ["batch.kubernetes.io/controller-uid", "controller-uid"] {
        template["metadata"]["labels"][name] = json!(job.metadata.uid);
    }
    if let Some((index, failures)) = index {
        template["metadata"]["annotations"][INDEX] = json!(index.to_string());
        template["metadata"]["labels"][INDEX] = json!(index.to_string());
        if job.spec.backoff_limit_per_index.is_some() {
            template["metadata"]["annotations"][INDEX_FAILURES] = json!(failures.to_string());
        }
        number_containers(&mut template);
    }
    let mut pod = common::pod_from(&template, &key.namespace, &job.metadata, reference);
    match pod["metadata"]["finalizers"].as_array_mut() {
        Some(finalizers) => finalizers.push(json!(FINALIZER)),
        None => pod["metadata"]["finalizers"] = json!([FINALIZER]),
    }
    if let Some((index, _)) = index {
        let name: String = key.name.chars().take(50).collect();
        pod["metadata"]["generateName"] = json!(format!("{name}-{index}-"));
        pod["spec"]["hostname"] = json!(format!("{}-{index}", key.name));
    }
    pod
}

/// Every container that has no `JOB_COMPLETION_INDEX` of its own gets the pod's.
fn number_containers(template: &mut Value) {
    const NAME: &str = "JOB_COMPLETION_INDEX";
    let path = format!("metadata.labels['{INDEX}']");
    let variable = json!({"name": NAME, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}});
    for sort in ["containers", "initContainers"] {
        for container in template["spec"][sort].as_array_mut().into_iter().flatten() {
            match container["env"].as_array_mut() {
                Some(env) if env.iter().any(|one| one["name"] == NAME) => {}
                Some(env) => env.push(variable.clone()),
                None => container["env"] = json!([variable]),
            }
        }
    }
}
