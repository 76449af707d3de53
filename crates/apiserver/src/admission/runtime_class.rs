//! A pod's runtime class: it must exist, and brings its overhead, node selector and tolerations.

use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::object::{self, at, list, map, text};
use crate::resources::known;
use crate::server::Call;

pub async fn create(call: &Call, pod: &mut Value) -> Result<()> {
    let name = text(pod, &["spec", "runtimeClassName"]).to_owned();
    if name.is_empty() {
        let overhead = at(pod, &["spec", "overhead"]).and_then(Value::as_object);
        if overhead.is_some_and(|overhead| !overhead.is_empty()) {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            return Err(Failure::forbidden(&call.resource, object::name(pod), why));
        }
        return Ok(());
    }
    let found = call.server.find(known("node.k8s.io", "runtimeclasses"), "", &name).await?;
    let class = found.map(|s| s.value).ok_or_else(|| {
        let why = format!("pod rejected: RuntimeClass {name:?} not found");
        Failure::forbidden(&call.resource, object::name(pod), &why)
    })?;
    let refuse =
        |why: &str| Failure::forbidden(&call.resource, object::name(pod), &format!("pod rejected: {why}"));
    if let Some(overhead) = at(&class, &["overhead", "podFixed"]) {
        match at(pod, &["spec", "overhead"]) {
            Some(own) if own != overhead => {
                return Err(refuse("Pod's Overhead doesn't match RuntimeClass's defined Overhead"));
            }
            _ => {}
        }
    }
    let selector =
        at(&class, &["scheduling", "nodeSelector"]).and_then(Value::as_object).cloned().unwrap_or_default();
    for (key, value) in &selector {
        if at(pod, &["spec", "nodeSelector", key]).is_some_and(|own| own != value) {
            let own = text(pod, &["spec", "nodeSelector", key]);
            let wanted = value.as_str().unwrap_or_default();
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; pod.spec.nodeSelector[{key}] = {own}"
            );
            return Err(Failure::forbidden(&call.resource, object::name(pod), &why));
        }
    }
    let spec = map(pod, "spec");
    if let Some(overhead) = at(&class, &["overhead", "podFixed"]) {
        spec.insert("overhead".into(), overhead.clone());
    }
    if !selector.is_empty()
        && let Some(own) = spec.entry("nodeSelector").or_insert_with(|| json!({})).as_object_mut()
    {
        own.extend(selector);
    }
    let more = list(&class, &["scheduling", "tolerations"]);
    if !more.is_empty()
        && let Some(own) = spec.entry("tolerations").or_insert_with(|| json!([])).as_array_mut()
    {
        for toleration in more {
            if !own.contains(toleration) {
                own.push(toleration.clone());
            }
        }
    }
    Ok(())
}
