//! Which flow schema a request belongs to: the first in the order of precedence one of whose rules fits. Pure.

use serde_json::Value;

use crate::config::User;
use crate::object::{self, at, list, text};
use crate::request::Asked;

/// What tells the flows of one schema apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distinguisher {
    Nothing,
    User,
    Namespace,
}

/// A flow schema, read.
#[derive(Debug)]
pub struct Schema {
    pub name: String,
    pub uid: String,
    pub level: String,
    precedence: i64,
    distinguisher: Distinguisher,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

#[derive(Debug)]
enum Subject {
    User(String),
    Group(String),
    /// Namespace and name.
    Account(String, String),
}

#[derive(Debug)]
struct ResourceRule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    namespaces: Vec<String>,
    cluster: bool,
}

#[derive(Debug)]
struct PathRule {
    verbs: Vec<String>,
    paths: Vec<String>,
}

/// The schemas in the order in which they are tried.
pub fn sorted(objects: &[Value]) -> Vec<Schema> {
    let mut schemas: Vec<Schema> = objects.iter().map(Schema::of).collect();
    schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
    schemas
}

fn texts(value: &Value, field: &str) -> Vec<String> {
    list(value, &[field]).iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

impl Schema {
    fn of(object: &Value) -> Self {
        let spec = &object["spec"];
        Self {
            name: object::name(object).to_owned(),
            uid: object::uid(object).to_owned(),
            level: text(spec, &["priorityLevelConfiguration", "name"]).to_owned(),
            precedence: object::int(spec, &["matchingPrecedence"]),
            distinguisher: match text(spec, &["distinguisherMethod", "type"]) {
                "ByUser" => Distinguisher::User,
                "ByNamespace" => Distinguisher::Namespace,
                _ => Distinguisher::Nothing,
            },
            rules: list(spec, &["rules"]).iter().map(Rule::of).collect(),
        }
    }

    pub fn fits(&self, user: &User, asked: &Asked, path: &str) -> bool {
        self.rules.iter().any(|rule| rule.fits(user, asked, path))
    }

    /// What tells the request's flow from others of this schema.
    pub fn flow<'a>(&self, user: &'a User, asked: &'a Asked) -> &'a str {
        match self.distinguisher {
            Distinguisher::Nothing => "",
            Distinguisher::User => &user.name,
            Distinguisher::Namespace => asked.namespace.as_deref().unwrap_or(""),
        }
    }
}

impl Rule {
    fn of(rule: &Value) -> Self {
        let subject = |subject: &Value| {
            let of = |kind: &str, field: &str| text(subject, &[kind, field]).to_owned();
            match text(subject, &["kind"]) {
                "User" => Some(Subject::User(of("user", "name"))),
                "Group" => Some(Subject::Group(of("group", "name"))),
                "ServiceAccount" => {
                    Some(Subject::Account(of("serviceAccount", "namespace"), of("serviceAccount", "name")))
                }
                _ => None,
            }
        };
        let resource = |rule: &Value| ResourceRule {
            verbs: texts(rule, "verbs"),
            groups: texts(rule, "apiGroups"),
            resources: texts(rule, "resources"),
            namespaces: texts(rule, "namespaces"),
            cluster: at(rule, &["clusterScope"]) == Some(&Value::Bool(true)),
        };
        let path =
            |rule: &Value| PathRule { verbs: texts(rule, "verbs"), paths: texts(rule, "nonResourceURLs") };
        Self {
            subjects: list(rule, &["subjects"]).iter().filter_map(subject).collect(),
            resources: list(rule, &["resourceRules"]).iter().map(resource).collect(),
            paths: list(rule, &["nonResourceRules"]).iter().map(path).collect(),
        }
    }

    fn fits(&self, user: &User, asked: &Asked, path: &str) -> bool {
        if !self.subjects.iter().any(|subject| subject.fits(user)) {
            return false;
        }
        if asked.is_resource {
            self.resources.iter().any(|rule| rule.fits(asked))
        } else {
            self.paths
                .iter()
                .any(|rule| has(&rule.verbs, asked.verb) && rule.paths.iter().any(|p| below(p, path)))
        }
    }
}

impl Subject {
    fn fits(&self, user: &User) -> bool {
        match self {
            Self::User(name) => name == "*" || *name == user.name,
            Self::Group(name) => name == "*" || user.in_group(name),
            Self::Account(namespace, name) => user
                .name
                .strip_prefix("system:serviceaccount:")
                .and_then(|rest| rest.split_once(':'))
                .is_some_and(|(space, own)| space == namespace && (name == "*" || name == own)),
        }
    }
}

impl ResourceRule {
    fn fits(&self, asked: &Asked) -> bool {
        let resource = match &asked.sub {
            Some(sub) => format!("{}/{sub}", asked.resource),
            None => asked.resource.clone(),
        };
        let place = match asked.namespace.as_deref() {
            None | Some("") => self.cluster,
            Some(namespace) => has(&self.namespaces, namespace),
        };
        place
            && has(&self.verbs, asked.verb)
            && has(&self.resources, &resource)
            && has(&self.groups, &asked.group)
    }
}

/// Whether a list has the word; `*` alone is all words.
fn has(list: &[String], word: &str) -> bool {
    matches!(list, [all] if all == "*") || list.iter().any(|item| item == word)
}

/// Whether a path is the one of a rule, or below it.
fn below(rule: &str, path: &str) -> bool {
    let folder = rule.strip_suffix('*').unwrap_or(rule);
    let folder = folder.strip_suffix('/').unwrap_or(folder);
    rule == "*" || rule == path || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use dunlin_api::flowcontrol;

    use super::*;
    use crate::request;
    use dunlin_api::query::Query;

    /// Schema and flow of a request, by the schemas that every cluster has.
    fn check(user: &str, groups: &[&str], request: &str, expect: (&str, &str)) {
        let schemas = sorted(&flowcontrol::schemas());
        let (method, target) = request.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let asked = request::parse(&method.parse().unwrap(), path, &Query::parse(query));
        let user = User::new(user, groups);
        let found = schemas.iter().find(|s| s.fits(&user, &asked, path)).unwrap();
        assert_eq!((found.name.as_str(), found.flow(&user, &asked)), expect, "{} {request}", user.name);
    }

    #[test]
    fn requests_find_the_schemas_that_kubernetes_means_for_them() {
        let known = ["system:authenticated"];
        let node = ["system:nodes", "system:authenticated"];
        let account = ["system:serviceaccounts", "system:authenticated"];
        let pods = "GET /api/v1/namespaces/a/pods";
        check("admin", &["system:masters"], pods, ("exempt", ""));
        check("jane", &known, pods, ("global-default", "jane"));
        check("jane", &known, "GET /healthz", ("probes", ""));
        check("jane", &known, "GET /livez/ping", ("probes", ""));
        check("jane", &known, "GET /livezz", ("global-default", "jane"));
        check("system:anonymous", &["system:unauthenticated"], pods, ("global-default", "system:anonymous"));
        check("system:node:n", &node, pods, ("system-nodes", "system:node:n"));
        check("system:node:n", &node, "PATCH /api/v1/nodes/n/status", ("system-node-high", "system:node:n"));
        let lease = "PUT /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n";
        check("system:node:n", &node, lease, ("system-node-high", "system:node:n"));
        check("system:kube-scheduler", &known, lease, ("system-leader-election", "system:kube-scheduler"));
        check("system:kube-scheduler", &known, pods, ("kube-scheduler", "a"));
        check("system:kube-controller-manager", &known, "GET /api/v1/nodes", ("kube-controller-manager", ""));
        check("system:serviceaccount:kube-system:x", &account, pods, ("kube-system-service-accounts", "a"));
        check(
            "system:serviceaccount:shop:x",
            &account,
            pods,
            ("service-accounts", "system:serviceaccount:shop:x"),
        );
    }
}
