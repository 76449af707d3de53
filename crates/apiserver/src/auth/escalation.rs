//! Nobody can give away rights that he does not have.
//!
//! A role may hold only rules that its author has himself, and a binding may name only such roles; the verbs `escalate`
//! and `bind` are the exceptions that an administrator can grant.

use serde_json::Value;

use crate::auth;
use crate::auth::rbac::{Rule, rules};
use crate::failure::{Failure, Result};
use crate::object::{self, text};
use crate::request::Asked;
use crate::server::Call;

/// Checks a role or binding before it is stored.
pub async fn check(call: &Call, value: &Value) -> Result<()> {
    if call.resource.group != "rbac.authorization.k8s.io" || call.user.in_group("system:masters") {
        return Ok(());
    }
    let policy = call.server.rbac.policy().await?;
    let (verb, wanted, role) = match &*call.resource.plural {
        "roles" | "clusterroles" => ("escalate", rules(value), object::name(value).to_owned()),
        _ => {
            let home = if text(value, &["roleRef", "kind"]) == "Role" { call.ns() } else { "" };
            let name = text(value, &["roleRef", "name"]);
            // A binding to a role that does not exist yet would take effect when the role appears.
            let found = policy.role(home, name).map(|r| (**r).clone());
            let unknown = Rule {
                verbs: vec!["*".into()],
                groups: vec!["*".into()],
                resources: vec!["*".into()],
                ..Rule::default()
            };
            ("bind", found.unwrap_or_else(|| vec![unknown]), name.to_owned())
        }
    };
    let exception = Asked {
        verb,
        is_resource: true,
        group: call.resource.group.to_string(),
        version: "v1".to_owned(),
        resource: match text(value, &["roleRef", "kind"]) {
            "" => call.resource.plural.to_string(),
            "Role" => "roles".to_owned(),
            _ => "clusterroles".to_owned(),
        },
        namespace: call.namespace.clone(),
        name: Some(role),
        ..Asked::default()
    };
    if auth::allowed(&call.server, &call.user, &exception, "").await? {
        return Ok(());
    }
    let own: Vec<&Rule> = policy.of(&call.user, call.ns()).collect();
    for rule in &wanted {
        if !covered(rule, &own) {
            let why = format!(
                "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held: {}",
                call.user.name,
                call.user.groups,
                rule.shown()
            );
            return Err(Failure::forbidden(&call.resource, object::name(value), &why));
        }
    }
    Ok(())
}

/// Whether every single right of `rule` is in one of `own`. Pure.
fn covered(rule: &Rule, own: &[&Rule]) -> bool {
    let has = |list: &[String], one: &str| list.iter().any(|x| x == "*" || x == one);
    let names: Vec<Option<&String>> =
        if rule.names.is_empty() { vec![None] } else { rule.names.iter().map(Some).collect() };
    rule.verbs.iter().all(|verb| {
        rule.urls.iter().all(|url| {
            own.iter().any(|o| {
                has(&o.verbs, verb)
                    && o.urls
                        .iter()
                        .any(|u| u == url || u.strip_suffix('*').is_some_and(|p| url.starts_with(p)))
            })
        }) && rule.groups.iter().all(|group| {
            rule.resources.iter().all(|resource| {
                names.iter().all(|name| {
                    own.iter().any(|o| {
                        has(&o.verbs, verb)
                            && has(&o.groups, group)
                            && has(&o.resources, resource)
                            && (o.names.is_empty() || name.is_some_and(|n| o.names.contains(n)))
                    })
                })
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_covers_all_and_is_covered_only_by_a_star() {
        let rule = |verbs: &[&str], resources: &[&str]| Rule {
            verbs: verbs.iter().map(|v| (*v).to_owned()).collect(),
            groups: vec![String::new()],
            resources: resources.iter().map(|r| (*r).to_owned()).collect(),
            ..Rule::default()
        };
        let (all, some) = (rule(&["*"], &["*"]), rule(&["get"], &["pods"]));
        assert!(covered(&some, &[&all]));
        assert!(!covered(&all, &[&some]));
        assert!(!covered(&rule(&["get", "list"], &["pods"]), &[&some]));
    }
}
