//! Nobody can give away rights that he does not have.
//!
//! A role may hold only rules that its author has himself, and a binding may name only such roles; the verbs `escalate`
//! and `bind` are the exceptions that an administrator can grant.

use std::collections::BTreeMap;

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
        "roles" | "clusterroles" => ("escalate", Some(rules(value)), object::name(value).to_owned()),
        _ => {
            let home = if text(value, &["roleRef", "kind"]) == "Role" { call.ns() } else { "" };
            let name = text(value, &["roleRef", "name"]);
            ("bind", policy.role(home, name).map(|r| (**r).clone()), name.to_owned())
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
    // A binding to a role that does not exist yet would take effect when the role appears.
    let wanted = wanted
        .ok_or_else(|| Failure::not_found(&call.resource, exception.name.as_deref().unwrap_or_default()))?;
    let missing = missing(&wanted, &own);
    if missing.is_empty() {
        return Ok(());
    }
    let why = format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        call.user.name,
        listed(&call.user.groups),
        missing.join("\n")
    );
    Err(Failure::forbidden(&call.resource, object::name(value), &why))
}

/// The rights of `wanted` that are in none of `own`, by what they are of, as Kubernetes writes them. Pure.
fn missing(wanted: &[Rule], own: &[&Rule]) -> Vec<String> {
    // What a right is of, and its verbs.
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for rule in wanted {
        for one in single(rule) {
            for verb in &rule.verbs {
                let right = Rule { verbs: vec![verb.clone()], ..one.clone() };
                let of = if one.urls.is_empty() {
                    let names = match one.names.as_slice() {
                        [] => String::new(),
                        names => format!(", ResourceNames:{}", listed(names)),
                    };
                    format!("APIGroups:{}, Resources:{}{names}", listed(&one.groups), listed(&one.resources))
                } else {
                    format!("NonResourceURLs:{}", listed(&one.urls))
                };
                if !covered(&right, own) {
                    let verbs = found.entry(of).or_default();
                    if !verbs.contains(verb) {
                        verbs.push(verb.clone());
                    }
                }
            }
        }
    }
    found.into_iter().map(|(of, verbs)| format!("{{{of}, Verbs:{}}}", listed(&verbs))).collect()
}

/// A rule taken apart: one group and resource, name or URL each, without verbs.
fn single(rule: &Rule) -> Vec<Rule> {
    let names: Vec<Vec<String>> = match rule.names.as_slice() {
        [] => vec![Vec::new()],
        names => names.iter().map(|name| vec![name.clone()]).collect(),
    };
    let mut parts: Vec<Rule> =
        rule.urls.iter().map(|url| Rule { urls: vec![url.clone()], ..Rule::default() }).collect();
    for group in &rule.groups {
        for resource in &rule.resources {
            parts.extend(names.iter().map(|names| Rule {
                groups: vec![group.clone()],
                resources: vec![resource.clone()],
                names: names.clone(),
                ..Rule::default()
            }));
        }
    }
    parts
}

/// A list as Go prints it.
fn listed(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", quoted.join(" "))
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

    #[test]
    fn what_is_missing_is_told_piece_by_piece() {
        let words = |text: &str| -> Vec<String> {
            text.split(' ').map(|word| word.trim_matches('-').to_owned()).collect()
        };
        let rule = |verbs: &str, groups: &str, resources: &str| Rule {
            verbs: words(verbs),
            groups: words(groups),
            resources: words(resources),
            ..Rule::default()
        };
        let own = rule("get", "-", "configmaps");
        let wanted = [rule("get list", "-", "configmaps secrets"), rule("*", "*", "*")];
        assert_eq!(
            missing(&wanted, &[&own]),
            [
                r#"{APIGroups:[""], Resources:["configmaps"], Verbs:["list"]}"#,
                r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}"#,
                r#"{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#,
            ]
        );
    }
}
