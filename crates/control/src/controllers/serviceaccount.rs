//! Gives every namespace its `default` service account and the CA that its pods trust.

use serde_json::json;

use crate::model::{Held, Key};
use crate::plan::{Action, Plan, Precondition, Report};
use crate::view::View;

/// The ConfigMap with the cluster's CA.
pub const ROOT_CA: &str = "kube-root-ca.crt";

/// Plans the namespace `key`.
pub fn plan(view: &View, key: &Key, _now: i64, _seed: u64) -> (Plan, Report) {
    let (mut plan, report) = (Plan::default(), Report::default());
    let Some(namespace) = view.namespaces.by_key(key) else { return (plan, report) };
    if namespace.metadata.is_deleting() {
        return (plan, report);
    }
    if view.service_accounts.get(&key.name, "default").is_none() {
        plan.push(Action::Create {
            resource: "serviceaccounts".into(),
            namespace: key.name.clone(),
            object: json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": key.name}}),
        });
    }
    let data = json!({"ca.crt": view.settings.ca_pem});
    match view.config_maps.get(&key.name, ROOT_CA) {
        None => plan.push(Action::Create {
            resource: "configmaps".into(),
            namespace: key.name.clone(),
            object: json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": ROOT_CA, "namespace": key.name}, "data": data}),
        }),
        Some(map) if map.data.get("ca.crt") != Some(&view.settings.ca_pem) => plan.push(Action::Patch {
            target: map.key(),
            subresource: None,
            patch: json!({"data": data}),
            only_if: Precondition::uid(&map.metadata.uid),
        }),
        Some(_) => {}
    }
    (plan, report)
}
