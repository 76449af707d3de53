//! The params of a binding: objects of the policy's `paramKind`, read when they are needed, so that a change of them counts
//! from the next request.

use std::sync::Arc;

use dunlin_api::gvk::GroupVersionKind;
use dunlin_api::selector::LabelSelector;
use serde_json::Value;

use crate::admission::attributes::Attributes;
use crate::object::{at, text};
use crate::resources::Resource;
use crate::server::Inner;

/// The `paramRef` of a binding.
#[derive(Debug)]
pub struct Reference {
    name: Box<str>,
    namespace: Box<str>,
    selector: Option<LabelSelector>,
    /// Whether there have to be some.
    needed: bool,
}

impl Reference {
    pub fn of(value: &Value) -> Self {
        Self {
            name: text(value, &["name"]).into(),
            namespace: text(value, &["namespace"]).into(),
            selector: at(value, &["selector"])
                .map(|s| LabelSelector::from_value(s).unwrap_or_else(|_| LabelSelector::nothing())),
            needed: text(value, &["parameterNotFoundAction"]) == "Deny",
        }
    }
}

/// The resource of a kind of params.
pub fn resource(server: &Inner, kind: &GroupVersionKind) -> Result<Arc<Resource>, String> {
    let all = server.custom.all();
    let found = all
        .into_iter()
        .find(|r| r.kind == kind.kind && r.group == kind.group && r.version == kind.version && r.is_stored());
    found.ok_or_else(|| {
        let (group, version, name) = (&kind.group, &kind.version, &kind.kind);
        format!("failed to find resource referenced by paramKind: '{group}/{version}, Kind={name}'")
    })
}

/// What a policy is to be evaluated with: once for each. A policy without params is evaluated with null.
pub async fn collect(
    server: &Inner,
    resource: Option<&Arc<Resource>>,
    reference: Option<&Reference>,
    asked: &Attributes<'_>,
) -> Result<Vec<Value>, String> {
    let (Some(resource), Some(reference)) = (resource, reference) else { return Ok(vec![Value::Null]) };
    let namespace = match (resource.namespaced, &*reference.namespace) {
        (true, "") if asked.namespace.is_empty() => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .into(),
            );
        }
        (true, "") => &*asked.namespace,
        (true, own) => own,
        (false, "") => "",
        (false, _) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
        }
    };
    let found = match &reference.selector {
        None => {
            let found = server.find(resource, namespace, &reference.name).await.map_err(|f| f.message)?;
            found.map(|stored| stored.value).into_iter().collect()
        }
        Some(selector) => {
            let scope = resource.namespaced.then_some(namespace);
            let mut all = server.all(resource, scope).await.map_err(|f| f.message)?;
            all.retain(|value| selector.matches(at(value, &["metadata", "labels"]).unwrap_or(&Value::Null)));
            all
        }
    };
    if found.is_empty() && reference.needed {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    Ok(found)
}
