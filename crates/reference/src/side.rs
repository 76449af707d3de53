//! One of the two that are compared: something that answers calls to the Kubernetes API.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;

/// How long an answer may take. Watches are asked for with an end of their own.
const PATIENCE: Duration = Duration::from_secs(20);

/// An API and a client for it. Calls are made on the network on which the calling thread is.
pub struct Side {
    /// What to call it in a report.
    pub name: &'static str,
    client: kube::Client,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status code.
    pub code: u16,
    /// `Content-Type`, as sent.
    pub media_type: String,
    /// The `Warning` headers, in their order.
    pub warnings: Vec<String>,
    /// The body: one JSON value, for a watch the array of its events, or a string if it is no JSON.
    pub body: Value,
}

impl Side {
    /// A client with the administrator's `kubeconfig`.
    ///
    /// # Errors
    /// When the file does not make a client.
    pub async fn new(name: &'static str, kubeconfig: &Path) -> Result<Self> {
        let read = Kubeconfig::read_from(kubeconfig).with_context(|| kubeconfig.display().to_string())?;
        let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        Ok(Self { name, client: kube::Client::try_from(config)? })
    }

    /// Sends one request and reads all of its answer.
    ///
    /// # Errors
    /// When there is none.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: String,
    ) -> Result<Answer> {
        let mut request = http::Request::builder().method(method).uri(path);
        // The manager of fields is named after the client.
        request = request.header("user-agent", "corpus/1");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let sent = self.client.send(request.body(Body::from(body.into_bytes()))?);
        let silent = || format!("{} does not answer {method} {path}", self.name);
        let answer = tokio::time::timeout(PATIENCE, sent).await.with_context(silent)?.with_context(silent)?;
        let (head, body) = answer.into_parts();
        let text = |name: &str| -> Vec<String> {
            let values = head.headers.get_all(name).iter();
            values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
        };
        let whole = tokio::time::timeout(PATIENCE, body.collect()).await.with_context(silent)??;
        let bytes = whole.to_bytes();
        Ok(Answer {
            code: head.status.as_u16(),
            media_type: text("content-type").join(", "),
            warnings: text("warning"),
            body: decode(&bytes),
        })
    }
}

fn decode(bytes: &[u8]) -> Value {
    let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_slice(bytes).into_iter().collect();
    match values {
        Ok(mut one) if one.len() == 1 => one.remove(0),
        Ok(many) if !many.is_empty() => Value::Array(many),
        _ => Value::String(String::from_utf8_lossy(bytes).into_owned()),
    }
}
