//! Volumes and claims start unbound and protected while they are in use; a claim that names no class gets the default
//! one.

use dunlin_api::names::{annotation::DEFAULT_STORAGE_CLASS, finalizer, storage};
use dunlin_api::quantity::Quantity;
use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::object::{self, at, map, text};
use crate::resources::known;
use crate::server::Call;
use crate::time;

/// A volume whose phase changes says when.
pub fn phase(old: &Value, new: &mut Value) {
    if text(old, &["status", "phase"]) != text(new, &["status", "phase"])
        && at(old, &["status", "lastPhaseTransitionTime"]) == at(new, &["status", "lastPhaseTransitionTime"])
    {
        map(new, "status").insert("lastPhaseTransitionTime".into(), json!(time::now()));
    }
}

pub fn create(call: &Call, value: &mut Value) {
    let status = map(value, "status");
    status.insert("phase".into(), json!("Pending"));
    if call.resource.plural != "persistentvolumeclaims" {
        status.insert("lastPhaseTransitionTime".into(), json!(time::now()));
    }
}

pub async fn admit(call: &Call, value: &mut Value) -> Result<()> {
    let is_claim = call.resource.plural == "persistentvolumeclaims";
    protect(value, if is_claim { finalizer::PVC_PROTECTION } else { finalizer::PV_PROTECTION });
    if !is_claim || at(value, &["spec", "storageClassName"]).is_some() {
        return Ok(());
    }
    let classes = call.server.all(known("storage.k8s.io", "storageclasses"), None).await?;
    let newest = classes
        .iter()
        .filter(|c| text(c, &["metadata", "annotations", DEFAULT_STORAGE_CLASS]) == "true")
        .max_by_key(|c| text(c, &["metadata", "creationTimestamp"]).to_owned());
    if let Some(class) = newest {
        map(value, "spec").insert("storageClassName".into(), json!(object::name(class)));
    }
    Ok(())
}

/// A claim grows only if its class says that its volumes can; a directory has no size that could. As Kubernetes'
/// PersistentVolumeClaimResize.
pub async fn update(call: &Call, old: &Value, new: &Value) -> Result<()> {
    let size = |claim: &Value| Quantity::from_value(&claim["spec"]["resources"]["requests"]["storage"]).ok();
    if size(new) <= size(old) {
        return Ok(());
    }
    let class = text(old, &["spec", "storageClassName"]);
    let classes = call.server.all(known("storage.k8s.io", "storageclasses"), None).await?;
    let grows = classes.iter().any(|of| {
        object::name(of) == class
            && of["allowVolumeExpansion"] == true
            && text(of, &["provisioner"]) != storage::LOCAL_PATH
    });
    if grows {
        return Ok(());
    }
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
    Err(Failure::forbidden(&call.resource, object::name(old), why))
}

/// As Kubernetes' StorageObjectInUseProtection.
fn protect(value: &mut Value, finalizer: &str) {
    let mut finalizers = object::finalizers(value);
    if !finalizers.iter().any(|f| f == finalizer) {
        finalizers.push(finalizer.to_owned());
        object::meta(value).insert("finalizers".into(), json!(finalizers));
    }
}
