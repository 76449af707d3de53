//! The service itself: who asks, may they, and which handler answers.
//!
//! A request passes through here once: identity, rights, then routing by what is asked. Everything that a handler needs
//! travels in a [`Call`]. Nothing here knows any particular resource.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use dunlin_base::task::Task;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use tokio::task::JoinSet;

use crate::admission::dynamic;
use crate::admission::service::Addresses;
use crate::audit::{self, About, Audit, Trail};
use crate::auth::oidc::Provider;
use crate::auth::{self, rbac::Rbac};
use crate::config::{BoxBody, BoxError, Config, User};
use crate::failure::{Failure, Result};
use crate::handlers::protobuf::encode;
use crate::metrics::Metrics;
use crate::negotiate::{self, Form};
use crate::reply::{self, Reply};
use crate::request::{self, Asked};
use crate::resources::{self, Resource};
use crate::{
    aggregate, bootstrap, components, custom, discovery, flow, handlers, others, subresource, sweep, usage,
};
use dunlin_api::query::Query;

/// The Kubernetes API as a service. Cloning is cheap; clones share everything.
#[derive(Clone)]
pub struct ApiServer {
    inner: Arc<Inner>,
    user: Option<User>,
}

/// What all clones share.
pub struct Inner {
    pub config: Config,
    pub metrics: Metrics,
    pub rbac: Rbac,
    pub addresses: Addresses,
    /// What definitions make us serve.
    pub custom: custom::Registry,
    /// What webhooks and policies are configured.
    pub dynamic: dynamic::Registry,
    /// Who serves which part of the API.
    pub aggregate: aggregate::Registry,
    /// The revision of the last change of this process that outlives it. A watch that has reached it can go on after a
    /// restart without a new list.
    pub durable: AtomicU64,
    /// Who may run at once, and who waits.
    pub flow: Arc<flow::Flow>,
    /// Issuers of others, once [`ApiServer::bootstrap`] has begun to read their keys.
    pub oidc: OnceLock<Vec<Provider>>,
    sessions: Mutex<JoinSet<()>>,
    sweeper: OnceLock<Task>,
    follower: OnceLock<Task>,
    cleaner: OnceLock<Task>,
    extensions: OnceLock<Task>,
}

/// One request to a resource, as handlers see it.
pub struct Call {
    pub server: Arc<Inner>,
    pub user: User,
    pub resource: Arc<Resource>,
    /// The namespace of the path; `None` for cluster resources and for lists over all namespaces.
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub sub: Option<String>,
    pub query: Query,
    pub headers: HeaderMap,
    pub form: Form,
    pub warnings: Vec<String>,
    /// Whether it is a patch, which Kubernetes checks in another order than a whole new state.
    pub patching: bool,
    /// What the request leaves behind. A session holds it as long as it lasts.
    pub trail: Trail,
}

impl Call {
    /// The namespace as storage keys have it.
    pub fn ns(&self) -> &str {
        self.namespace.as_deref().unwrap_or("")
    }

    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("")
    }

    /// Adds warnings that are not there yet; the same webhook may be asked several times.
    pub fn warn_once(&mut self, warnings: &[String]) {
        for warning in warnings {
            if !warning.is_empty() && !self.warnings.contains(warning) {
                self.warnings.push(warning.clone());
            }
        }
    }

    /// Whether nothing may be written.
    pub fn dry_run(&self) -> bool {
        self.query.get("dryRun").is_some()
    }

    /// Who is recorded in `managedFields`.
    pub fn manager(&self) -> String {
        if let Some(manager) = self.query.get("fieldManager") {
            return manager.to_owned();
        }
        let agent = self.headers.get(http::header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("");
        match agent.split('/').next() {
            Some("") | None => "unknown".to_owned(),
            Some(prefix) => prefix.chars().take(128).collect(),
        }
    }
}

impl ApiServer {
    /// A server over a store. Nothing is read or written before [`ApiServer::bootstrap`].
    pub fn new(config: Config) -> Self {
        let inner = Inner {
            rbac: Rbac::new(config.store.clone()),
            addresses: Addresses::new(config.service_network),
            metrics: Metrics::default(),
            durable: AtomicU64::new(0),
            oidc: OnceLock::new(),
            sessions: Mutex::new(JoinSet::new()),
            sweeper: OnceLock::new(),
            follower: OnceLock::new(),
            cleaner: OnceLock::new(),
            extensions: OnceLock::new(),
            aggregate: aggregate::Registry::default(),
            flow: Arc::default(),
            custom: custom::Registry::default(),
            dynamic: dynamic::Registry::default(),
            config,
        };
        Self { inner: Arc::new(inner), user: None }
    }

    /// The same server, asked by `user` unless a request says otherwise. For callers in this process.
    pub fn as_user(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }

    /// Makes what every cluster has (namespaces, the service `kubernetes`, default roles), and starts upkeep.
    /// May be called any number of times.
    ///
    /// # Errors
    /// When the store refuses to be read or written; the message says at which object.
    pub async fn bootstrap(&self) -> Result<(), BootstrapError> {
        self.inner.addresses.rebuild(&self.inner).await.map_err(|f| BootstrapError(f.message))?;
        bootstrap::run(&self.inner).await.map_err(|f| BootstrapError(f.message))?;
        custom::settle(&self.inner).await.map_err(|f| BootstrapError(f.message))?;
        let issuers = &self.inner.config.oidc;
        self.inner.oidc.get_or_init(|| issuers.iter().cloned().map(Provider::start).collect());
        dynamic::settle(&self.inner).await.map_err(|f| BootstrapError(f.message))?;
        flow::settle(&self.inner).await.map_err(|f| BootstrapError(f.message))?;
        let weak = Arc::downgrade(&self.inner);
        self.inner
            .cleaner
            .get_or_init(|| Task::spawn("definition cleanup", custom::cleanup::run(weak.clone())));
        self.inner.extensions.get_or_init(|| aggregate::watch(&self.inner));
        if self.inner.config.store.is_shared() {
            self.inner.follower.get_or_init(|| Task::spawn("other servers", others::run(weak.clone())));
        }
        self.inner.sweeper.get_or_init(|| Task::spawn("event sweep", sweep::run(weak)));
        Ok(())
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Answers one request.
    pub async fn handle(&self, mut request: Request<BoxBody>) -> Reply {
        let started = Instant::now();
        let query = Query::parse(request.uri().query().unwrap_or(""));
        let asked = request::parse(request.method(), request.uri().path(), &query);
        let _running = self.inner.metrics.enter();
        if let Some(user) = &self.user
            && request.extensions().get::<User>().is_none()
        {
            request.extensions_mut().insert(user.clone());
        }
        let syntax =
            negotiate::form(request.headers(), true).map_or(negotiate::Syntax::Json, |form| form.syntax);
        let id = audit::id(request.headers());
        let mut left = Left::default();
        let answer = match &self.inner.config.audit {
            None => route(&self.inner, request, &asked, query, &mut left).await,
            Some(audit) => followed(&self.inner, audit, request, &asked, query, &id, &mut left).await,
        };
        let mut reply = match answer {
            Ok(reply) => reply,
            Err(failure) => {
                if failure.code >= 500 {
                    tracing::warn!(code = failure.code, message = %failure.message, "request failed");
                }
                reply::failure(&failure, syntax)
            }
        };
        if let Some(class) = &left.class {
            class.mark(&mut reply);
        }
        let mut reply = left.trail.answered(reply).await;
        reply.headers_mut().insert(audit::HEADER, id);
        self.inner.metrics.done(&asked, reply.status().as_u16(), started.elapsed());
        reply
    }
}

/// What a request leaves behind on its way to the answer.
#[derive(Default)]
struct Left {
    trail: Trail,
    /// By which schema and level it was judged.
    class: Option<flow::Class>,
}

/// Bootstrapping failed.
#[derive(Debug, thiserror::Error)]
#[error("bootstrapping the API failed: {0}")]
pub struct BootstrapError(String);

impl<B> tower::Service<Request<B>> for ApiServer
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<BoxBody>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<std::result::Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let server = self.clone();
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        Box::pin(async move { Ok(server.handle(request).await) })
    }
}

impl Inner {
    /// The resource at `/apis/{group}/{version}/{plural}`.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        resources::find(group, version, plural).cloned().or_else(|| self.custom.find(group, version, plural))
    }

    /// The newest revision that has to be told to those who want to go on after a restart.
    pub fn durable(&self) -> u64 {
        // What others write outlives this process as well, and everything in a shared store does.
        let store = &self.config.store;
        if store.is_shared() { store.revision() } else { self.durable.load(Ordering::Acquire) }
    }

    /// Runs a session that outlives its request (an upgraded stream) until it ends or the server is dropped.
    pub fn run<F>(&self, session: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut sessions = self.sessions.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        while sessions.try_join_next().is_some() {}
        sessions.spawn(session);
    }
}

/// Answers a request of which a trail may be wanted: who makes it has to be known first.
async fn followed(
    inner: &Arc<Inner>,
    audit: &Arc<Audit>,
    mut request: Request<BoxBody>,
    asked: &Asked,
    query: Query,
    id: &HeaderValue,
    left: &mut Left,
) -> Result<Reply> {
    let about = About::of(&request, id.clone());
    let path = request.uri().path().to_owned();
    let known = request.extensions().get::<User>().cloned();
    let user = match auth::authenticate(inner, known, request.headers()).await {
        Ok(user) => user,
        Err(_) if discovery::is_public(request.method(), &path) => auth::anonymous(),
        Err(failure) => {
            let trail = Trail::begin(audit, &about, None, asked, &path);
            let tried = request.headers().contains_key(http::header::AUTHORIZATION);
            let how = if tried {
                "Authentication failed, attempted: bearer"
            } else {
                "Authentication failed, no credentials provided"
            };
            trail.refused(how).await;
            return Err(failure);
        }
    };
    left.trail = Trail::begin(audit, &about, Some(&user), asked, &path);
    let trail = &left.trail;
    trail.received().await;
    if trail.is_on() && discovery::is_public(request.method(), &path) {
        // Whoever may not act as another still gets these pages.
        let other = auth::impersonate(inner, user.clone(), request.headers(), trail).await;
        auth::note(inner, &other.unwrap_or_else(|_| user.clone()), asked, &path, trail, true).await?;
    }
    request.extensions_mut().insert(user);
    route(inner, request, asked, query, left).await
}

async fn route(
    inner: &Arc<Inner>,
    request: Request<BoxBody>,
    asked: &Asked,
    query: Query,
    left: &mut Left,
) -> Result<Reply> {
    let path = request.uri().path().to_owned();
    if let Some(reply) = discovery::public(inner, request.method(), &path, &query) {
        return Ok(reply);
    }
    let known = request.extensions().get::<User>().cloned();
    let user = auth::authenticate(inner, known, request.headers()).await?;
    let user = auth::impersonate(inner, user, request.headers(), &left.trail).await?;
    // The place is kept until the answer is there to be sent.
    let mut _place = None;
    left.class = inner.flow.classify(&user, asked, &path);
    if let Some(class) = left.class.as_ref().filter(|_| !flow::is_session(asked, query.flag("follow"))) {
        _place = match inner.flow.enter(class, inner.config.limits.request / 4).await {
            Ok(place) => place,
            Err(_) => return Ok(flow::refusal()),
        };
    }
    authorized(inner, request, asked, query, user, &left.trail).await
}

/// What follows once it is settled who asks and that it is his turn.
async fn authorized(
    inner: &Arc<Inner>,
    request: Request<BoxBody>,
    asked: &Asked,
    query: Query,
    user: User,
    trail: &Trail,
) -> Result<Reply> {
    let path = request.uri().path().to_owned();
    auth::decide(inner, &user, asked, &path, trail).await?;
    if let Some((entries, at)) = inner.aggregate.serving(&path) {
        return aggregate::proxy::forward(inner, &entries[at], request, asked, &user).await;
    }
    if !asked.is_resource {
        return discovery::answer(inner, request.method(), &path, request.headers(), &query).await;
    }
    let resource = inner.resource(&asked.group, &asked.version, &asked.resource).ok_or_else(|| {
        // Of a group that is served even what is not there is told apart from a page that nobody has.
        let served = resources::of(&inner.custom.all(), &asked.group, &asked.version).next().is_some();
        if served { Failure::no_path() } else { Failure::no_page() }
    })?;
    let sub = match asked.sub.as_deref() {
        Some(name) => Some(resource.sub(name).ok_or_else(Failure::no_path)?),
        None => None,
    };
    if resource.namespaced != asked.namespace.is_some() && !resource.is("", "namespaces") {
        let across = resource.namespaced
            && asked.sub.is_none()
            && (asked.name.is_none() || matches!(asked.verb, "list" | "watch" | "deletecollection"));
        if !across {
            return Err(Failure::no_path());
        }
        let only_asks = asked.verb == "create" && !resource.is_stored();
        if !only_asks && !matches!(asked.verb, "list" | "watch") {
            return Err(Failure::method_not_allowed());
        }
    }
    if *request.method() == Method::HEAD {
        return Err(Failure::method_not_allowed());
    }
    let verbs = sub.map_or(resource.verbs, |s| s.verbs);
    if !verbs.contains(&asked.verb) {
        return Err(Failure::method_not_allowed());
    }
    let wants_name = matches!(asked.verb, "get" | "update" | "patch" | "delete");
    if (asked.verb == "create" && asked.name.is_some() && sub.is_none())
        || (wants_name && asked.name.is_none())
    {
        return Err(Failure::method_not_allowed());
    }
    let namespaced = resource.namespaced;
    let (api_version, kind) = match sub {
        Some(sub) if sub.group.is_empty() => (sub.version.to_string(), sub.kind.to_string()),
        Some(sub) => (format!("{}/{}", sub.group, sub.version), sub.kind.to_string()),
        None => (resource.api_version(), resource.kind.to_string()),
    };
    let protobuf = resource.custom.is_none() && encode::writes(&api_version, &kind);
    let mut call = Call {
        server: inner.clone(),
        user,
        warnings: resource.deprecation().map(str::to_owned).into_iter().collect(),
        resource,
        namespace: if namespaced { asked.namespace.clone() } else { None },
        name: asked.name.clone(),
        sub: asked.sub.clone(),
        query,
        form: Form::JSON,
        headers: HeaderMap::new(),
        patching: asked.verb == "patch",
        trail: trail.clone(),
    };
    if !call.warnings.is_empty() || call.resource.custom.as_ref().is_some_and(|c| c.warning.is_some()) {
        trail.annotate("k8s.io/deprecated", "true");
    }
    if asked.sub.as_deref() == Some("proxy") {
        call.headers = request.headers().clone();
        return subresource::stream(call, request).await;
    }
    if let Some("exec" | "attach" | "portforward") = asked.sub.as_deref() {
        // A WebSocket begins with GET, so that the right to `get` would be enough to run commands. As in Kubernetes since
        // 1.35, a session needs the right to `create` whatever begins it.
        let create = Asked { verb: "create", ..asked.clone() };
        auth::authorize(inner, &call.user, &create, &path).await?;
        call.headers = request.headers().clone();
        return subresource::stream(call, request).await;
    }
    let (parts, body) = request.into_parts();
    call.headers = parts.headers;
    call.form = negotiate::form(&call.headers, protobuf)?;
    let body = read(body, inner.config.limits.body, &parts.method).await?;
    let patient = asked.verb == "watch" || asked.sub.as_deref() == Some("log");
    let answer = dispatch(&mut call, asked.verb, body);
    let answered = if patient {
        answer.await
    } else {
        let late = |_| {
            Err(Failure::new(
                504,
                "Timeout",
                "the server was unable to return a response in the time allotted",
            ))
        };
        tokio::time::timeout(inner.config.limits.request, answer).await.unwrap_or_else(late)
    };
    if let Some(warning) = call.resource.custom.as_ref().and_then(|c| c.warning.clone()) {
        call.warnings.push(warning.into());
    }
    // Who is refused is told all the same what is deprecated.
    let mut reply = answered.unwrap_or_else(|failure| reply::failure(&failure, call.form.syntax));
    for warning in reply::shortened(&call.warnings) {
        reply::warn(&mut reply, &warning);
    }
    Ok(reply)
}

async fn dispatch(call: &mut Call, verb: &str, body: Bytes) -> Result<Reply> {
    let reply = answer(call, verb, body).await?;
    if matches!(verb, "get" | "list" | "watch") {
        return Ok(reply);
    }
    if call.resource.stored == custom::STORED {
        custom::settle(&call.server).await?;
    }
    if call.resource.group == dynamic::GROUP {
        dynamic::settle(&call.server).await?;
    }
    aggregate::written(&call.server, &call.resource).await?;
    if call.resource.group == flow::GROUP {
        flow::settle(&call.server).await?;
    }
    Ok(reply)
}

async fn answer(call: &mut Call, verb: &str, body: Bytes) -> Result<Reply> {
    if call.sub.is_some() {
        return subresource::answer(call, verb, body).await;
    }
    if call.resource.group == usage::GROUP {
        return usage::answer(call, verb).await;
    }
    if call.resource.is("", "componentstatuses") {
        return components::answer(call, verb).await;
    }
    if !call.resource.is_stored() {
        return auth::reviews::answer(call, body).await;
    }
    match verb {
        "get" => handlers::get::get(call).await,
        "list" => handlers::list::list(call).await,
        "watch" => handlers::watch::watch(call).await,
        "create" => handlers::create::create(call, body).await,
        "update" => handlers::update::update(call, body).await,
        "patch" => handlers::patch::patch(call, body).await,
        "delete" => handlers::delete::delete(call, body).await,
        "deletecollection" => handlers::delete_collection::delete_collection(call, body).await,
        _ => Err(Failure::method_not_allowed()),
    }
}

async fn read(mut body: BoxBody, limit: usize, method: &Method) -> Result<Bytes> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(Bytes::new());
    }
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|e| Failure::bad_request(format!("reading the request body failed: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > limit {
            let text = format!("Request entity too large: limit is {limit}");
            return Err(Failure::new(413, "RequestEntityTooLarge", text));
        }
        all.extend_from_slice(&data);
    }
    Ok(Bytes::from(all))
}
