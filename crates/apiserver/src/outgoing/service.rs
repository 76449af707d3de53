//! The way to a Service: a ready pod of it, through its node's tunnel.

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::{Method, Request};
use http_body_util::{BodyDataStream, BodyExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::io::StreamReader;

use super::connection::{Raw, dial};
use crate::config::BoxError;
use crate::object::{self, at, list, text};
use crate::reply;
use crate::resources::known;
use crate::server::Inner;
use dunlin_api::query::encode;

/// Bytes on their way to the pod.
const BUFFER: usize = 64 << 10;

/// A connection to a port of a service: to one of its ready endpoints.
///
/// # Errors
/// What went wrong, in words.
pub async fn connect(server: &Inner, namespace: &str, name: &str, port: u16) -> Result<Raw, String> {
    let service = server.find(known("", "services"), namespace, name).await.map_err(|f| f.message)?;
    let service = service.ok_or_else(|| format!("service {name:?} not found"))?.value;
    if text(&service, &["spec", "type"]) == "ExternalName" {
        return dial(text(&service, &["spec", "externalName"]), port).await;
    }
    let ports = list(&service, &["spec", "ports"]);
    let wanted = ports.iter().find(|p| p["port"].as_u64() == Some(port.into()));
    let wanted = wanted.ok_or_else(|| format!("the service {namespace}/{name} has no port {port}"))?;
    let slices = server.all(known("discovery.k8s.io", "endpointslices"), Some(namespace)).await;
    let slices = slices.map_err(|f| f.message)?;
    let of_service = |s: &&Value| {
        at(s, &["metadata", "labels", "kubernetes.io/service-name"]).and_then(Value::as_str) == Some(name)
    };
    let mut why = format!("the service {namespace}/{name} has no ready endpoint");
    for slice in slices.iter().filter(of_service) {
        let port_name = text(wanted, &["name"]);
        let found = list(slice, &["ports"]).iter().find(|p| text(p, &["name"]) == port_name);
        let Some(number) = found.and_then(|p| p["port"].as_u64()).and_then(|p| u16::try_from(p).ok()) else {
            continue;
        };
        for endpoint in list(slice, &["endpoints"]).iter().filter(|e| e["conditions"]["ready"] != false) {
            let attempt = if text(endpoint, &["targetRef", "kind"]) == "Pod" {
                pod(server, namespace, text(endpoint, &["targetRef", "name"]), number).await
            } else {
                match list(endpoint, &["addresses"]).first().and_then(Value::as_str) {
                    Some(address) => dial(address, number).await,
                    None => continue,
                }
            };
            match attempt {
                Ok(connection) => return Ok(connection),
                Err(error) => why = error,
            }
        }
    }
    Err(why)
}

/// A connection to a port of a pod.
async fn pod(server: &Inner, namespace: &str, name: &str, port: u16) -> Result<Raw, String> {
    let pod = server.find(known("", "pods"), namespace, name).await.map_err(|f| f.message)?;
    let pod = pod.ok_or_else(|| format!("the pod {namespace}/{name} is gone"))?.value;
    let node = text(&pod, &["spec", "nodeName"]);
    let (ours, theirs) = tokio::io::duplex(BUFFER);
    let (from_us, mut to_us) = tokio::io::split(theirs);
    let body = futures_util::stream::unfold(from_us, |mut from| async move {
        let mut piece = vec![0; 16 << 10];
        match from.read(&mut piece).await {
            Ok(0) | Err(_) => None,
            Ok(n) => {
                piece.truncate(n);
                Some((Ok::<Bytes, BoxError>(piece.into()), from))
            }
        }
    });
    let path = format!(
        "/v1/pods/{}/{}/{}/portforward/{port}",
        encode(namespace),
        encode(name),
        encode(object::uid(&pod))
    );
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://node{path}"))
        .body(reply::stream(body))
        .map_err(|e| e.to_string())?;
    let response = server.config.dialer.call(node, request).await;
    let response = response.map_err(|e| dunlin_base::error::chain(&e).to_string())?;
    if !response.status().is_success() {
        let status = response.status();
        return Err(format!("the node {node:?} cannot forward to the pod {namespace}/{name}: {status}"));
    }
    server.run(async move {
        let stream = BodyDataStream::new(response.into_body().map_err(std::io::Error::other));
        let mut reader = StreamReader::new(stream.map_err(std::io::Error::other));
        let _ = tokio::io::copy(&mut reader, &mut to_us).await;
        let _ = to_us.shutdown().await;
    });
    Ok(Box::pin(ours))
}
