//! Who asks, and may they.
//!
//! Identity comes from a request extension (callers of this process, verified certificates) or from a bearer token.
//! Rights are asked of a chain: the first [`Authorizer`] that says yes decides; if none does, the answer is no.

pub mod bootstrap_token;
pub mod escalation;
pub mod node;
pub mod oidc;
pub mod rbac;
pub mod reviews;
pub mod service_account;

use std::sync::Arc;

use dunlin_api::names::user::{GROUP_BOOTSTRAPPERS, GROUP_RENEWAL};
use futures_util::future::BoxFuture;
use http::{HeaderMap, header};
use serde_json::json;

use crate::audit::Trail;
use crate::config::User;
use crate::failure::{Failure, Result};
use crate::request::Asked;
use crate::server::Inner;

/// One way of deciding.
pub trait Authorizer: Sync {
    /// Whether `user` may do what is asked. `path` matters only for what is not a resource.
    fn allows<'a>(&'a self, user: &'a User, asked: &'a Asked, path: &'a str) -> BoxFuture<'a, Result<bool>>;
}

struct Masters;
struct Bootstrappers;

impl Authorizer for Masters {
    fn allows<'a>(&'a self, user: &'a User, _: &'a Asked, _: &'a str) -> BoxFuture<'a, Result<bool>> {
        let all =
            user.in_group("system:masters") || user.name.starts_with("system:serviceaccount:kube-system:");
        Box::pin(async move { Ok(all) })
    }
}

impl Authorizer for Bootstrappers {
    fn allows<'a>(&'a self, user: &'a User, asked: &'a Asked, _: &'a str) -> BoxFuture<'a, Result<bool>> {
        let csr = asked.group == "certificates.k8s.io" && asked.resource == "certificatesigningrequests";
        let verb = matches!(asked.verb, "create" | "get" | "list" | "watch") && asked.sub.is_none();
        let asks = user.in_group(GROUP_BOOTSTRAPPERS) || user.in_group(GROUP_RENEWAL);
        let yes = asks && csr && verb;
        Box::pin(async move { Ok(yes) })
    }
}

/// Finds out who makes the request, by himself: as whom he acts, [`impersonate`] says.
pub async fn authenticate(server: &Arc<Inner>, known: Option<User>, headers: &HeaderMap) -> Result<User> {
    let mut user = match known {
        Some(user) => user,
        None => {
            let bearer = headers
                .get(header::AUTHORIZATION)
                .and_then(|v| v.to_str().ok())
                .and_then(|v| v.strip_prefix("Bearer ").or_else(|| v.strip_prefix("bearer ")))
                .ok_or_else(Failure::unauthorized)?;
            token(server, bearer.trim(), &[]).await?.ok_or_else(Failure::unauthorized)?
        }
    };
    authenticated(&mut user);
    Ok(user)
}

/// Who nobody knows, as Kubernetes names him.
pub fn anonymous() -> User {
    User::new("system:anonymous", &["system:unauthenticated"])
}

fn authenticated(user: &mut User) {
    if !user.in_group("system:authenticated") && user.name != "system:anonymous" {
        user.groups.push("system:authenticated".to_owned());
    }
}

/// The user that a bearer token stands for, `None` if it stands for nobody.
pub async fn token(server: &Inner, token: &str, audiences: &[String]) -> Result<Option<User>> {
    for known in &server.config.tokens {
        if same(known.token.as_bytes(), token.as_bytes()) {
            return Ok(Some(known.user.clone()));
        }
    }
    if let Some((id, secret)) = bootstrap_token::split(token) {
        return bootstrap_token::user(server, id, secret).await;
    }
    // Issuers of others know nothing of audiences but the API.
    if audiences.is_empty() || audiences.contains(&server.config.issuer_url) {
        let providers = server.oidc.get().map_or(&[][..], Vec::as_slice);
        if let Some(mut user) = oidc::user(providers, token).await {
            authenticated(&mut user);
            return Ok(Some(user));
        }
    }
    service_account::user(server, token, audiences).await
}

/// Compares without telling by its duration where the difference is.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

/// Whom the headers name.
fn impersonated(headers: &HeaderMap) -> Result<Option<User>> {
    let values = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|v| v.to_str().ok().map(str::to_owned)).collect()
    };
    let mut user = User {
        name: values("impersonate-user").into_iter().next().unwrap_or_default(),
        groups: values("impersonate-group"),
        uid: values("impersonate-uid").into_iter().next().unwrap_or_default(),
        ..User::default()
    };
    for name in headers.keys() {
        if let Some(key) = name.as_str().strip_prefix("impersonate-extra-") {
            user.extra.insert(dunlin_api::query::decode(key, false).to_lowercase(), values(name.as_str()));
        }
    }
    if user.name.is_empty() {
        if user.groups.is_empty() && user.uid.is_empty() && user.extra.is_empty() {
            return Ok(None);
        }
        let groups: Vec<String> = user.groups.iter().map(|g| format!("{g:?}")).collect();
        let groups =
            if groups.is_empty() { "(nil)".to_owned() } else { format!("{{{}}}", groups.join(", ")) };
        return Err(Failure::bad_request(format!(
            "requested &user.DefaultInfo{{Name:\"\", UID:{:?}, Groups:[]string{groups}, Extra:map[string][]string(nil)}} \
             without impersonating a user name",
            user.uid
        )));
    }
    Ok(Some(user))
}

/// `kubectl --as`: the user acts as another, if it has the right to each part of that.
pub async fn impersonate(
    server: &Arc<Inner>,
    user: User,
    headers: &HeaderMap,
    trail: &Trail,
) -> Result<User> {
    const IDENTITY: &str = "authentication.k8s.io";
    let Some(mut other) = impersonated(headers)? else { return Ok(user) };
    let asked = |group: &str, resource: &str, name: &str| Asked {
        verb: "impersonate",
        is_resource: true,
        group: group.to_owned(),
        resource: resource.to_owned(),
        name: Some(name.to_owned()),
        version: "v1".to_owned(),
        ..Asked::default()
    };
    let account = service_account::named(&other.name);
    let mut wanted = vec![match account {
        Some((namespace, name)) => {
            Asked { namespace: Some(namespace.to_owned()), ..asked("", "serviceaccounts", name) }
        }
        None => asked("", "users", &other.name),
    }];
    wanted.extend(other.groups.iter().map(|group| asked("", "groups", group)));
    if !other.uid.is_empty() {
        wanted.push(asked(IDENTITY, "uids", &other.uid));
    }
    for (key, values) in &other.extra {
        let one = |value: &String| Asked { sub: Some(key.clone()), ..asked(IDENTITY, "userextras", value) };
        wanted.extend(values.iter().map(one));
    }
    for asked in &wanted {
        authorize(server, &user, asked, "").await?;
    }
    if let Some((namespace, _)) = account
        && other.groups.is_empty()
    {
        other.groups = service_account::groups(namespace);
    }
    authenticated(&mut other);
    trail.impersonated(&other);
    Ok(other)
}

/// Whether the user may do it.
pub async fn allowed(server: &Inner, user: &User, asked: &Asked, path: &str) -> Result<bool> {
    let node = node::NodeAuthorizer { server };
    let chain: [&dyn Authorizer; 4] = [&Masters, &Bootstrappers, &node, &server.rbac];
    for authorizer in chain {
        if authorizer.allows(user, asked, path).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Refuses with Kubernetes' words if the user may not.
pub async fn authorize(server: &Inner, user: &User, asked: &Asked, path: &str) -> Result<()> {
    if allowed(server, user, asked, path).await? { Ok(()) } else { Err(forbidden(user, asked, path)) }
}

/// Refuses or lets through, and leaves in the trail what was decided, and why.
pub async fn decide(server: &Inner, user: &User, asked: &Asked, path: &str, trail: &Trail) -> Result<()> {
    let decided = authorize(server, user, asked, path).await;
    if trail.is_on() {
        note(server, user, asked, path, trail, decided.is_ok()).await?;
    }
    decided
}

/// Leaves in the trail what was decided, and why.
pub async fn note(
    server: &Inner,
    user: &User,
    asked: &Asked,
    path: &str,
    trail: &Trail,
    allowed: bool,
) -> Result<()> {
    let why = if allowed { reason(server, user, asked, path).await? } else { None };
    trail.annotate("authorization.k8s.io/decision", if allowed { "allow" } else { "forbid" });
    trail.annotate("authorization.k8s.io/reason", why.unwrap_or_default());
    Ok(())
}

/// Why a user may do what is asked, if it is a binding that says so.
pub async fn reason(server: &Inner, user: &User, asked: &Asked, path: &str) -> Result<Option<String>> {
    if user.in_group("system:masters") {
        return Ok(None);
    }
    Ok(server.rbac.policy().await?.why(user, asked, path))
}

fn forbidden(user: &User, asked: &Asked, path: &str) -> Failure {
    if !asked.is_resource {
        let text = format!("forbidden: User {:?} cannot {} path {path:?}", user.name, asked.verb);
        let mut failure = Failure::new(403, "Forbidden", text);
        failure.details = Some(Box::new(json!({})));
        return failure;
    }
    let qualified = match asked.group.as_str() {
        "" => asked.resource.clone(),
        group => format!("{}.{group}", asked.resource),
    };
    let named = match &asked.name {
        Some(name) => format!("{qualified} {name:?}"),
        None => qualified,
    };
    let resource = match &asked.sub {
        Some(sub) => format!("{}/{sub}", asked.resource),
        None => asked.resource.clone(),
    };
    let place = match &asked.namespace {
        Some(namespace) => format!("in the namespace {namespace:?}"),
        None => "at the cluster scope".to_owned(),
    };
    let text = format!(
        "{named} is forbidden: User {:?} cannot {} resource {resource:?} in API group {:?} {place}",
        user.name, asked.verb, asked.group
    );
    let mut failure = Failure::new(403, "Forbidden", text);
    failure.details =
        Some(Box::new(json!({"name": asked.name, "group": asked.group, "kind": asked.resource})));
    failure
}
