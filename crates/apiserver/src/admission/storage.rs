//! Volumes and claims start unbound; a claim that names no class gets the default one.

use serde_json::{Value, json};

use crate::failure::Result;
use crate::object::{self, at, map, text};
use crate::resources::known;
use crate::server::Call;
use crate::time;

const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

/// A volume whose phase changes says when.
pub fn update(old: &Value, new: &mut Value) {
    if text(old, &["status", "phase"]) != text(new, &["status", "phase"])
        && at(old, &["status", "lastPhaseTransitionTime"]) == at(new, &["status", "lastPhaseTransitionTime"])
    {
        map(new, "status").insert("lastPhaseTransitionTime".into(), json!(time::now()));
    }
}

pub async fn create(call: &Call, value: &mut Value) -> Result<()> {
    let status = map(value, "status");
    status.insert("phase".into(), json!("Pending"));
    if call.resource.plural == "persistentvolumes" {
        status.insert("lastPhaseTransitionTime".into(), json!(time::now()));
    }
    if call.resource.plural != "persistentvolumeclaims" || at(value, &["spec", "storageClassName"]).is_some()
    {
        return Ok(());
    }
    let classes = call.server.all(known("storage.k8s.io", "storageclasses"), None).await?;
    let newest = classes
        .iter()
        .filter(|c| text(c, &["metadata", "annotations", DEFAULT]) == "true")
        .max_by_key(|c| text(c, &["metadata", "creationTimestamp"]).to_owned());
    if let Some(class) = newest {
        map(value, "spec").insert("storageClassName".into(), json!(object::name(class)));
    }
    Ok(())
}
