//! Kubernetes objects: bare Pods get a controller, controllers get the job's label and the pins, all others pass.
//!
//! What the fields mean and whether they are right is the server's to say, with its own paths.

use dunlin_api::names::label;
use serde_json::{Value, json};

use super::fields::Wrong;
use super::job::Pins;

/// Where the pod template of each controller is.
const TEMPLATES: &[(&str, &str, &[&str])] = &[
    ("apps", "Deployment", &["spec", "template"]),
    ("apps", "ReplicaSet", &["spec", "template"]),
    ("apps", "StatefulSet", &["spec", "template"]),
    ("apps", "DaemonSet", &["spec", "template"]),
    ("batch", "Job", &["spec", "template"]),
    ("batch", "CronJob", &["spec", "jobTemplate", "spec", "template"]),
];

pub(super) fn translate(object: &Value, at: &str, pins: &Pins) -> Result<Vec<Value>, Wrong> {
    let text = |name: &str| object[name].as_str().filter(|text| !text.is_empty());
    let need = |name: &str| text(name).ok_or_else(|| Wrong::new(format!("{at}: {name}"), "is missing"));
    let (api_version, kind) = (need("apiVersion")?, need("kind")?);
    let name = object["metadata"]["name"].as_str().filter(|name| !name.is_empty());
    let name = name
        .ok_or_else(|| Wrong::new(format!("{at}: metadata.name"), "is missing: every object has a name"))?;
    if (api_version, kind) == ("v1", "Pod") {
        return wrap(object, name, at, pins).map(|object| vec![object]);
    }
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let mut object = object.clone();
    if let Some((_, _, path)) = TEMPLATES.iter().find(|(g, k, _)| (*g, *k) == (group, kind)) {
        mark(&mut object, name, at, "")?;
        let (pointer, dotted) = (format!("/{}", path.join("/")), path.join("."));
        let template = object.pointer_mut(&pointer).filter(|template| template.is_object());
        let template = template
            .ok_or_else(|| Wrong::new(format!("{at}: {dotted}"), "is missing: it says what the pods are"))?;
        mark(template, name, at, &format!("{dotted}."))?;
        place(template, at, &dotted, pins)?;
    }
    Ok(vec![object])
}

/// Puts the job's label beside those that are there; a job that is named already keeps its name.
fn mark(object: &mut Value, name: &str, at: &str, prefix: &str) -> Result<(), Wrong> {
    for (value, path) in
        [(&object["metadata"], "metadata"), (&object["metadata"]["labels"], "metadata.labels")]
    {
        if !value.is_null() && !value.is_object() {
            return Err(Wrong::new(format!("{at}: {prefix}{path}"), "a mapping with fields is expected"));
        }
    }
    if object["metadata"]["labels"][label::JOB].is_null() {
        object["metadata"]["labels"][label::JOB] = json!(name);
    }
    Ok(())
}

fn place(template: &mut Value, at: &str, prefix: &str, pins: &Pins) -> Result<(), Wrong> {
    for path in ["/spec", "/spec/nodeSelector", "/metadata/annotations"] {
        let odd = template.pointer(path).is_some_and(|value| !value.is_null() && !value.is_object());
        if odd {
            let path = format!("{prefix}{}", path.replace('/', "."));
            return Err(Wrong::new(
                format!("{at}: {}", path.trim_start_matches('.')),
                "a mapping with fields is expected",
            ));
        }
    }
    pins.put(template);
    Ok(())
}

/// A Deployment of one around a pod that runs forever, a Job around one that ends.
fn wrap(pod: &Value, name: &str, at: &str, pins: &Pins) -> Result<Value, Wrong> {
    for field in ["ownerReferences", "finalizers", "generateName"] {
        if !pod["metadata"][field].is_null() {
            let problem = "has no meaning in the template that the pod becomes: leave it out";
            return Err(Wrong::new(format!("{at}: metadata.{field}"), problem));
        }
    }
    let mut template = json!({"metadata": {}, "spec": pod["spec"]});
    if !template["spec"].is_object() {
        return Err(Wrong::new(format!("{at}: spec"), "is missing: it says what the pod runs"));
    }
    for field in ["labels", "annotations"] {
        if !pod["metadata"][field].is_null() {
            template["metadata"][field] = pod["metadata"][field].clone();
        }
    }
    mark(&mut template, name, at, "")?;
    place(&mut template, at, "", pins)?;
    let job = template["metadata"]["labels"][label::JOB].clone();
    let mut metadata = json!({"name": name, "labels": {label::JOB: job}});
    if let Some(namespace) = pod["metadata"].get("namespace").filter(|n| !n.is_null()) {
        metadata["namespace"] = namespace.clone();
    }
    if matches!(template["spec"]["restartPolicy"].as_str(), Some("Never" | "OnFailure")) {
        return Ok(
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template}}),
        );
    }
    let selector = json!({"matchLabels": {label::JOB: job}});
    Ok(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
        "spec": {"replicas": 1, "selector": selector, "template": template},
    }))
}
