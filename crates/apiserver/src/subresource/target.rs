//! Which pod or container on which node a log or a session is about.

use dunlin_api::query::encode;
use dunlin_streams::{Far, Refusal};
use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use serde_json::Value;

use crate::config::{BoxBody, DialError};
use crate::failure::{Failure, Result};
use crate::object::{self, at, list, text};
use crate::server::Call;

/// How much of a node's refusal is read, in bytes.
const LONGEST: usize = 64 << 10;

/// A pod that has a node, or a container of one.
pub struct Target {
    pub node: String,
    /// The pod's uid.
    pub uid: String,
    /// `/v1/pods/{namespace}/{pod}/{uid}`, and `/containers/{container}` for a container.
    pub path: String,
}

impl Target {
    /// Finds the container of the call.
    pub async fn of(call: &Call) -> Result<Self> {
        let pod = call.server.read(&call.resource, call.ns(), call.name()).await?.value;
        let container = container(&pod, call.query.get("container"))?;
        let mut target = Self::new(call, &pod)?;
        target.path.push_str(&format!("/containers/{}", encode(&container)));
        Ok(target)
    }

    /// As [`Target::of`]; `None` while the pod has no node.
    pub async fn placed(call: &Call) -> Result<Option<Self>> {
        let pod = call.server.read(&call.resource, call.ns(), call.name()).await?.value;
        let placed = !text(&pod, &["spec", "nodeName"]).is_empty();
        container(&pod, call.query.get("container"))?;
        if placed { Self::of(call).await.map(Some) } else { Ok(None) }
    }

    /// Finds the pod of the call.
    pub async fn pod(call: &Call) -> Result<Self> {
        let pod = call.server.read(&call.resource, call.ns(), call.name()).await?.value;
        Self::new(call, &pod)
    }

    fn new(call: &Call, pod: &Value) -> Result<Self> {
        let node = text(pod, &["spec", "nodeName"]);
        if node.is_empty() {
            return Err(Failure::bad_request(format!("pod {} does not have a host assigned", call.name())));
        }
        let uid = object::uid(pod);
        Ok(Self {
            node: node.to_owned(),
            uid: uid.to_owned(),
            path: format!("/v1/pods/{}/{}/{}", encode(call.ns()), encode(call.name()), encode(uid)),
        })
    }

    /// Calls the node; a failure of the node's own becomes ours.
    pub async fn call(
        &self,
        call: &Call,
        method: Method,
        tail: &str,
        body: BoxBody,
    ) -> Result<Response<BoxBody>> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://node{}/{tail}", self.path))
            .body(body)
            .map_err(Failure::internal)?;
        let response = call.server.config.dialer.call(&self.node, request).await.map_err(|e| match &e {
            DialError::NotConnected(node) => Failure::unavailable(format!(
                "node {node:?} is not connected to this server; it cannot be asked for logs or sessions until it is back"
            )),
            DialError::Call { .. } => {
                Failure::new(502, "ServiceUnavailable", dunlin_base::error::chain(&e).to_string())
            }
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refused(response).await)
    }
}

/// A target with the call that leads to it.
pub struct Called {
    pub call: Call,
    pub target: Target,
}

impl Far for Called {
    fn call(&self, tail: String, body: BoxBody) -> BoxFuture<'_, Result<Response<BoxBody>, Refusal>> {
        Box::pin(async move {
            self.target.call(&self.call, Method::POST, &tail, body).await.map_err(Refusal::from)
        })
    }

    fn node(&self) -> &str {
        &self.target.node
    }
}

async fn refused(response: Response<BoxBody>) -> Failure {
    let code = response.status().as_u16();
    let mut stream = response.into_body();
    let mut body = Vec::new();
    while let Some(Ok(frame)) = stream.frame().await {
        body.extend_from_slice(frame.data_ref().map(|d| &d[..]).unwrap_or_default());
        if body.len() > LONGEST {
            break;
        }
    }
    let status: Value = serde_json::from_slice(&body).unwrap_or_default();
    let message = match text(&status, &["message"]) {
        "" => String::from_utf8_lossy(&body).into_owned(),
        message => message.to_owned(),
    };
    let reason = match code {
        400 => "BadRequest",
        404 => "NotFound",
        409 => "Conflict",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    Failure::new(code, reason, message)
}

/// The wanted container, or the only one, or the default one. Pure.
pub fn container(pod: &Value, wanted: Option<&str>) -> Result<String> {
    let names = |field: &str| -> Vec<&str> {
        list(pod, &["spec", field]).iter().map(|c| text(c, &["name"])).collect()
    };
    let (plain, init) = (names("containers"), names("initContainers"));
    let pod_name = object::name(pod);
    if let Some(wanted) = wanted {
        let extra = names("ephemeralContainers");
        if plain.iter().chain(&init).chain(&extra).any(|n| *n == wanted) {
            return Ok(wanted.to_owned());
        }
        return Err(Failure::bad_request(format!("container {wanted} is not valid for pod {pod_name}")));
    }
    let default = at(pod, &["metadata", "annotations", "kubectl.kubernetes.io/default-container"])
        .and_then(Value::as_str);
    if let Some(default) = default.filter(|d| plain.contains(d)) {
        return Ok(default.to_owned());
    }
    if let [only] = plain.as_slice() {
        return Ok((*only).to_owned());
    }
    let mut text = format!(
        "a container name must be specified for pod {pod_name}, choose one of: [{}]",
        plain.join(" ")
    );
    if !init.is_empty() {
        text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
    }
    Err(Failure::bad_request(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_container_needs_no_name_and_two_do() {
        let one = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}});
        assert_eq!(container(&one, None).unwrap(), "a");
        let two = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        assert_eq!(
            container(&two, None).unwrap_err().message,
            "a container name must be specified for pod p, choose one of: [a b]"
        );
        assert_eq!(container(&two, Some("c")).unwrap_err().message, "container c is not valid for pod p");
    }
}
