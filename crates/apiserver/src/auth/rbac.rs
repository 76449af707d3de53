//! Role-based rights, evaluated from a compact copy of all roles and bindings.
//!
//! The copy is made again when a watch says that one of them changed, so a check costs no reading and no decoding, and a
//! change counts from the very next request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use dunlin_store::{Store, Watch};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::auth::Authorizer;
use crate::config::User;
use crate::failure::Result;
use crate::handlers::storage;
use crate::object::{self, list, text};
use crate::request::Asked;
use crate::resources::known;

const GROUP: &str = "rbac.authorization.k8s.io";
const KINDS: [&str; 4] = ["clusterroles", "clusterrolebindings", "roles", "rolebindings"];

/// A `PolicyRule`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    pub verbs: Vec<String>,
    pub groups: Vec<String>,
    pub resources: Vec<String>,
    pub names: Vec<String>,
    pub urls: Vec<String>,
}

#[derive(Debug)]
struct Binding {
    name: String,
    /// Kind and name of its role.
    role: (String, String),
    /// Empty for bindings of the whole cluster.
    namespace: String,
    /// `(kind, namespace, name)`.
    subjects: Vec<(String, String, String)>,
    rules: Arc<Vec<Rule>>,
}

/// All roles and bindings at one moment.
#[derive(Debug, Default)]
pub struct Policy {
    bindings: Vec<Binding>,
    roles: BTreeMap<(String, String), Arc<Vec<Rule>>>,
}

pub struct Rbac {
    store: Arc<dyn Store>,
    state: Mutex<Cached>,
}

#[derive(Default)]
struct Cached {
    watches: Vec<Watch>,
    policy: Option<Arc<Policy>>,
}

fn strings(value: &Value, field: &str) -> Vec<String> {
    list(value, &[field]).iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// The rules of a role.
pub fn rules(role: &Value) -> Vec<Rule> {
    list(role, &["rules"])
        .iter()
        .map(|r| Rule {
            verbs: strings(r, "verbs"),
            groups: strings(r, "apiGroups"),
            resources: strings(r, "resources"),
            names: strings(r, "resourceNames"),
            urls: strings(r, "nonResourceURLs"),
        })
        .collect()
}

impl Rule {
    /// Whether the rule covers a request.
    pub fn covers(&self, asked: &Asked, path: &str) -> bool {
        let any = |list: &[String], wanted: &str| list.iter().any(|x| x == "*" || x == wanted);
        if !any(&self.verbs, asked.verb()) {
            return false;
        }
        if !asked.is_resource {
            return self.urls.iter().any(|url| match url.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None => url == path,
            });
        }
        let resource = match &asked.sub {
            Some(sub) => {
                let full = format!("{}/{sub}", asked.resource);
                let any_resource = format!("*/{sub}");
                self.resources.iter().any(|r| *r == "*" || *r == full || *r == any_resource)
            }
            None => any(&self.resources, &asked.resource),
        };
        resource
            && any(&self.groups, &asked.group)
            && (self.names.is_empty() || asked.name.as_ref().is_some_and(|n| self.names.contains(n)))
    }

    /// As `SelfSubjectRulesReview` shows it.
    pub fn shown(&self) -> Value {
        if self.urls.is_empty() {
            let mut rule =
                json!({"verbs": self.verbs, "apiGroups": self.groups, "resources": self.resources});
            if !self.names.is_empty() {
                rule["resourceNames"] = json!(self.names);
            }
            rule
        } else {
            json!({"verbs": self.verbs, "nonResourceURLs": self.urls})
        }
    }
}

impl Policy {
    fn read(objects: &BTreeMap<&'static str, Vec<Value>>) -> Self {
        let of = |kind: &str| objects.get(kind).map_or(&[][..], Vec::as_slice);
        let mut roles: BTreeMap<(String, String), Arc<Vec<Rule>>> = BTreeMap::new();
        for role in of("roles").iter().chain(of("clusterroles")) {
            let mut all = rules(role);
            for selector in list(role, &["aggregationRule", "clusterRoleSelectors"]) {
                for other in of("clusterroles").iter().filter(|o| aggregates(selector, o)) {
                    all.extend(rules(other));
                }
            }
            roles.insert((object::namespace(role).to_owned(), object::name(role).to_owned()), Arc::new(all));
        }
        let mut bindings = Vec::new();
        for binding in of("clusterrolebindings").iter().chain(of("rolebindings")) {
            let namespace = object::namespace(binding).to_owned();
            let home =
                if text(binding, &["roleRef", "kind"]) == "Role" { namespace.clone() } else { String::new() };
            let role = (home, text(binding, &["roleRef", "name"]).to_owned());
            let Some(rules) = roles.get(&role) else { continue };
            let subjects = list(binding, &["subjects"])
                .iter()
                .map(|s| {
                    let own = |f: &str| text(s, &[f]).to_owned();
                    (own("kind"), own("namespace"), own("name"))
                })
                .collect();
            let name = object::name(binding).to_owned();
            let role = (text(binding, &["roleRef", "kind"]).to_owned(), role.1);
            bindings.push(Binding { name, role, namespace, subjects, rules: rules.clone() });
        }
        Self { bindings, roles }
    }

    /// The rules that hold for a user in a namespace (and everywhere).
    pub fn of<'a>(&'a self, user: &'a User, namespace: &'a str) -> impl Iterator<Item = &'a Rule> {
        self.bindings
            .iter()
            .filter(move |b| b.namespace.is_empty() || b.namespace == namespace)
            .filter(move |b| b.subjects.iter().any(|s| is_subject(user, s, &b.namespace)))
            .flat_map(|b| b.rules.iter())
    }

    /// Why a user may do something, in Kubernetes' words; `None` if no binding says so.
    pub fn why(&self, user: &User, asked: &Asked, path: &str) -> Option<String> {
        let namespace = asked.namespace.as_deref().unwrap_or("");
        self.bindings.iter().filter(|b| b.namespace.is_empty() || b.namespace == namespace).find_map(|b| {
            let (kind, home, name) = b.subjects.iter().find(|s| is_subject(user, s, &b.namespace))?;
            b.rules.iter().find(|rule| rule.covers(asked, path))?;
            let (binding, place) = match b.namespace.as_str() {
                "" => ("ClusterRoleBinding", b.name.clone()),
                namespace => ("RoleBinding", format!("{}/{namespace}", b.name)),
            };
            let subject = if kind == "ServiceAccount" { format!("{name}/{home}") } else { name.clone() };
            let (role_kind, role) = &b.role;
            Some(format!(
                "RBAC: allowed by {binding} {place:?} of {role_kind} {role:?} to {kind} {subject:?}"
            ))
        })
    }

    /// The rules of a role; `namespace` is empty for cluster roles.
    pub fn role(&self, namespace: &str, name: &str) -> Option<&Arc<Vec<Rule>>> {
        self.roles.get(&(namespace.to_owned(), name.to_owned()))
    }
}

fn aggregates(selector: &Value, role: &Value) -> bool {
    let labels = selector.get("matchLabels").and_then(Value::as_object);
    labels.is_some_and(|wanted| {
        !wanted.is_empty()
            && wanted.iter().all(|(k, v)| object::at(role, &["metadata", "labels", k]) == Some(v))
    })
}

fn is_subject(user: &User, (kind, namespace, name): &(String, String, String), home: &str) -> bool {
    match kind.as_str() {
        "User" => user.name == *name,
        "Group" => user.in_group(name),
        "ServiceAccount" => {
            let namespace = if namespace.is_empty() { home } else { namespace };
            user.name.strip_prefix("system:serviceaccount:").and_then(|r| r.split_once(':'))
                == Some((namespace, name.as_str()))
        }
        _ => false,
    }
}

impl Rbac {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, state: Mutex::new(Cached::default()) }
    }

    /// The policy as of now.
    pub async fn policy(&self) -> Result<Arc<Policy>> {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let mut changed = state.watches.is_empty();
            for watch in &mut state.watches {
                while let Some(event) = watch.next().now_or_never() {
                    changed = true;
                    if event.is_err() {
                        break;
                    }
                }
            }
            if changed {
                state.policy = None;
                state.watches.clear();
            } else if let Some(policy) = &state.policy {
                return Ok(policy.clone());
            }
        }
        // Watches start before the reading, so nothing that happens between is missed.
        let mut watches = Vec::new();
        let mut objects = BTreeMap::new();
        for kind in KINDS {
            let scope = known(GROUP, kind).scope(None);
            watches
                .push(self.store.watch(scope, None).map_err(|e| storage::failed(known(GROUP, kind), "", e))?);
        }
        for kind in KINDS {
            let scope = known(GROUP, kind).scope(None);
            let page = self.store.list(&scope, None, 0, None).await;
            let page = page.map_err(|e| storage::failed(known(GROUP, kind), "", e))?;
            let values = page.items.iter().map(|e| storage::parse(&e.value)).collect::<Result<Vec<_>>>()?;
            objects.insert(kind, values);
        }
        let policy = Arc::new(Policy::read(&objects));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.watches = watches;
        state.policy = Some(policy.clone());
        Ok(policy)
    }
}

impl Authorizer for Rbac {
    fn allows<'a>(&'a self, user: &'a User, asked: &'a Asked, path: &'a str) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let policy = self.policy().await?;
            let namespace = asked.namespace.as_deref().unwrap_or("");
            Ok(policy.of(user, namespace).any(|r| r.covers(asked, path)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy::read(&BTreeMap::from([
            (
                "clusterroles",
                vec![json!({"metadata": {"name": "reader"}, "rules": [
                    {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]},
                    {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"]},
                    {"verbs": ["get"], "nonResourceURLs": ["/metrics", "/debug/*"]},
                ]})],
            ),
            (
                "rolebindings",
                vec![json!({"metadata": {"name": "b", "namespace": "a"},
                    "roleRef": {"kind": "ClusterRole", "name": "reader"},
                    "subjects": [{"kind": "User", "name": "jane"}, {"kind": "ServiceAccount", "name": "sa", "namespace": "x"}]})],
            ),
        ]))
    }

    fn may(user: &str, namespace: &str, verb: &'static str, resource: &str, name: &str) -> bool {
        let asked = Asked {
            verb,
            is_resource: true,
            namespace: Some(namespace.to_owned()),
            resource: resource.split('/').next().unwrap().to_owned(),
            sub: resource.split('/').nth(1).map(str::to_owned),
            name: (!name.is_empty()).then(|| name.to_owned()),
            ..Asked::default()
        };
        policy().of(&User::new(user, &[]), namespace).any(|r| r.covers(&asked, ""))
    }

    #[test]
    fn bindings_give_what_their_role_says_where_they_are() {
        assert!(may("jane", "a", "list", "pods", ""));
        assert!(may("jane", "a", "get", "pods/log", "p"));
        assert!(may("system:serviceaccount:x:sa", "a", "list", "pods", ""));
        assert!(may("jane", "a", "get", "secrets", "one"));
        assert!(!may("jane", "a", "get", "secrets", "two"));
        assert!(!may("jane", "a", "list", "secrets", ""));
        assert!(!may("jane", "b", "list", "pods", ""));
        assert!(!may("jane", "a", "delete", "pods", "p"));
        assert!(!may("joe", "a", "list", "pods", ""));
    }
}
