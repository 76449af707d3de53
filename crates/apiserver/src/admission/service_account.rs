//! Every pod runs as somebody, and finds that somebody's token in a well-known place.

use serde_json::{Value, json};

use crate::admission::namespace;
use crate::failure::{Failure, Result};
use crate::object::{self, at, list, map, text};
use crate::resources::known;
use crate::server::Call;

/// Where programs look for their token.
const PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Kubernetes' own odd number, by which it tells these tokens from others.
const SECONDS: i64 = 3607;

pub async fn create(call: &Call, pod: &mut Value) -> Result<()> {
    if at(pod, &["metadata", "annotations", "kubernetes.io/config.mirror"]).is_some() {
        return Ok(());
    }
    let name = match (text(pod, &["spec", "serviceAccountName"]), text(pod, &["spec", "serviceAccount"])) {
        ("", "") => "default".to_owned(),
        ("", old) => old.to_owned(),
        (name, _) => name.to_owned(),
    };
    let spec = map(pod, "spec");
    spec.insert("serviceAccountName".into(), json!(name));
    spec.insert("serviceAccount".into(), json!(name));
    let accounts = known("", "serviceaccounts");
    let mut found = call.server.find(accounts, call.ns(), &name).await?;
    if found.is_none() && name == "default" {
        // Made with the namespace; somebody deleted it. No pod should have to wait for a controller to notice.
        namespace::furnish(&call.server, call.ns()).await?;
        found = call.server.find(accounts, call.ns(), &name).await?;
    }
    let account = found.map(|s| s.value).ok_or_else(|| {
        let why = format!(
            "error looking up service account {}/{name}: serviceaccount {name:?} not found",
            call.ns()
        );
        Failure::forbidden(&call.resource, object::name(pod), &why)
    })?;
    if list(pod, &["spec", "imagePullSecrets"]).is_empty()
        && let Some(secrets) = account.get("imagePullSecrets")
    {
        map(pod, "spec").insert("imagePullSecrets".into(), secrets.clone());
    }
    let flag = |v: &Value, path: &[&str]| at(v, path).and_then(Value::as_bool);
    let wanted = flag(pod, &["spec", "automountServiceAccountToken"])
        .or_else(|| flag(&account, &["automountServiceAccountToken"]))
        .unwrap_or(true);
    if wanted {
        mount(pod);
    }
    Ok(())
}

/// Adds the volume and its mounts. Pure but for the random suffix.
fn mount(pod: &mut Value) {
    let existing = list(pod, &["spec", "volumes"])
        .iter()
        .map(|v| text(v, &["name"]))
        .find(|n| n.starts_with("kube-api-access-"))
        .map(str::to_owned);
    let volume = existing.clone().unwrap_or_else(|| format!("kube-api-access-{}", object::suffix()));
    let mut used = false;
    for field in ["initContainers", "containers"] {
        let Some(containers) =
            pod.get_mut("spec").and_then(|s| s.get_mut(field)).and_then(Value::as_array_mut)
        else {
            continue;
        };
        for container in containers {
            let mounts = list(container, &["volumeMounts"]);
            if mounts.iter().any(|m| text(m, &["mountPath"]) == PATH) {
                continue;
            }
            used = true;
            if let Some(container) = container.as_object_mut()
                && let Some(mounts) =
                    container.entry("volumeMounts").or_insert_with(|| json!([])).as_array_mut()
            {
                mounts.push(json!({"name": volume, "readOnly": true, "mountPath": PATH}));
            }
        }
    }
    if !used || existing.is_some() {
        return;
    }
    let volumes = map(pod, "spec").entry("volumes").or_insert_with(|| json!([]));
    if let Some(volumes) = volumes.as_array_mut() {
        volumes.push(json!({"name": volume, "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": SECONDS, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [
                {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
            ]}},
        ]}}));
    }
}
