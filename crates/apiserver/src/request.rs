//! From method, path and query to what is asked: verb, resource, namespace, name, subresource.

use http::Method;

use dunlin_api::query::{Query, decode};

/// What a request asks for, before it is known whether that exists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// `get`, `list`, `watch`, `create`, ...; for other paths the lower-case method.
    pub verb: &'static str,
    /// A verb that no request has, of a question about rights; `verb` is `other` then.
    pub other: Option<String>,
    pub is_resource: bool,
    pub group: String,
    pub version: String,
    pub namespace: Option<String>,
    pub resource: String,
    pub name: Option<String>,
    pub sub: Option<String>,
    /// The node to whose pods a list is confined (`spec.nodeName=x`); rights of nodes depend on it.
    pub node: Option<String>,
}

impl Asked {
    /// What a question about rights asks for, whose verb may be any.
    pub fn of_verb(text: &str) -> Self {
        const ALL: &[&str] = &[
            "get",
            "list",
            "watch",
            "create",
            "update",
            "patch",
            "delete",
            "deletecollection",
            "impersonate",
            "bind",
            "escalate",
            "approve",
            "sign",
            "use",
            "head",
            "post",
            "put",
            "options",
            "*",
        ];
        match ALL.iter().find(|v| **v == text) {
            Some(verb) => Self { verb, ..Self::default() },
            None => Self { verb: "other", other: Some(text.to_owned()), ..Self::default() },
        }
    }

    /// The verb, whatever it is.
    pub fn verb(&self) -> &str {
        self.other.as_deref().unwrap_or(self.verb)
    }
}

/// Reads the path as a resource's, following Kubernetes' scheme.
pub fn parse(method: &Method, path: &str, query: &Query) -> Asked {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let mut asked = Asked { verb: plain_verb(method), ..Asked::default() };
    let rest = match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => {
            asked.version = (*version).to_owned();
            rest
        }
        ["apis", group, version, rest @ ..] if !rest.is_empty() => {
            asked.group = (*group).to_owned();
            asked.version = (*version).to_owned();
            rest
        }
        _ => return asked,
    };
    asked.is_resource = true;
    // The old way of watching.
    let (rest, watch) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (rest, true),
        rest => (rest, false),
    };
    let own = |text: &&str| decode(text, false);
    let rest = match rest {
        ["namespaces", namespace, tail @ ..] if !tail.is_empty() && !is_namespace_sub(tail) => {
            asked.namespace = Some(own(namespace));
            tail
        }
        other => other,
    };
    asked.resource = rest.first().map(own).unwrap_or_default();
    asked.name = rest.get(1).map(own);
    asked.sub = rest.get(2).map(own);
    if asked.resource == "namespaces" && asked.group.is_empty() {
        asked.namespace.clone_from(&asked.name);
    }
    asked.verb = verb(method, asked.name.is_some(), query.flag("watch"));
    if watch && matches!(asked.verb, "get" | "list" | "watch") {
        asked.verb = "watch";
    }
    if asked.name.is_none() && matches!(asked.verb, "list" | "watch" | "deletecollection") {
        asked.name = single(query.get("fieldSelector"), "metadata.name");
        asked.node = single(query.get("fieldSelector"), "spec.nodeName");
    }
    asked
}

fn is_namespace_sub(tail: &[&str]) -> bool {
    matches!(tail, ["status" | "finalize"])
}

/// The value that a selector as `metadata.name=x` asks for, so that rights on single names hold for lists, too.
fn single(selector: Option<&str>, wanted: &str) -> Option<String> {
    selector?.split(',').find_map(|term| {
        let (field, value) = term.split_once('=')?;
        (field == wanted).then(|| value.trim_start_matches('=').to_owned())
    })
}

fn verb(method: &Method, named: bool, watch: bool) -> &'static str {
    match (method.as_str(), named) {
        ("GET" | "HEAD", true) => "get",
        ("GET" | "HEAD", false) if watch => "watch",
        ("GET" | "HEAD", false) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => "other",
    }
}

fn plain_verb(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "get",
        "HEAD" => "head",
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "options",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, path: &str, query: &str, expect: (&str, &str, &str, &str, &str, &str)) {
        let asked = parse(&method, path, &Query::parse(query));
        let got = (
            asked.verb,
            asked.group.as_str(),
            asked.namespace.as_deref().unwrap_or(""),
            asked.resource.as_str(),
            asked.name.as_deref().unwrap_or(""),
            asked.sub.as_deref().unwrap_or(""),
        );
        assert_eq!(got, expect, "{path}");
    }

    #[test]
    fn paths_are_read_as_kubernetes_reads_them() {
        check(Method::GET, "/api/v1/pods", "", ("list", "", "", "pods", "", ""));
        check(Method::GET, "/api/v1/namespaces/a/pods", "watch=1", ("watch", "", "a", "pods", "", ""));
        check(Method::POST, "/api/v1/namespaces/a/pods/b/exec", "", ("create", "", "a", "pods", "b", "exec"));
        check(Method::GET, "/api/v1/namespaces/a", "", ("get", "", "a", "namespaces", "a", ""));
        check(
            Method::PUT,
            "/api/v1/namespaces/a/finalize",
            "",
            ("update", "", "a", "namespaces", "a", "finalize"),
        );
        check(
            Method::DELETE,
            "/apis/apps/v1/namespaces/a/deployments",
            "",
            ("deletecollection", "apps", "a", "deployments", "", ""),
        );
        let byname = "fieldSelector=metadata.name%3Dx";
        check(Method::GET, "/api/v1/namespaces/a/secrets", byname, ("list", "", "a", "secrets", "x", ""));
    }
}
