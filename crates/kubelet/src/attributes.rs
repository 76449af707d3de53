//! What a request to the kubelet's API is, as the cluster's authorization sees it. Pure.
//!
//! Everything is a verb on the node or on a part of it. For a path with a part of its own that part is asked for first,
//! and then `nodes/proxy`, which was all there was before Kubernetes 1.32 and still allows everything.

use http::Method;

/// What is asked of whoever decides.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// `get`, `create`, ...
    pub verb: &'static str,
    /// Parts of the node (`nodes/...`), of which any one is enough.
    pub parts: &'static [&'static str],
}

/// The attributes of a request.
pub fn of(method: &Method, path: &str) -> Attributes {
    let verb = match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    };
    let within =
        |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let parts: &[&str] = if within("/stats") {
        &["stats"]
    } else if within("/metrics") {
        &["metrics"]
    } else if within("/logs") {
        &["log"]
    } else if within("/checkpoint") {
        &["checkpoint"]
    } else if within("/healthz") {
        &["healthz", "proxy"]
    } else if matches!(path, "/pods" | "/pods/" | "/runningpods" | "/runningpods/") {
        &["pods", "proxy"]
    } else if within("/configz") {
        &["configz", "proxy"]
    } else {
        &["proxy"]
    };
    Attributes { verb, parts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_node() {
        let check = |method: Method, path: &str, verb: &str, parts: &[&str]| {
            let found = of(&method, path);
            assert_eq!((found.verb, found.parts), (verb, parts), "{path}");
        };
        check(Method::GET, "/stats/summary", "get", &["stats"]);
        check(Method::GET, "/metrics", "get", &["metrics"]);
        check(Method::GET, "/metrics/resource", "get", &["metrics"]);
        check(Method::GET, "/metricsfoo", "get", &["proxy"]);
        check(Method::HEAD, "/logs/", "get", &["log"]);
        check(Method::GET, "/healthz", "get", &["healthz", "proxy"]);
        check(Method::GET, "/pods", "get", &["pods", "proxy"]);
        check(Method::GET, "/runningpods/", "get", &["pods", "proxy"]);
        check(Method::GET, "/configz", "get", &["configz", "proxy"]);
        check(Method::POST, "/exec/a/b/c", "create", &["proxy"]);
        check(Method::GET, "/containerLogs/a/b/c", "get", &["proxy"]);
        check(Method::from_bytes(b"FETCH").expect("a method"), "/pods", "", &["pods", "proxy"]);
    }
}
