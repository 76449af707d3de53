//! Talks to an external scheduler: POSTs of JSON to `filter`, `prioritize` and `bind` below its URL.
//!
//! A 404 says that it does not do that; any other trouble is an error, and then nobody decides in its place. It is not
//! trusted: it has limited time, and its answers have limited length.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dunlin_control::model::Pod;
use dunlin_control::scheduler::external::{self, Answers};
use http::{StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use kube::Client;
use serde_json::Value;
use tokio::net::TcpStream;

/// For one request with its answer; kube-scheduler's default for extenders.
const PATIENCE: Duration = Duration::from_secs(5);
/// A filter may send back every node it was offered, as whole objects.
const LONGEST: usize = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot connect to {url}; is it running?")]
    Connect {
        url: Uri,
        #[source]
        source: std::io::Error,
    },
    #[error("POST {url} failed")]
    Http {
        url: Uri,
        #[source]
        source: hyper::Error,
    },
    #[error("POST {url} was not answered within {} s", PATIENCE.as_secs())]
    Late { url: Uri },
    #[error("POST {url} was answered with status {status}")]
    Status { url: Uri, status: StatusCode },
    #[error("the answer to POST {url} broke off or is longer than {LONGEST} bytes")]
    Body { url: Uri },
    #[error("the answer to POST {url} is no JSON")]
    Json {
        url: Uri,
        #[source]
        source: serde_json::Error,
    },
    #[error("{0}")]
    Answer(String),
    #[error("nothing answers at {0}/filter and {0}/prioritize; is the path right?")]
    Absent(Uri),
    #[error("what it is to be told could not be read from the API")]
    Api(#[source] Box<kube::Error>),
}

pub struct Extender {
    url: Uri,
    client: Client,
}

impl Extender {
    pub fn new(url: Uri, client: Client) -> Self {
        Self { url, client }
    }

    /// What it says about the nodes that are offered for the pod.
    pub async fn ask(&self, pod: &Pod, offered: &[Arc<str>]) -> Result<Answers, Error> {
        let meta = &pod.metadata;
        let pod = self.get(&format!("/api/v1/namespaces/{}/pods/{}", meta.namespace, meta.name)).await?;
        let mut nodes = self.get("/api/v1/nodes").await?;
        let mut nodes = nodes["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        nodes.retain(|node| {
            let name = node["metadata"]["name"].as_str();
            offered.iter().any(|offered| Some(&**offered) == name)
        });

        let mut answers = Answers::default();
        if let Some(answer) = post(&self.url, "filter", &external::arguments(&pod, &nodes)).await? {
            let filtered = external::read_filter(&answer).map_err(Error::Answer)?;
            nodes.retain(|node| {
                filtered.nodes.contains(node["metadata"]["name"].as_str().unwrap_or_default())
            });
            answers.filter = Some(filtered);
        }
        if answers.filter.is_some() && nodes.is_empty() {
            return Ok(answers);
        }
        if let Some(answer) = post(&self.url, "prioritize", &external::arguments(&pod, &nodes)).await? {
            answers.priorities = Some(external::read_priorities(&answer).map_err(Error::Answer)?);
        }
        match answers == Answers::default() {
            true => Err(Error::Absent(self.url.clone())),
            false => Ok(answers),
        }
    }

    /// Whether it bound the pod itself.
    pub async fn bind(&self, pod: &Pod, node: &str) -> Result<bool, Error> {
        let Some(answer) = post(&self.url, "bind", &external::binding(pod, node)).await? else {
            return Ok(false);
        };
        external::read_binding(&answer).map_err(Error::Answer)?;
        Ok(true)
    }

    async fn get(&self, path: &str) -> Result<Value, Error> {
        let request =
            http::Request::get(path).body(Vec::new()).expect("paths are made of names that the server gave");
        self.client.request(request).await.map_err(|error| Error::Api(Box::new(error)))
    }
}

async fn post(base: &Uri, verb: &str, body: &Value) -> Result<Option<Value>, Error> {
    let base = base.to_string();
    let url: Uri = format!("{}/{verb}", base.trim_end_matches('/')).parse().expect("a word after a URL");
    match tokio::time::timeout(PATIENCE, exchange(&url, body)).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::Late { url }),
    }
}

async fn exchange(url: &Uri, body: &Value) -> Result<Option<Value>, Error> {
    let host = url.host().unwrap_or_default();
    let address = (host.trim_matches(['[', ']']), url.port_u16().unwrap_or(80));
    let connect = |source| Error::Connect { url: url.clone(), source };
    let stream = TcpStream::connect(address).await.map_err(connect)?;
    let failed = |source| Error::Http { url: url.clone(), source };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let request = http::Request::post(url.path())
        .header(header::HOST, url.authority().map_or(host, |authority| authority.as_str()))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close")
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("the URL was read as one");
    let answer = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            return Err(Error::Status { url: url.clone(), status });
        }
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        let body = body.map_err(|_| Error::Body { url: url.clone() })?.to_bytes();
        // Some bind handlers answer success with nothing.
        let text = if body.is_empty() { &b"null"[..] } else { &body };
        let json = serde_json::from_slice(text);
        json.map(Some).map_err(|source| Error::Json { url: url.clone(), source })
    };
    // The connection has no task of its own: it is driven here, and ends with the exchange.
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answered = &mut answer => return answered,
        ended = &mut connection => ended.map_err(failed)?,
    }
    // What was received before it ended is still to be read.
    answer.await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_ends() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let error = post(&url.parse().expect("a URL"), "filter", &Value::Null).await.expect_err("no answer");
        assert_eq!(error.to_string(), format!("POST {url}filter was not answered within 5 s"));
    }
}
