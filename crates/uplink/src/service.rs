//! What the parent calls through the tunnel: offers are answered here, and everything about a pod is passed on to the
//! machine that runs its mirror, as it comes, so that any depth works the same.

use std::sync::Arc;

use dunlin_api::names::label;
use dunlin_api::offer::{self, Answer, Answers, Offer};
use dunlin_node::ServeError;
use dunlin_node::body::{self, BoxBody};
use dunlin_node::service::refuse;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};

use crate::plan::{daemon, offer as offered, references};
use crate::priority;
use crate::uplink::Shared;

/// Calls a node of this cluster; the error is for people.
pub type Dial = Arc<
    dyn Fn(&str, Request<BoxBody>) -> BoxFuture<'static, Result<Response<BoxBody>, String>> + Send + Sync,
>;

/// The service; cheap to clone.
#[derive(Clone)]
pub struct UplinkService {
    shared: Arc<Shared>,
}

impl UplinkService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<BoxBody>) -> Response<BoxBody> {
        let path = request.uri().path().to_owned();
        let answer = match path.split('/').skip(1).collect::<Vec<_>>().as_slice() {
            ["healthz"] => Ok(Response::new(body::full("ok"))),
            ["v1", "offers"] if request.method() == Method::POST => self.offers(request).await,
            ["v1", "pods", _, _, uid, ..] => self.pass_on(uid, request).await,
            _ => Err(ServeError::not_found("the server could not find the requested resource")),
        };
        answer.unwrap_or_else(|error| refuse(&error))
    }

    async fn offers(&self, request: Request<BoxBody>) -> Result<Response<BoxBody>, ServeError> {
        let wrong = |why: String| ServeError::bad_request(why);
        let mut stream = request.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = stream.frame().await {
            let frame = frame.map_err(|e| wrong(format!("reading the offer: {e}")))?;
            bytes.extend_from_slice(frame.data_ref().map(|data| &data[..]).unwrap_or_default());
            if bytes.len() > offer::LARGEST {
                return Err(wrong(format!("an offer has at most {} bytes", offer::LARGEST)));
            }
        }
        let offer: Offer =
            serde_json::from_slice(&bytes).map_err(|e| wrong(format!("the offer is malformed: {e}")))?;
        if offer.pods.len() > offer::MOST {
            return Err(wrong(format!("an offer has at most {} pods", offer::MOST)));
        }
        let mut answers: Vec<Option<Answer>> = Vec::with_capacity(offer.pods.len());
        let mut asked = Vec::new();
        for pod in offer.pods {
            let read = serde_json::from_value::<Pod>(pod).map_err(|e| format!("the pod is malformed: {e}"));
            let settled = match read {
                Ok(pod) => self.settle(pod).await,
                Err(why) => Err(why),
            };
            let made = match settled {
                Ok(pod) => self.as_mirror(&pod).await,
                Err(why) => Err(why),
            };
            match made {
                Ok(mirror) => {
                    asked.push(mirror);
                    answers.push(None);
                }
                Err(reason) => answers.push(Some(Answer::Refused { reason })),
            }
        }
        let seconds = offer.seconds.min(offer::LONGEST);
        let found = self.shared.scheduler.reserve(asked, seconds).await;
        let mut found = found.ok_or_else(|| unavailable("the cluster is ending".into()))?.into_iter();
        let none = || Answer::Refused { reason: "the cluster gave no answer".into() };
        let answers =
            answers.into_iter().map(|answer| answer.or_else(|| found.next()).unwrap_or_else(none)).collect();
        let body = serde_json::to_vec(&Answers { answers }).unwrap_or_default();
        let mut response = Response::new(body::full(body));
        response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
        Ok(response)
    }

    /// The pod on the claims that are here.
    async fn settle(&self, mut pod: Pod) -> Result<Pod, String> {
        if self.shared.daemon_owner(&pod).is_some()
            && let Some(claim) = references::claims(&pod).first()
        {
            return Err(daemon::no_claims(claim));
        }
        let settled = self.shared.claims.settle(&mut pod).await;
        settled.map(|()| pod).map_err(|e| format!("looking for its claims: {e}"))
    }

    /// The pod as it would be made here, with what its priority class stands for here.
    async fn as_mirror(&self, pod: &Pod) -> Result<serde_json::Value, String> {
        let mut mirror = offered::as_mirror(&self.shared.config.level, pod);
        if let (Some(upper), Some(spec)) = (&pod.spec, &mut mirror.spec) {
            let set = priority::set(&self.shared, upper, spec, true).await;
            set.map_err(|e| format!("reading its priority class: {}", dunlin_base::error::chain(&e)))?;
        }
        serde_json::to_value(&mirror).map_err(|e| e.to_string())
    }

    /// Sends the request on to where the pod's mirror runs.
    async fn pass_on(&self, uid: &str, request: Request<BoxBody>) -> Result<Response<BoxBody>, ServeError> {
        let (mirror, owner) = {
            let state = self.shared.lock();
            let upper = state.uppers.get(uid);
            let owner = upper.and_then(|pod| self.shared.daemon_owner(pod)).map(|owner| owner.uid.clone());
            (state.mirrors.get(uid).cloned(), owner)
        };
        let mirror = match (mirror, owner) {
            (Some(mirror), _) => mirror,
            (None, Some(owner)) => Arc::new(self.only_daemon(&owner).await?),
            (None, None) => {
                return Err(ServeError::not_found(format!("no pod of uid {uid:?} runs in this cluster")));
            }
        };
        let node = mirror.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        if node.is_empty() {
            return Err(ServeError::bad_request("the pod has no machine in its cluster yet"));
        }
        let (mut head, body) = request.into_parts();
        head.uri = below(&head.uri, &mirror).map_err(|e| ServeError::bad_request(e.to_string()))?;
        let unreachable = |why| unavailable(format!("machine {node:?}: {why}"));
        (self.shared.dial)(&node, Request::from_parts(head, body)).await.map_err(unreachable)
    }

    /// The one pod of a DaemonSet, if there is just one: nobody can follow several logs at once.
    async fn only_daemon(&self, owner: &str) -> Result<Pod, ServeError> {
        let api: Api<Pod> = Api::all(self.shared.child.clone());
        let params = ListParams::default().labels(&format!("{}={owner}", label::DAEMON_OF));
        let internal = |e: kube::Error| ServeError::internal(dunlin_base::error::chain(&e));
        let mut pods = api.list(&params).await.map_err(internal)?.items;
        // A label alone proves nothing: its pods are those that the DaemonSet made here controls.
        let set = self.shared.lock().daemons.get(owner).and_then(|set| set.metadata.uid.clone());
        pods.retain(|pod| daemon::owner(pod).is_some_and(|of| Some(&of.uid) == set.as_ref()));
        if pods.len() == 1 {
            return Ok(pods.remove(0));
        }
        Err(ServeError::bad_request(several(&self.shared.config.level.node, &pods)))
    }
}

/// What a person does who asked for a pod that is several.
fn several(cluster: &str, pods: &[Pod]) -> String {
    /// Names of so many; a person reads no more.
    const SHOWN: usize = 20;
    let of = |pod: &Pod| {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let node = pod.spec.as_ref().map(|spec| text(&spec.node_name)).unwrap_or_default();
        format!("{} (-n {} {})", node, text(&pod.metadata.namespace), text(&pod.metadata.name))
    };
    let mut all: Vec<String> = pods.iter().map(of).collect();
    all.sort();
    let more = all.len().saturating_sub(SHOWN);
    all.truncate(SHOWN);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!(
        "the pod stands for one on each of {} machines of cluster {cluster:?}; ask that cluster for one of them: {}{more}",
        pods.len(),
        all.join(", ")
    )
}

fn unavailable(message: String) -> ServeError {
    ServeError { code: 503, reason: "ServiceUnavailable", message }
}

/// The same question about the mirror.
fn below(uri: &http::Uri, mirror: &Pod) -> Result<http::Uri, http::uri::InvalidUri> {
    let meta = &mirror.metadata;
    let rest: String = uri.path().split('/').skip(6).map(|part| format!("/{part}")).collect();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!(
        "http://node/v1/pods/{}/{}/{}{rest}{query}",
        part(&meta.namespace),
        part(&meta.name),
        part(&meta.uid)
    )
    .parse()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn several_machines_are_named() {
        let pod = |n: usize| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": format!("d-{n:02}"), "namespace": "shop"},
                "spec": {"nodeName": format!("m{n:02}"), "containers": []}}))
            .expect("a pod")
        };
        let said = several("site", &(0..2).map(pod).collect::<Vec<_>>());
        assert!(said.ends_with("2 machines of cluster \"site\"; ask that cluster for one of them: m00 (-n shop d-00), m01 (-n shop d-01)"), "{said}");
        assert!(
            several("site", &(0..23).map(pod).collect::<Vec<_>>())
                .ends_with("m19 (-n shop d-19), and 3 more")
        );
    }

    #[test]
    fn the_question_is_the_same_below() {
        let mirror: Pod = serde_json::from_value(
            json!({"metadata": {"name": "web", "namespace": "shop--root", "uid": "m"}}),
        )
        .expect("a pod");
        let asked = "/v1/pods/shop/web/u/containers/c/log?follow=true".parse().expect("a path");
        let below = below(&asked, &mirror).expect("a path");
        assert_eq!(below.to_string(), "http://node/v1/pods/shop--root/web/m/containers/c/log?follow=true");
    }
}
