//! `metrics.k8s.io`: what nodes and pods use, measured by the nodes when somebody asks; nothing is stored.
//!
//! A node that is out of reach or does not measure is left out of lists, as it is with Kubernetes' metrics server.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use dunlin_api::selector::{FieldSelector, LabelSelector};
use futures_util::{FutureExt, StreamExt, stream};
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::object::{self, at, list, text};
use crate::reply::{self, Reply};
use crate::resources::known;
use crate::server::{Call, Inner};
use crate::time;

pub const GROUP: &str = "metrics.k8s.io";
/// Nodes that are asked at the same time.
const AT_ONCE: usize = 32;
/// How long a node may take; it measures for a second if nobody asked lately.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer of a node: some hundred bytes for each container.
const LONGEST: usize = 8 << 20;

/// Answers `get` and `list` of both resources.
pub async fn answer(call: &mut Call, verb: &str) -> Result<Reply> {
    call.form.shape = crate::negotiate::Shape::Whole;
    let pods = call.resource.plural == "pods";
    let mut all = if pods { pods_of(call).await? } else { nodes_of(call).await? };
    if verb == "get" {
        let one = all.pop().ok_or_else(|| Failure::not_found(&call.resource, call.name()))?;
        return reply::value_in(200, &one, call.form);
    }
    let kind = format!("{}List", call.resource.kind);
    let list = json!({"kind": kind, "apiVersion": call.resource.api_version(), "metadata": {}, "items": all});
    reply::value_in(200, &list, call.form)
}

async fn nodes_of(call: &Call) -> Result<Vec<Value>> {
    let nodes = chosen(call, call.server.all(known("", "nodes"), None).await?)?;
    let names = nodes.iter().map(|node| object::name(node).to_owned()).collect();
    let summaries = ask(&call.server, names).await;
    let measured = nodes.iter().filter_map(|node| {
        let summary = summaries.get(object::name(node))?;
        let mut value = described(call, node, summary, &summary["node"]);
        value["usage"] = amounts(&summary["node"]);
        Some(value)
    });
    Ok(measured.collect())
}

async fn pods_of(call: &Call) -> Result<Vec<Value>> {
    let pods = chosen(call, call.server.all(known("", "pods"), call.namespace.as_deref()).await?)?;
    let node = |pod: &Value| text(pod, &["spec", "nodeName"]).to_owned();
    let names: BTreeSet<String> = pods.iter().map(node).filter(|name| !name.is_empty()).collect();
    let summaries = ask(&call.server, names).await;
    let mut by_uid: HashMap<&str, (&Value, &Value)> = HashMap::new();
    for summary in summaries.values() {
        for pod in list(summary, &["pods"]) {
            by_uid.insert(text(pod, &["podRef", "uid"]), (summary, pod));
        }
    }
    let measured = pods.iter().filter_map(|pod| {
        let (summary, found) = by_uid.get(object::uid(pod))?;
        let containers = list(found, &["containers"]);
        let first = containers.first()?;
        let mut value = described(call, pod, summary, first);
        value["containers"] =
            containers.iter().map(|c| json!({"name": c["name"], "usage": amounts(c)})).collect();
        Some(value)
    });
    Ok(measured.collect())
}

/// Those that the call's name and selectors mean.
fn chosen(call: &Call, mut all: Vec<Value>) -> Result<Vec<Value>> {
    let labels = match call.query.get("labelSelector") {
        Some(text) => LabelSelector::parse(text)
            .map_err(|e| Failure::bad_request(format!("unable to parse requirement: {e}")))?,
        None => LabelSelector::everything(),
    };
    let fields = match call.query.get("fieldSelector") {
        Some(text) => FieldSelector::parse(text).map_err(|e| Failure::bad_request(e.to_string()))?,
        None => FieldSelector::everything(),
    };
    let known = |field: &str| matches!(field, "metadata.name" | "metadata.namespace");
    if let Some(other) = fields.requirements().iter().find(|r| !known(&r.field)) {
        return Err(Failure::bad_request(format!("field label not supported: {}", other.field)));
    }
    all.retain(|object| {
        let value = |field: &str| match field {
            "metadata.name" => Some(object::name(object)),
            _ => Some(object::namespace(object)),
        };
        call.name.as_deref().is_none_or(|name| name == object::name(object))
            && labels.matches(at(object, &["metadata", "labels"]).unwrap_or(&Value::Null))
            && fields.matches(value)
    });
    Ok(all)
}

/// The summaries of the nodes that answered.
async fn ask(server: &Inner, nodes: BTreeSet<String>) -> HashMap<String, Value> {
    let questions: Vec<_> = nodes.into_iter().map(|node| measure(server, node).boxed()).collect();
    let mut answers = stream::iter(questions).buffer_unordered(AT_ONCE);
    let mut summaries = HashMap::new();
    while let Some(answer) = answers.next().await {
        summaries.extend(answer);
    }
    summaries
}

async fn measure(server: &Inner, node: String) -> Option<(String, Value)> {
    match tokio::time::timeout(PATIENCE, summary(server, &node)).await {
        Ok(Ok(summary)) => Some((node, summary)),
        Ok(Err(failure)) => {
            tracing::debug!(node, message = failure.message, "node not measured");
            None
        }
        Err(_) => {
            tracing::debug!(node, "node not measured in time");
            None
        }
    }
}

async fn summary(server: &Inner, node: &str) -> Result<Value> {
    let request =
        Request::get("http://node/stats/summary").body(reply::full("")).map_err(Failure::internal)?;
    let response = server.config.dialer.call(node, request).await.map_err(Failure::internal)?;
    if !response.status().is_success() {
        return Err(Failure::internal(format!("the node answered {}", response.status())));
    }
    let mut frames = response.into_body();
    let mut body = Vec::new();
    while let Some(frame) = frames.frame().await {
        let frame = frame.map_err(|e| Failure::internal(format!("reading the node's answer failed: {e}")))?;
        body.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
        if body.len() > LONGEST {
            return Err(Failure::internal(format!("the node's answer is longer than {LONGEST} bytes")));
        }
    }
    serde_json::from_slice(&body).map_err(Failure::internal)
}

/// What both kinds have: of which object, when, over how long.
fn described(call: &Call, of: &Value, summary: &Value, measured: &Value) -> Value {
    let seconds = summary["windowSeconds"].as_f64().unwrap_or_default();
    let mut value = json!({
        "kind": call.resource.kind, "apiVersion": call.resource.api_version(),
        "metadata": {"name": object::name(of), "creationTimestamp": time::now(), "labels": of["metadata"]["labels"]},
        "timestamp": text(measured, &["cpu", "time"]).parse().map_or_else(|_| time::now(), time::seconds),
        "window": format!("{:.3}s", seconds),
    });
    let namespace = object::namespace(of);
    if !namespace.is_empty() {
        value["metadata"]["namespace"] = json!(namespace);
    }
    value
}

/// CPU in billionths of a core, memory in KiB: the units that Kubernetes' metrics server uses.
fn amounts(measured: &Value) -> Value {
    let cpu = measured["cpu"]["usageNanoCores"].as_u64().unwrap_or(0);
    let memory = measured["memory"]["workingSetBytes"].as_u64().unwrap_or(0);
    json!({"cpu": format!("{cpu}n"), "memory": format!("{}Ki", memory / 1024)})
}
