//! Which requests are recorded, and how much of them. Pure.
//!
//! The first rule that fits a request decides; what no rule fits leaves no trace.

use serde::Serialize;

use super::event::Stage;
use crate::config::User;
use crate::request::Asked;

/// How much of a request is recorded; each level holds what the one before it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Level {
    None,
    Metadata,
    Request,
    RequestResponse,
}

/// Resources of one group, with the meaning of `audit.k8s.io/v1` `GroupResources`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    pub group: String,
    pub resources: Vec<String>,
    pub names: Vec<String>,
}

/// One rule. Every list that is not empty has to fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub verdict: Verdict,
    pub users: Vec<String>,
    pub groups: Vec<String>,
    pub verbs: Vec<String>,
    pub resources: Vec<Resources>,
    pub namespaces: Vec<String>,
    pub urls: Vec<String>,
}

/// What a rule says of the requests that it fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub level: Level,
    pub omit_stages: Vec<Stage>,
    pub omit_managed_fields: bool,
}

/// All rules, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    pub(super) rules: Vec<Rule>,
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == wanted)
}

impl Policy {
    /// What is to be recorded of a request; `None` if nothing is. Who could not be identified is no user.
    pub fn verdict(&self, user: Option<&User>, asked: &Asked, path: &str) -> Option<&Verdict> {
        let rule = self.rules.iter().find(|rule| rule.fits(user, asked, path))?;
        (rule.verdict.level > Level::None).then_some(&rule.verdict)
    }
}

impl Rule {
    fn fits(&self, user: Option<&User>, asked: &Asked, path: &str) -> bool {
        if !self.users.is_empty() && !user.is_some_and(|user| has(&self.users, &user.name)) {
            return false;
        }
        let in_one = |user: &User| user.groups.iter().any(|group| has(&self.groups, group));
        if !self.groups.is_empty() && !user.is_some_and(in_one) {
            return false;
        }
        if !self.verbs.is_empty() && !has(&self.verbs, asked.verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            let here = asked.namespace.as_deref().unwrap_or("");
            return asked.is_resource
                && (self.namespaces.is_empty() || has(&self.namespaces, here))
                && (self.resources.is_empty() || self.resources.iter().any(|some| some.hold(asked)));
        }
        self.urls.is_empty() || (!asked.is_resource && self.urls.iter().any(|url| leads_to(url, path)))
    }
}

/// Whether a path is meant by a URL of a rule, which may end with `*`.
fn leads_to(url: &str, path: &str) -> bool {
    url == path || (url.ends_with('*') && path.starts_with(url.trim_end_matches('*')))
}

impl Resources {
    fn hold(&self, asked: &Asked) -> bool {
        if self.group != asked.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !self.names.is_empty() && !has(&self.names, asked.name.as_deref().unwrap_or("")) {
            return false;
        }
        let (resource, sub) = (asked.resource.as_str(), asked.sub.as_deref().unwrap_or(""));
        self.resources.iter().any(|one| match one.split_once('/') {
            None if one == "*" => true,
            None => sub.is_empty() && one == resource,
            // All subresources of a resource; Kubernetes counts the resource itself among them.
            Some((of, "*")) => of == resource,
            Some(("*", which)) => which == sub && !sub.is_empty(),
            Some((of, which)) => of == resource && which == sub,
        })
    }
}

#[cfg(test)]
mod tests {
    use dunlin_api::query::Query;
    use http::Method;

    use super::*;
    use crate::request;

    fn rule(change: impl FnOnce(&mut Rule)) -> Rule {
        let verdict = Verdict { level: Level::Metadata, omit_stages: Vec::new(), omit_managed_fields: false };
        let mut rule = Rule {
            verdict,
            users: Vec::new(),
            groups: Vec::new(),
            verbs: Vec::new(),
            resources: Vec::new(),
            namespaces: Vec::new(),
            urls: Vec::new(),
        };
        change(&mut rule);
        rule
    }

    fn check(change: impl FnOnce(&mut Rule), method: Method, path: &str, fits: bool) {
        let user = User::new("jane", &["people", "system:authenticated"]);
        let asked = request::parse(&method, path, &Query::parse(""));
        let rule = rule(change);
        let policy = Policy { rules: vec![rule.clone()] };
        assert_eq!(policy.verdict(Some(&user), &asked, path).is_some(), fits, "{rule:?} {method} {path}");
    }

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(|word| word.trim_matches('-').to_owned()).collect()
    }

    fn of(resources: &str, names: &str) -> Vec<Resources> {
        let list = |text: &str| if text.is_empty() { Vec::new() } else { words(text) };
        vec![Resources { group: String::new(), resources: list(resources), names: list(names) }]
    }

    #[test]
    fn rules_fit_what_kubernetes_says_they_fit() {
        const POD: &str = "/api/v1/namespaces/a/pods/p";
        const LOG: &str = "/api/v1/namespaces/a/pods/p/log";
        const NODES: &str = "/api/v1/nodes";
        const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/a/deployments";
        let get = || Method::GET;
        check(|_| {}, get(), POD, true);
        check(|r| r.users = words("jane"), get(), POD, true);
        check(|r| r.users = words("joe"), get(), POD, false);
        check(|r| r.groups = words("others people"), get(), "/healthz", true);
        check(|r| r.groups = words("others"), get(), "/healthz", false);
        check(|r| r.verbs = words("get"), get(), POD, true);
        check(|r| r.verbs = words("get"), get(), NODES, false);
        check(|r| r.namespaces = words("a"), get(), POD, true);
        check(|r| r.namespaces = words("a"), get(), NODES, false);
        check(|r| r.namespaces = words("-"), get(), NODES, true);
        check(|r| r.namespaces = words("-"), get(), "/healthz", false);
        check(|r| r.resources = of("", ""), get(), POD, true);
        check(|r| r.resources = of("", ""), get(), DEPLOYMENTS, false);
        check(|r| r.resources = of("pods", ""), get(), POD, true);
        check(|r| r.resources = of("pods", ""), get(), LOG, false);
        check(|r| r.resources = of("pods/log", ""), get(), LOG, true);
        check(|r| r.resources = of("pods/log", ""), get(), POD, false);
        check(|r| r.resources = of("*", ""), get(), LOG, true);
        check(|r| r.resources = of("*/log", ""), get(), LOG, true);
        check(|r| r.resources = of("*/log", ""), get(), POD, false);
        check(|r| r.resources = of("pods/*", ""), get(), LOG, true);
        check(|r| r.resources = of("pods", "p"), get(), POD, true);
        check(|r| r.resources = of("pods", "q"), get(), POD, false);
        check(|r| r.urls = words("/healthz*"), get(), "/healthz/ping", true);
        check(|r| r.urls = words("/healthz"), get(), "/healthz/ping", false);
        check(|r| r.urls = words("*"), get(), "/version", true);
        check(|r| r.urls = words("*"), get(), POD, false);
        check(|r| r.verdict.level = Level::None, get(), POD, false);
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let silent = rule(|r| {
            r.users = words("jane");
            r.verdict.level = Level::None;
        });
        let policy = Policy { rules: vec![silent, rule(|_| {})] };
        let asked = request::parse(&Method::GET, "/version", &Query::parse(""));
        assert!(policy.verdict(Some(&User::new("jane", &[])), &asked, "/version").is_none());
        assert!(policy.verdict(Some(&User::new("joe", &[])), &asked, "/version").is_some());
        assert!(policy.verdict(None, &asked, "/version").is_some(), "nobody is not jane");
    }
}
