//! Whether extension servers can be asked: the condition `Available`, by Kubernetes' reasons, and what they serve.

use std::sync::{Arc, Weak};
use std::time::Duration;

use dunlin_store::{Error, Expect};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use http::{Method, Request};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;

use super::remote::{Found, Remote};
use super::{Entry, documents, headers};
use crate::conditions;
use crate::config::User;
use crate::failure::Result;
use crate::handlers::storage;
use crate::object::{at, list, text};
use crate::reply;
use crate::resources::known;
use crate::server::Inner;
use crate::time;

/// How often all are looked at, whatever happens.
const EVERY: Duration = Duration::from_secs(30);
/// Things that change together are looked at together.
const PAUSE: Duration = Duration::from_millis(50);
/// How long one question may take, and how often it is asked.
const PATIENCE: Duration = Duration::from_secs(5);
const ATTEMPTS: usize = 5;
/// The largest document that is read, in bytes.
const LARGEST: usize = 2 << 20;

/// What a check found: whether it is available, reason and message of the condition.
pub type Verdict = (bool, &'static str, String);

/// Checks whenever something may have changed, and now and then while there are any, until the server is gone.
pub async fn run(server: Weak<Inner>) {
    loop {
        let Some(strong) = server.upgrade() else { return };
        if let Err(failure) = round(&strong).await {
            tracing::warn!(message = %failure.message, "checking extension servers failed");
        }
        let (wake, remotes) = (strong.aggregate.wake.clone(), strong.aggregate.has_remotes());
        // The server is not held meanwhile, so that it can end.
        drop(strong);
        if remotes {
            let _ = tokio::time::timeout(EVERY, wake.notified()).await;
        } else {
            wake.notified().await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn round(server: &Inner) -> Result<()> {
    let entries = server.aggregate.entries();
    let checks = entries.iter().filter_map(|entry| Some((entry, entry.remote.as_ref()?)));
    let verdicts: Vec<_> = checks
        .map(|(entry, remote)| async move {
            let verdict = check(server, entry, remote).await;
            (entry.name.clone(), verdict)
        })
        .collect();
    let mut changed = false;
    for (name, verdict) in join_all(verdicts).await {
        changed |= note(server, &name, &verdict?).await?;
    }
    if changed {
        super::settle(server).await?;
    }
    Ok(())
}

/// Writes the condition if it says something else than before.
async fn note(server: &Inner, name: &str, (available, reason, message): &Verdict) -> Result<bool> {
    let resource = known(super::local::GROUP, "apiservices");
    let Some(found) = server.find(resource, "", name).await? else { return Ok(false) };
    let mut value = found.value;
    let old = value.clone();
    conditions::set(&mut value["status"], "Available", *available, reason, message, &time::now());
    if value == old {
        return Ok(false);
    }
    crate::model::track(resource, Some(&old), &mut value, "kube-apiserver", "status");
    match server.save(resource, Expect::Revision(found.entry.revision), value).await {
        Ok(_) => Ok(true),
        Err(Error::Conflict { .. } | Error::NotFound { .. }) => {
            server.aggregate.wake.notify_one();
            Ok(false)
        }
        Err(error) => Err(storage::failed(resource, name, error)),
    }
}

async fn check(server: &Inner, entry: &Entry, remote: &Arc<Remote>) -> Result<Verdict> {
    let (namespace, name) = (&remote.namespace, &remote.name);
    let service = server.find(known("", "services"), namespace, name).await?.map(|found| found.value);
    let slices = server.all(known("discovery.k8s.io", "endpointslices"), Some(namespace)).await?;
    if let Some(verdict) = missing(remote, service.as_ref(), &slices) {
        remote.doubt();
        return Ok(verdict);
    }
    let mut last = String::new();
    let tries = (0..ATTEMPTS).map(|_| documents_of(server, entry, remote));
    let mut tries = FuturesUnordered::from_iter(tries);
    while let Some(answer) = tries.next().await {
        match answer {
            Ok(found) => {
                remote.note(found);
                return Ok((true, "Passed", "all checks passed".into()));
            }
            Err(why) => last = why,
        }
    }
    remote.doubt();
    Ok((false, "FailedDiscoveryCheck", last))
}

/// What is wrong with the service before anybody is asked. Pure.
pub fn missing(remote: &Remote, service: Option<&Value>, slices: &[Value]) -> Option<Verdict> {
    let (namespace, name, port) = (&remote.namespace, &remote.name, remote.port);
    let Some(service) = service else {
        let why = format!("service/{name} in {namespace:?} is not present");
        return Some((false, "ServiceNotFound", why));
    };
    if text(service, &["spec", "type"]) != "ClusterIP" {
        return None;
    }
    let ports = list(service, &["spec", "ports"]);
    let Some(found) = ports.iter().find(|p| p["port"].as_u64() == Some(port.into())) else {
        let why = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return Some((false, "ServicePortError", why));
    };
    let label = "kubernetes.io/service-name";
    let own = |slice: &&Value| {
        at(slice, &["metadata", "labels", label]).and_then(Value::as_str) == Some(name.as_str())
    };
    let own: Vec<&Value> = slices.iter().filter(own).collect();
    if own.is_empty() {
        let why = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return Some((false, "EndpointsNotFound", why));
    }
    let port_name = text(found, &["name"]);
    let active = |slice: &&Value| {
        list(slice, &["endpoints"]).iter().any(|e| e["conditions"]["ready"] != false)
            && list(slice, &["ports"]).iter().any(|p| text(p, &["name"]) == port_name && p["port"].is_u64())
    };
    if !own.iter().any(active) {
        let why = format!(
            "endpointslices for service/{name} in {namespace:?} have no addresses with port name {port_name:?}"
        );
        return Some((false, "MissingEndpoints", why));
    }
    None
}

/// Asks for what it serves.
async fn documents_of(server: &Inner, entry: &Entry, remote: &Arc<Remote>) -> Result<Found, String> {
    let path = format!("/apis/{}/{}", entry.group, entry.version);
    let url = format!("https://{}:{}{path}", remote.host(), remote.port);
    let document = match tokio::time::timeout(PATIENCE, get(server, remote, &path)).await {
        Ok(Ok((code, _))) if !(200..300).contains(&code) => {
            return Err(format!("failing or missing response from {url}: bad status from {url}: {code}"));
        }
        Ok(Ok((_, document))) => document,
        Ok(Err(why)) => return Err(format!("failing or missing response from {url}: {why}")),
        Err(_) => return Err(format!("timed out waiting for {url}")),
    };
    let resources = documents::resources(&document, &entry.group, &entry.version)
        .map_err(|why| format!("failing or missing response from {url}: the document is of no use: {why}"))?;
    let index = tokio::time::timeout(PATIENCE, get(server, remote, "/openapi/v3")).await;
    let openapi = match index {
        Ok(Ok((200, index))) => documents::openapi(&index, &entry.group, &entry.version),
        _ => None,
    };
    Ok(Found { resources: Some(Arc::new(resources)), current: true, openapi })
}

async fn get(server: &Inner, remote: &Arc<Remote>, path: &str) -> Result<(u16, Value), String> {
    let user = User::new("system:kube-aggregator", &["system:masters"]);
    let head = headers::request(&Method::GET, path, &http::HeaderMap::new(), &remote.host(), &user, false);
    let mut head = head.map_err(|e| e.to_string())?;
    head.headers_mut().insert(http::header::ACCEPT, http::HeaderValue::from_static("application/json"));
    let (head, ()) = head.into_parts();
    let answer = remote.send(server, Request::from_parts(head, reply::full(""))).await?;
    let code = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), LARGEST).collect().await;
    let bytes = body.map_err(|e| format!("reading the answer: {e}"))?.to_bytes();
    let value = dunlin_api::decode::parse(&bytes).map(|(value, _)| value).unwrap_or_default();
    Ok((code, value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_is_said_in_kubernetes_words() {
        let remote = Remote::new(&json!({"service": {"namespace": "n", "name": "s", "port": 443}}));
        let service =
            |port: u16| json!({"spec": {"type": "ClusterIP", "ports": [{"name": "h", "port": port}]}});
        let slice = |ready: bool| {
            json!({"metadata": {"labels": {"kubernetes.io/service-name": "s"}},
                "endpoints": [{"conditions": {"ready": ready}}], "ports": [{"name": "h", "port": 8443}]})
        };
        let reason =
            |service: Option<&Value>, slices: &[Value]| missing(&remote, service, slices).map(|v| v.1);
        assert_eq!(reason(None, &[]), Some("ServiceNotFound"));
        assert_eq!(reason(Some(&service(80)), &[]), Some("ServicePortError"));
        assert_eq!(reason(Some(&service(443)), &[json!({})]), Some("EndpointsNotFound"));
        assert_eq!(reason(Some(&service(443)), &[slice(false)]), Some("MissingEndpoints"));
        assert_eq!(reason(Some(&service(443)), &[slice(false), slice(true)]), None);
        assert_eq!(reason(Some(&json!({"spec": {"type": "ExternalName"}})), &[]), None);
    }
}
