//! What the server says in a policy's status: which generation it has seen, and which expressions do not fit the kinds that
//! the policy names. In Kubernetes a controller does this.

use dunlin_api::gvk::GroupVersionKind;
use dunlin_api::policy::typecheck;
use dunlin_store::{Error, Expect};
use serde_json::{Value, json};

use crate::admission::dynamic::GROUP;
use crate::failure::Result;
use crate::handlers::storage;
use crate::model;
use crate::object::{self, at, int, list, text};
use crate::resources::{Resource, known};
use crate::server::Inner;

const MANAGER: &str = "validatingadmissionpolicy-status";
/// So many kinds of one policy are looked at.
const MOST_KINDS: usize = 10;

/// Brings the status of policies up to date.
pub async fn report(server: &Inner, policies: &[Value]) -> Result<()> {
    let resource = known(GROUP, "validatingadmissionpolicies");
    for policy in policies {
        let name = object::name(policy);
        let stale = |policy: &Value| {
            int(policy, &["metadata", "generation"]) > int(policy, &["status", "observedGeneration"])
        };
        if !stale(policy) {
            continue;
        }
        // Somebody else's change is seen when that one is settled.
        let Some(stored) = server.find(resource, "", name).await?.filter(|s| stale(&s.value)) else {
            continue;
        };
        let status = status(server, &stored.value);
        let config = json!({"apiVersion": resource.api_version(), "kind": resource.kind,
            "metadata": {"name": name}, "status": status});
        let new = model::apply(resource, Some(&stored.value), &config, MANAGER, true, "status")?;
        match server.save(resource, Expect::Revision(stored.entry.revision), new).await {
            Ok(_) | Err(Error::Conflict { .. } | Error::NotFound { .. }) => {}
            Err(error) => return Err(storage::failed(resource, name, error)),
        }
    }
    Ok(())
}

fn status(server: &Inner, policy: &Value) -> Value {
    let all = server.custom.all();
    let kinds: Vec<(GroupVersionKind, typecheck::Declared)> =
        kinds(&all, policy).into_iter().map(|resource| (resource.gvk(), declared(resource))).collect();
    let params = at(policy, &["spec", "paramKind"]).and_then(|kind| {
        let found = all
            .iter()
            .find(|r| r.api_version() == text(kind, &["apiVersion"]) && r.kind == text(kind, &["kind"]));
        found.map(|r| declared(r))
    });
    let warnings: Vec<Value> = typecheck::warnings(&policy["spec"], &kinds, params.as_ref())
        .into_iter()
        .map(|(field, warning)| json!({"fieldRef": field, "warning": warning}))
        .collect();
    let checking = if warnings.is_empty() { json!({}) } else { json!({"expressionWarnings": warnings}) };
    json!({"observedGeneration": policy["metadata"]["generation"], "typeChecking": checking})
}

fn declared(resource: &Resource) -> typecheck::Declared {
    match &resource.custom {
        Some(custom) => typecheck::Declared::of_custom(&custom.schema),
        None => typecheck::Declared::of(&resource.gvk()),
    }
}

/// The kinds that the rules of a policy name without a wildcard, in order.
fn kinds<'a>(all: &'a [std::sync::Arc<Resource>], policy: &Value) -> Vec<&'a Resource> {
    let mut found: Vec<&Resource> = Vec::new();
    for rule in list(policy, &["spec", "matchConstraints", "resourceRules"]) {
        let texts =
            |field: &str| -> Vec<&str> { list(rule, &[field]).iter().filter_map(Value::as_str).collect() };
        let (groups, versions, resources) = (texts("apiGroups"), texts("apiVersions"), texts("resources"));
        if groups.iter().chain(&versions).any(|t| t.contains('*')) {
            continue;
        }
        let named = all.iter().filter(|r| {
            groups.contains(&&*r.group) && versions.contains(&&*r.version) && resources.contains(&&*r.plural)
        });
        for resource in named {
            if found.len() < MOST_KINDS && !found.iter().any(|f| f.gvk() == resource.gvk()) {
                found.push(resource);
            }
        }
    }
    found.sort_by_key(|r| (r.group.clone(), r.version.clone(), r.kind.clone()));
    found
}
