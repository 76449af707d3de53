//! Streams between a caller and a pod of this node.

use dunlin_node::NodeService;
use dunlin_streams::{BoxBody, Far, Refusal};
use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use http_body_util::BodyExt;

/// How much of a refusal is read, in bytes.
const LONGEST: usize = 64 << 10;

/// A pod or container of this node, as the node's own paths name it.
pub struct Local {
    pub service: NodeService,
    pub node: String,
    /// `/v1/pods/...`.
    pub path: String,
}

impl Local {
    /// Asks the node's own paths.
    pub async fn ask(&self, method: Method, tail: &str, body: BoxBody) -> Result<Response<BoxBody>, Refusal> {
        let uri = format!("http://node{}/{tail}", self.path);
        let request = Request::builder().method(method).uri(uri).body(body).map_err(Refusal::internal)?;
        let response = self.service.handle(request).await;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refused(response).await)
    }
}

impl Far for Local {
    fn call(&self, tail: String, body: BoxBody) -> BoxFuture<'_, Result<Response<BoxBody>, Refusal>> {
        Box::pin(async move { self.ask(Method::POST, &tail, body).await })
    }

    fn node(&self) -> &str {
        &self.node
    }
}

/// What a status says.
async fn refused(response: Response<BoxBody>) -> Refusal {
    let code = response.status().as_u16();
    let mut stream = response.into_body();
    let mut body = Vec::new();
    while let Some(Ok(frame)) = stream.frame().await {
        body.extend_from_slice(frame.data_ref().map(|data| &data[..]).unwrap_or_default());
        if body.len() > LONGEST {
            break;
        }
    }
    let status: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let message = status["message"].as_str().unwrap_or("the node has refused this");
    let reason = if code == 404 {
        "NotFound"
    } else if code == 400 {
        "BadRequest"
    } else {
        "InternalError"
    };
    Refusal::new(code, reason, message)
}
