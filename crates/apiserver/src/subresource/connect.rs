//! What admission is told of a stream before it begins: the options in its query, as the object that they are.

use std::borrow::Cow;

use dunlin_api::query::{Query, decode};
use http::Uri;
use serde_json::{Value, json};

use crate::admission::attributes::{Attributes, Operation};
use crate::admission::dynamic;
use crate::failure::Result;
use crate::server::Call;

/// Asks what is configured whether the connection may be made.
pub async fn review(call: &mut Call, uri: &Uri) -> Result<()> {
    if !dynamic::concerns(call) {
        return Ok(());
    }
    let asked = Attributes::of(call, Operation::Connect);
    let options = options(&asked.kind.kind, &call.query, uri.path());
    dynamic::review(call, asked.about(Cow::Owned(options), None)).await
}

/// `PodExecOptions` and so on. Pure.
fn options(kind: &str, query: &Query, path: &str) -> Value {
    let mut options = json!({"kind": kind, "apiVersion": "v1"});
    match kind {
        "PodExecOptions" | "PodAttachOptions" => {
            for flag in ["stdin", "stdout", "stderr", "tty"] {
                if query.flag(flag) {
                    options[flag] = json!(true);
                }
            }
            if let Some(container) = query.get("container") {
                options["container"] = json!(container);
            }
            if kind == "PodExecOptions" {
                let words: Vec<&str> = query.all("command").collect();
                options["command"] = if words.is_empty() { Value::Null } else { json!(words) };
            }
        }
        "PodPortForwardOptions" => {
            let ports: Vec<i64> = query.all("ports").filter_map(|port| port.parse().ok()).collect();
            if !ports.is_empty() {
                options["ports"] = json!(ports);
            }
        }
        // What follows in the path.
        _ => {
            let rest = path.split_once("/proxy").map_or("", |(_, rest)| rest);
            if !rest.is_empty() {
                options["path"] = json!(decode(rest, false));
            }
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_the_query() {
        let query = Query::parse("command=sh&command=-c&stdin=true&tty=false&container=c");
        assert_eq!(
            options("PodExecOptions", &query, ""),
            json!({"kind": "PodExecOptions", "apiVersion": "v1", "stdin": true, "container": "c", "command": ["sh", "-c"]})
        );
        assert_eq!(
            options("PodPortForwardOptions", &Query::parse("ports=80&ports=x"), "")["ports"],
            json!([80])
        );
        assert_eq!(
            options("NodeProxyOptions", &Query::default(), "/api/v1/nodes/n/proxy/a%20b")["path"],
            json!("/a b")
        );
    }
}
