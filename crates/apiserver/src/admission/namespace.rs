//! Namespaces must be there and must not be going; the ones that the system lives in stay.

use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::handlers::prepare;
use crate::object::{self, map, meta, text};
use crate::resources::known;
use crate::server::{Call, Inner};

const KEPT: [&str; 3] = ["default", "kube-system", "kube-public"];

pub async fn admit(call: &Call, value: &Value) -> Result<()> {
    let Some(namespace) = call.namespace.as_deref() else { return Ok(()) };
    let found = call.server.find(known("", "namespaces"), "", namespace).await?;
    let found = found.ok_or_else(|| Failure::not_found(known("", "namespaces"), namespace))?;
    if text(&found.value, &["metadata", "deletionTimestamp"]).is_empty() {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut failure = Failure::forbidden(&call.resource, object::name(value), &why);
    if let Some(details) = &mut failure.details {
        details["causes"] = json!([{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        }]);
    }
    Err(failure)
}

/// What every new namespace has.
pub fn dress(value: &mut Value) {
    let name = object::name(value).to_owned();
    let labels = meta(value).entry("labels").or_insert_with(|| json!({}));
    if !labels.is_object() {
        *labels = json!({});
    }
    labels["kubernetes.io/metadata.name"] = json!(name);
    let finalizers = map(value, "spec").entry("finalizers").or_insert_with(|| json!([]));
    match finalizers.as_array_mut() {
        Some(list) if list.iter().any(|finalizer| finalizer == "kubernetes") => {}
        Some(list) => list.push(json!("kubernetes")),
        None => *finalizers = json!(["kubernetes"]),
    }
    map(value, "status").insert("phase".into(), json!("Active"));
}

pub fn delete(call: &Call) -> Result<()> {
    if call.resource.is("", "namespaces") && KEPT.contains(&call.name()) {
        return Err(Failure::forbidden(&call.resource, call.name(), "this namespace may not be deleted"));
    }
    Ok(())
}

/// Puts into a namespace what its pods rely on: the default account and the CA's certificate.
pub async fn furnish(server: &Inner, namespace: &str) -> Result<()> {
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace},
    });
    let ca = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": "kube-root-ca.crt", "namespace": namespace,
            "annotations": {"kubernetes.io/description":
                "Contains a CA bundle that can be used to verify the API server of this cluster."},
        },
        "data": {"ca.crt": server.config.ca_pem},
    });
    for (plural, mut value) in [("serviceaccounts", account), ("configmaps", ca)] {
        let resource = known("", plural);
        prepare::new_object(resource, &mut value);
        server.ensure(resource, value).await?;
    }
    Ok(())
}
