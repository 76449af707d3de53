//! The kubelet's API: each path, what is asked of the node for it, and how a kubelet words what is wrong.
//!
//! Callers name pods by namespace and name; the API server dials here for logs and sessions, scrapers for numbers.
//! Refusals are plain text, as a kubelet's are: the API server passes them on to people.

use std::sync::{Arc, Mutex, PoisonError};

use dunlin_api::query::{Query, decode, encode};
use dunlin_node::{ExecOptions, NodeService, Output, PodRef, Session};
use dunlin_pki::Subject;
use dunlin_streams::{BoxBody, Refusal, Started, body, exec, portforward};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::attributes;
use crate::auth::{Auth, Refused};
use crate::streaming::Local;
use crate::{metrics, pods};

/// The most output of `/run` that is given back, bytes.
const OUTPUT: usize = 1 << 20;
/// Sessions at once.
const SESSIONS: usize = 256;

/// What is told of the node itself.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its name.
    pub node: String,
    /// Its configuration, in the words of a kubelet's, for `/configz`.
    pub configuration: Value,
}

/// The service; cheap to clone.
#[derive(Clone)]
pub struct Kubelet(Arc<Inner>);

struct Inner {
    service: NodeService,
    auth: Auth,
    facts: Facts,
    sessions: Mutex<JoinSet<()>>,
}

type Answer = Result<Response<BoxBody>, Refusal>;

impl Kubelet {
    /// Serves what `service` has; `client` is whom callers' rights are asked of.
    pub fn new(service: NodeService, client: Client, facts: Facts) -> Self {
        let auth = Auth::new(client, &facts.node);
        Self(Arc::new(Inner { service, auth, facts, sessions: Mutex::default() }))
    }

    /// Answers one request. `peer` is whom the certificate names that TLS has verified.
    pub async fn handle(&self, request: Request<BoxBody>, peer: Option<Subject>) -> Response<BoxBody> {
        let wanted = attributes::of(request.method(), request.uri().path());
        let headers = request.headers().clone();
        let admitted = async {
            let user = self.0.auth.authenticate(peer, &headers).await?;
            self.0.auth.authorize(&user, &wanted).await
        };
        match admitted.await {
            Ok(()) => {}
            Err(Refused::Unauthorized) => return text(401, "Unauthorized"),
            Err(Refused::Forbidden(why)) => return text(403, why),
            Err(Refused::Unknown(why)) => return text(500, why),
        }
        match self.route(request).await {
            Ok(response) => response,
            Err(refusal) => {
                let mut response = text(refusal.code, refusal.message.clone());
                refusal.mark(response.headers_mut());
                response
            }
        }
    }

    async fn route(&self, mut request: Request<BoxBody>) -> Answer {
        let path: Vec<String> =
            request.uri().path().trim_matches('/').split('/').map(|part| decode(part, false)).collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let calls = matches!(*request.method(), Method::GET | Method::POST);
        let service = &self.0.service;
        match path.as_slice() {
            ["healthz"] | ["healthz", "ping" | "log" | "syncloop"] if reads => Ok(text(200, "ok")),
            ["pods"] if reads => Ok(json(&pods::list(service, |_| true))),
            ["runningpods"] if reads => Ok(json(&pods::list(service, pods::runs))),
            ["configz"] if reads => {
                Ok(json(&serde_json::json!({"kubeletconfig": self.0.facts.configuration})))
            }
            ["stats", "summary"] | ["stats"] if reads => {
                let summary = service.summary().await.map_err(of_node)?;
                Ok(json(&metrics::summary(summary, &self.0.facts.node)))
            }
            ["metrics", "resource"] if reads => {
                let readings = service.backend().usage().await.map_err(of_node)?;
                let now = Timestamp::now().as_millisecond();
                Ok(numbers(metrics::resource(&readings, &service.backend().pods(), now)))
            }
            ["metrics"] if reads => {
                let resident = resident();
                Ok(numbers(metrics::own(&self.0.facts.node, &service.backend().pods(), resident)))
            }
            ["containerLogs", namespace, pod, container] if reads => {
                self.logs(namespace, pod, container, &query).await
            }
            ["exec" | "attach", namespace, pod, container] if calls => {
                self.session(path[0] == "exec", (namespace, pod, None, container), &query, &mut request).await
            }
            ["exec" | "attach", namespace, pod, uid, container] if calls => {
                let of = (*namespace, *pod, Some(*uid), *container);
                self.session(path[0] == "exec", of, &query, &mut request).await
            }
            ["portForward", namespace, pod] if calls => {
                self.forward(namespace, pod, None, &query, &mut request)
            }
            ["portForward", namespace, pod, uid] if calls => {
                self.forward(namespace, pod, Some(uid), &query, &mut request)
            }
            ["run", namespace, pod, container] if *request.method() == Method::POST => {
                self.run(namespace, pod, None, container, &query).await
            }
            ["run", namespace, pod, uid, container] if *request.method() == Method::POST => {
                self.run(namespace, pod, Some(uid), container, &query).await
            }
            _ => Err(Refusal::new(404, "NotFound", "404 page not found\n")),
        }
    }

    fn local(&self, pod: &Pod, container: Option<&str>) -> Local {
        let PodRef { namespace, name, uid } = PodRef::of(pod);
        let mut path = format!("/v1/pods/{}/{}/{}", encode(&namespace), encode(&name), encode(&uid));
        if let Some(container) = container {
            path.push_str(&format!("/containers/{}", encode(container)));
        }
        Local { service: self.0.service.clone(), node: self.0.facts.node.clone(), path }
    }

    async fn logs(&self, namespace: &str, pod: &str, container: &str, query: &Query) -> Answer {
        let missing = || Refusal::new(404, "NotFound", format!("pod {pod:?} does not exist\n"));
        let found = pods::find(&self.0.service, namespace, pod, None).ok_or_else(missing)?;
        if !pods::has_container(&found, container) {
            let why = format!("container {container:?} not found in pod {pod:?}\n");
            return Err(Refusal::new(404, "NotFound", why));
        }
        const PASSED: [&str; 8] = [
            "follow",
            "tailLines",
            "sinceSeconds",
            "sinceTime",
            "timestamps",
            "previous",
            "limitBytes",
            "stream",
        ];
        let passed = PASSED.iter().filter_map(|name| Some(format!("{name}={}", encode(query.get(name)?))));
        let tail = format!("log?{}", passed.collect::<Vec<_>>().join("&"));
        self.local(&found, Some(container)).ask(Method::GET, &tail, body::full("")).await
    }

    async fn session(
        &self,
        exec: bool,
        (namespace, pod, uid, container): (&str, &str, Option<&str>, &str),
        query: &Query,
        request: &mut Request<BoxBody>,
    ) -> Answer {
        let found = pods::find(&self.0.service, namespace, pod, uid).ok_or_else(no_pod)?;
        let words = || query.all("command").map(str::to_owned).collect();
        let asked = exec::Asked {
            command: exec.then(words),
            stdin: query.flag("input"),
            stdout: query.flag("output"),
            stderr: query.flag("error"),
            tty: query.flag("tty"),
        };
        if !asked.stdin && !asked.stdout && !asked.stderr {
            return Err(Refusal::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
        }
        self.upgradable(request)?;
        let far = Arc::new(self.local(&found, Some(container)));
        self.begin(exec::start(asked, far, request).await?)
    }

    fn forward(
        &self,
        namespace: &str,
        pod: &str,
        uid: Option<&str>,
        query: &Query,
        request: &mut Request<BoxBody>,
    ) -> Answer {
        let found = pods::find(&self.0.service, namespace, pod, uid).ok_or_else(no_pod)?;
        self.upgradable(request)?;
        let far = Arc::new(self.local(&found, None));
        let PodRef { name, uid, .. } = PodRef::of(&found);
        let asked = portforward::Asked { name: &name, uid: &uid, ports: query.all("port") };
        self.begin(portforward::start(asked, far, request)?)
    }

    fn upgradable(&self, request: &Request<BoxBody>) -> Result<(), Refusal> {
        match dunlin_streams::wanted(request.headers()) {
            true => Ok(()),
            false => Err(Refusal::bad_request("unable to upgrade: missing upgrade headers in request")),
        }
    }

    /// Runs a session beside the connection's other requests.
    fn begin(&self, started: Started) -> Answer {
        let mut sessions = self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        while sessions.try_join_next().is_some() {}
        if sessions.len() >= SESSIONS {
            return Err(Refusal::new(
                503,
                "ServiceUnavailable",
                format!("{SESSIONS} sessions run on this node already"),
            ));
        }
        sessions.spawn(started.session);
        Ok(started.answer)
    }

    async fn run(
        &self,
        namespace: &str,
        pod: &str,
        uid: Option<&str>,
        container: &str,
        query: &Query,
    ) -> Answer {
        let found = pods::find(&self.0.service, namespace, pod, uid).ok_or_else(no_pod)?;
        let command: Vec<String> = query
            .get("cmd")
            .unwrap_or_default()
            .split(' ')
            .filter(|w| !w.is_empty())
            .map(str::to_owned)
            .collect();
        if command.is_empty() {
            return Err(Refusal::bad_request("query parameter \"cmd\" is required: what to run"));
        }
        let options = ExecOptions { command, stdout: true, stderr: true, ..ExecOptions::default() };
        let of = dunlin_node::ContainerRef { pod: PodRef::of(&found), container: container.to_owned() };
        let Session { input, mut output } =
            self.0.service.backend().exec(of, options).await.map_err(of_node)?;
        let mut said: Vec<u8> = Vec::new();
        while let Some(piece) = output.recv().await {
            match piece {
                Output::Stdout(bytes) | Output::Stderr(bytes) => {
                    said.extend_from_slice(&bytes[..bytes.len().min(OUTPUT - said.len())]);
                }
                Output::Exited(0) => break,
                Output::Exited(code) => {
                    let said = String::from_utf8_lossy(&said).into_owned();
                    return Err(Refusal::new(
                        500,
                        "InternalError",
                        format!("command exited with {code}: {said}"),
                    ));
                }
                Output::Failed(why) => return Err(Refusal::new(500, "InternalError", why)),
            }
        }
        drop(input);
        let mut response = text(200, "");
        *response.body_mut() = body::full(said);
        Ok(response)
    }
}

fn no_pod() -> Refusal {
    Refusal::new(404, "NotFound", "pod does not exist")
}

fn of_node(error: dunlin_node::ServeError) -> Refusal {
    Refusal::new(error.code, error.reason, error.message)
}

fn with_type(code: u16, kind: &'static str, body: BoxBody) -> Response<BoxBody> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn text(code: u16, text: impl Into<String>) -> Response<BoxBody> {
    with_type(code, "text/plain; charset=utf-8", body::full(text.into()))
}

fn json(value: &Value) -> Response<BoxBody> {
    with_type(200, "application/json", body::full(value.to_string()))
}

fn numbers(text: String) -> Response<BoxBody> {
    with_type(200, "text/plain; version=0.0.4; charset=utf-8", body::full(text))
}

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
