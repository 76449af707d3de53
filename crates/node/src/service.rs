//! The node's HTTP paths: logs, exec, attach, port-forward and what is used, called by the API server through the tunnel.
//!
//! Whoever may call this service was decided above; it trusts its caller and checks only that the pod's uid matches,
//! which the backend does.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use dunlin_api::query::{Query, decode};
use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};

use crate::backend::{ContainerRef, ExecOptions, LogOptions, PodBackend, PodRef, ServeError, WrittenTo};
use crate::body::{self, BoxBody, BoxError};
use crate::meter::Meter;
use crate::streams;

/// The service; cheap to clone. It is a hyper service and, by [`NodeService::handle`], a plain function.
#[derive(Clone)]
pub struct NodeService {
    backend: Arc<dyn PodBackend>,
    meter: Arc<Meter>,
}

impl NodeService {
    /// Serves what `backend` runs.
    pub fn new(backend: Arc<dyn PodBackend>) -> Self {
        Self { backend, meter: Arc::default() }
    }

    /// What runs the pods.
    pub fn backend(&self) -> &Arc<dyn PodBackend> {
        &self.backend
    }

    /// What the node and its pods use, as `/stats/summary` has it.
    ///
    /// # Errors
    /// When the backend cannot measure.
    pub async fn summary(&self) -> Result<serde_json::Value, ServeError> {
        self.meter.summary(&*self.backend).await
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<BoxBody>) -> Response<BoxBody> {
        match self.route(request).await {
            Ok(response) => response,
            Err(error) => refuse(&error),
        }
    }

    async fn route(&self, request: Request<BoxBody>) -> Result<Response<BoxBody>, ServeError> {
        let (head, body) = request.into_parts();
        let path: Vec<String> = head.uri.path().split('/').skip(1).map(|part| decode(part, false)).collect();
        let query = Query::parse(head.uri.query().unwrap_or(""));
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match (&head.method, path.as_slice()) {
            (&Method::GET, ["healthz"]) => Ok(Response::new(body::full("ok"))),
            (&Method::GET, ["stats", "summary"]) => {
                let summary = self.summary().await?;
                let mut response = Response::new(body::full(summary.to_string()));
                let json = http::HeaderValue::from_static("application/json");
                response.headers_mut().insert("content-type", json);
                Ok(response)
            }
            (&Method::GET, ["v1", "pods", namespace, pod, uid, "containers", container, "log"]) => {
                let options = log_options(&query)?;
                let log = self.backend.logs(container_ref(namespace, pod, uid, container), options).await?;
                let mut response = Response::new(body::channel(log));
                response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain"));
                Ok(response)
            }
            (&Method::POST, ["v1", "pods", namespace, pod, uid, "containers", container, "exec"]) => {
                let options = exec_options(&query);
                if options.command.is_empty() {
                    return Err(ServeError::bad_request(
                        "you must specify at least one command for the container",
                    ));
                }
                let session =
                    self.backend.exec(container_ref(namespace, pod, uid, container), options.clone()).await?;
                Ok(Response::new(streams::session(session, options, body)))
            }
            (&Method::POST, ["v1", "pods", namespace, pod, uid, "containers", container, "attach"]) => {
                let options = exec_options(&query);
                let session = self
                    .backend
                    .attach(container_ref(namespace, pod, uid, container), options.clone())
                    .await?;
                Ok(Response::new(streams::session(session, options, body)))
            }
            (&Method::POST, ["v1", "pods", namespace, pod, uid, "portforward", port]) => {
                let port: u16 = port
                    .parse()
                    .map_err(|_| ServeError::bad_request(format!("port {port:?} is no port number")))?;
                let connection = self.backend.port_forward(pod_ref(namespace, pod, uid), port).await?;
                Ok(Response::new(streams::connection(connection, body)))
            }
            _ => Err(ServeError::not_found("the server could not find the requested resource")),
        }
    }
}

impl<B> hyper::service::Service<Request<B>> for NodeService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<BoxBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<BoxBody>, Infallible>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        let request = request.map(|b| b.map_err(Into::into).boxed_unsync());
        Box::pin(async move { Ok(service.handle(request).await) })
    }
}

/// An error as a response with a `metav1.Status`.
pub fn refuse(error: &ServeError) -> Response<BoxBody> {
    let status = dunlin_api::status::Status::failure(error.code, error.reason, error.message.clone());
    let mut response = Response::new(body::full(serde_json::to_vec(&status).unwrap_or_default()));
    *response.status_mut() =
        http::StatusCode::from_u16(error.code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}

fn pod_ref(namespace: &str, pod: &str, uid: &str) -> PodRef {
    PodRef { namespace: namespace.to_owned(), name: pod.to_owned(), uid: uid.to_owned() }
}

fn container_ref(namespace: &str, pod: &str, uid: &str, container: &str) -> ContainerRef {
    ContainerRef { pod: pod_ref(namespace, pod, uid), container: container.to_owned() }
}

fn number(query: &Query, name: &str) -> Result<Option<u64>, ServeError> {
    match query.get(name) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            ServeError::bad_request(format!("{name}={text:?} is no whole number of zero or more"))
        }),
    }
}

fn log_options(query: &Query) -> Result<LogOptions, ServeError> {
    let mut since = match query.get("sinceTime") {
        None => None,
        Some(text) => Some(
            text.parse::<Timestamp>()
                .map_err(|_| ServeError::bad_request(format!("sinceTime={text:?} is no RFC 3339 time")))?,
        ),
    };
    if let Some(seconds) = number(query, "sinceSeconds")? {
        let ago = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX / 2));
        since = Timestamp::now().checked_sub(ago).ok();
    }
    let written_to = match query.get("stream") {
        None | Some("All") => None,
        Some("Stdout") => Some(WrittenTo::Stdout),
        Some("Stderr") => Some(WrittenTo::Stderr),
        Some(other) => {
            return Err(ServeError::bad_request(format!("stream={other:?} is none of All, Stdout, Stderr")));
        }
    };
    Ok(LogOptions {
        written_to,
        follow: query.flag("follow"),
        tail_lines: number(query, "tailLines")?,
        since,
        timestamps: query.flag("timestamps"),
        previous: query.flag("previous"),
        limit_bytes: number(query, "limitBytes")?,
    })
}

fn exec_options(query: &Query) -> ExecOptions {
    let tty = query.flag("tty");
    ExecOptions {
        command: query.all("command").map(str::to_owned).collect(),
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr") && !tty,
        tty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_queries() {
        let query = Query::parse("command=sh&command=-c&command=echo%20a%26b&stdin=true&tty=false&stdout=1");
        let options = exec_options(&query);
        assert_eq!(options.command, ["sh", "-c", "echo a&b"]);
        assert!(options.stdin && options.stdout && !options.tty && !options.stderr);
        assert!(log_options(&Query::parse("tailLines=-1")).is_err());
        let log = log_options(&Query::parse("follow=true&tailLines=5&sinceTime=2026-01-01T00:00:00Z"))
            .expect("options");
        assert!(log.follow && log.tail_lines == Some(5) && log.since.is_some());
    }
}
