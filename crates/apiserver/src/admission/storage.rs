//! Volumes and claims start unbound and protected while they are in use; a claim that names no class gets the default
//! one.

use dunlin_api::names::{annotation::DEFAULT_STORAGE_CLASS, finalizer};
use serde_json::{Value, json};

use crate::failure::Result;
use crate::object::{self, at, map, text};
use crate::resources::known;
use crate::server::Call;

pub async fn create(call: &Call, value: &mut Value) -> Result<()> {
    map(value, "status").insert("phase".into(), json!("Pending"));
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

/// As Kubernetes' StorageObjectInUseProtection.
fn protect(value: &mut Value, finalizer: &str) {
    let mut finalizers = object::finalizers(value);
    if !finalizers.iter().any(|f| f == finalizer) {
        finalizers.push(finalizer.to_owned());
        object::meta(value).insert("finalizers".into(), json!(finalizers));
    }
}
