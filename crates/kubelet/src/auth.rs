//! Who calls, and whether they may: the API server is asked for both, except about certificates of its own client CA.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dunlin_base::error::chain;
use dunlin_pki::Subject;
use http::HeaderMap;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};

use crate::attributes::Attributes;
use crate::cached::Cached;

/// How long the API server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an accepted token is not asked about again; kubelet's default.
const ACCEPTED: Duration = Duration::from_secs(120);
/// How long a permission holds, and a refusal; kubelet's defaults.
const ALLOWED: Duration = Duration::from_secs(300);
const REFUSED: Duration = Duration::from_secs(30);
/// Callers that are remembered.
const REMEMBERED: usize = 256;
/// The longest token that is looked at, bytes.
const TOKEN: usize = 16 << 10;

/// Somebody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl From<Subject> for User {
    fn from(subject: Subject) -> Self {
        Self { name: subject.user, groups: subject.groups, ..Self::default() }
    }
}

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Nobody knows who it is.
    Unauthorized,
    /// Not allowed; the text says what.
    Forbidden(String),
    /// Nobody could be asked; the text says about what.
    Unknown(String),
}

/// Asks the API server.
pub struct Auth {
    client: Client,
    node: String,
    /// By the token's digest.
    users: Cached<String, User>,
    verdicts: Cached<(User, Attributes), bool>,
}

impl Auth {
    pub fn new(client: Client, node: &str) -> Self {
        let (users, verdicts) = (Cached::new(REMEMBERED), Cached::new(4 * REMEMBERED));
        Self { client, node: node.to_owned(), users, verdicts }
    }

    /// Who it is: the owner of the certificate that TLS has verified, else of the token.
    pub async fn authenticate(&self, peer: Option<Subject>, headers: &HeaderMap) -> Result<User, Refused> {
        if let Some(peer) = peer {
            return Ok(peer.into());
        }
        let header = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let token =
            token.filter(|token| !token.is_empty() && token.len() <= TOKEN).ok_or(Refused::Unauthorized)?;
        let digest = dunlin_pki::tls::fingerprint(token.as_bytes());
        if let Some(user) = self.users.get(&digest, Instant::now()) {
            return Ok(user);
        }
        let user = self.review(token).await.ok_or(Refused::Unauthorized)?;
        self.users.keep(digest, user.clone(), ACCEPTED, Instant::now());
        Ok(user)
    }

    async fn review(&self, token: &str) -> Option<User> {
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let spec = TokenReviewSpec { token: token.to_owned(), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let params = PostParams::default();
        let status = match tokio::time::timeout(PATIENCE, api.create(&params, &review)).await {
            Ok(Ok(review)) => review.status?,
            Ok(Err(error)) => {
                tracing::warn!(error = chain(&error), "the API server cannot be asked about a token");
                return None;
            }
            Err(_) => return None,
        };
        let user = status.user.filter(|_| status.authenticated == Some(true))?;
        Some(User {
            name: user.username.unwrap_or_default(),
            uid: user.uid.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        })
    }

    /// Lets `user` do what `wanted` says, or says why not.
    pub async fn authorize(&self, user: &User, wanted: &Attributes) -> Result<(), Refused> {
        let key = (user.clone(), wanted.clone());
        let now = Instant::now();
        let allowed = match self.verdicts.get(&key, now) {
            Some(verdict) => verdict,
            None => {
                let allowed = self.ask(user, wanted).await?;
                self.verdicts.keep(key, allowed, if allowed { ALLOWED } else { REFUSED }, Instant::now());
                allowed
            }
        };
        if allowed { Ok(()) } else { Err(Refused::Forbidden(told("Forbidden", user, wanted))) }
    }

    async fn ask(&self, user: &User, wanted: &Attributes) -> Result<bool, Refused> {
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        for part in wanted.parts {
            let spec = SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: Some(user.uid.clone()).filter(|uid| !uid.is_empty()),
                groups: Some(groups(user)),
                extra: Some(user.extra.clone()).filter(|extra| !extra.is_empty()),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(wanted.verb.to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some("nodes".to_owned()),
                    subresource: Some((*part).to_owned()),
                    name: Some(self.node.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            };
            let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
            let params = PostParams::default();
            match tokio::time::timeout(PATIENCE, api.create(&params, &review)).await {
                Ok(Ok(review)) if review.status.as_ref().is_some_and(|status| status.allowed) => {
                    return Ok(true);
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(
                        error = chain(&error),
                        "the API server cannot be asked what a caller may do"
                    );
                    return Err(Refused::Unknown(told("Authorization error", user, wanted)));
                }
                Err(_) => return Err(Refused::Unknown(told("Authorization error", user, wanted))),
            }
        }
        Ok(false)
    }
}

/// A caller with a certificate is somebody, which the API server says of those with tokens itself.
fn groups(user: &User) -> Vec<String> {
    const SOMEBODY: &str = "system:authenticated";
    let mut groups = user.groups.clone();
    if !groups.iter().any(|group| group == SOMEBODY) {
        groups.push(SOMEBODY.to_owned());
    }
    groups
}

fn told(what: &str, user: &User, wanted: &Attributes) -> String {
    let Attributes { verb, parts } = wanted;
    format!("{what} (user={}, verb={verb}, resource=nodes, subresource(s)={parts:?})\n", user.name)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{HeaderValue, Method, Request, Response};
    use http_body_util::BodyExt;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;
    use crate::attributes;

    /// An API server that knows the token `good` of jane, who may read metrics and pods; what it was asked is noted.
    fn api(asked: Arc<Mutex<Vec<String>>>) -> Client {
        let service = tower::service_fn(move |request: Request<Body>| {
            let asked = asked.clone();
            async move {
                let tokens = request.uri().path().ends_with("tokenreviews");
                let body = request.into_body().collect().await.expect("a body").to_bytes();
                let mut review: Value = serde_json::from_slice(&body).expect("JSON");
                if tokens {
                    asked.lock().expect("a lock").push("token".to_owned());
                    let good = review["spec"]["token"] == "good";
                    review["status"] =
                        json!({"authenticated": good, "user": {"username": "jane", "groups": ["g"]}});
                } else {
                    let of = &review["spec"]["resourceAttributes"];
                    let part = of["subresource"].as_str().unwrap_or_default().to_owned();
                    if part == "log" {
                        return Err("the link is down");
                    }
                    asked.lock().expect("a lock").push(format!("{} {part} of {}", of["verb"], of["name"]));
                    let jane = review["spec"]["user"] == "jane";
                    review["status"] = json!({"allowed": jane && matches!(&*part, "metrics" | "pods")});
                }
                Ok(Response::new(Body::from(review.to_string().into_bytes())))
            }
        });
        Client::new(service, "default")
    }

    #[tokio::test]
    async fn callers_are_asked_about_once() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let auth = Auth::new(api(asked.clone()), "one");
        let bearer = |token: &str| {
            let value = HeaderValue::from_str(token).expect("a header");
            HeaderMap::from_iter([(http::header::AUTHORIZATION, value)])
        };
        for headers in [HeaderMap::new(), bearer("Basic good"), bearer("Bearer "), bearer("Bearer bad")] {
            assert_eq!(auth.authenticate(None, &headers).await, Err(Refused::Unauthorized), "{headers:?}");
        }
        let jane = auth.authenticate(None, &bearer("Bearer good")).await.expect("jane");
        assert_eq!((&*jane.name, &jane.groups[..]), ("jane", &["g".to_owned()][..]));
        assert_eq!(auth.authenticate(None, &bearer("bearer good")).await, Ok(jane.clone()));
        assert_eq!(asked.lock().expect("a lock").drain(..).collect::<Vec<_>>(), ["token", "token"]);
        // A certificate needs nobody's word.
        let peer = Subject { user: "john".into(), groups: Vec::new() };
        let john = auth.authenticate(Some(peer), &bearer("Bearer good")).await.expect("john");
        assert_eq!(john.name, "john");

        let may =
            async |user: &User, path: &str| auth.authorize(user, &attributes::of(&Method::GET, path)).await;
        assert_eq!(may(&jane, "/pods").await, Ok(()));
        assert_eq!(may(&jane, "/pods").await, Ok(()), "this time from memory");
        let refused = may(&jane, "/configz").await;
        let text =
            "Forbidden (user=jane, verb=get, resource=nodes, subresource(s)=[\"configz\", \"proxy\"])\n";
        assert_eq!(refused, Err(Refused::Forbidden(text.to_owned())));
        assert!(matches!(may(&john, "/metrics").await, Err(Refused::Forbidden(_))));
        assert!(matches!(may(&jane, "/logs/").await, Err(Refused::Unknown(_))), "nobody could be asked");
        let order = [
            "\"get\" pods of \"one\"",
            "\"get\" configz of \"one\"",
            "\"get\" proxy of \"one\"",
            "\"get\" metrics of \"one\"",
        ];
        assert_eq!(*asked.lock().expect("a lock"), order);
    }
}
