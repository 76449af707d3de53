//! Tokens of the home API for pods below: asked for with the right of the node that the pod is bound to, kept below as
//! a Secret, renewed at 80 % of their life. While the parent is away the old ones stay; they may still serve.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dunlin_api::names::{annotation, label};
use dunlin_base::backoff::Backoff;
use dunlin_base::error::chain;
use dunlin_base::task::Task;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};

use crate::below::{gone, only};
use crate::plan::mirror::{Level, token_secret};
use crate::plan::references::tokens;

/// Life of a token that asks for none: Kubernetes' default.
const LIFE: i64 = 3600;

/// How the annotation of a Secret with tokens begins; what the tokens are for follows.
const MARK: &str = "tokens/";

/// The keepers, by what the tokens are for: a pod, or a DaemonSet.
pub struct Tokens {
    parent: Client,
    child: Client,
    level: Level,
    all: Mutex<HashMap<String, Kept>>,
}

struct Kept {
    /// The pod above to which the tokens are bound.
    pod: String,
    namespace: String,
    _task: Task,
}

impl Tokens {
    pub fn new(parent: Client, child: Client, level: Level) -> Self {
        Self { parent, child, level, all: Mutex::default() }
    }

    /// Keeps the tokens of `upper` in the Secret of `owner` in `namespace`. A successor's tokens take their place.
    pub fn ensure(&self, owner: &str, upper: &Arc<Pod>, namespace: &str) {
        let spec = upper.spec.clone().unwrap_or_default();
        if tokens(&spec).is_empty() {
            return;
        }
        let uid = upper.metadata.uid.clone().unwrap_or_default();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(owner).is_some_and(|kept| kept.pod == uid) {
            return;
        }
        let task = Task::spawn(
            "home-tokens",
            keep(
                self.parent.clone(),
                self.child.clone(),
                self.level.clone(),
                upper.clone(),
                namespace.to_owned(),
                owner.to_owned(),
            ),
        );
        all.insert(owner.to_owned(), Kept { pod: uid, namespace: namespace.to_owned(), _task: task });
    }

    /// What `owner` stood for is gone.
    pub async fn release(&self, owner: &str) {
        let kept = self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(owner);
        if let Some(kept) = kept {
            let api: Api<Secret> = Api::namespaced(self.child.clone(), &kept.namespace);
            // It may be gone with its namespace; what is left is collected.
            let _ = api.delete(&token_secret(owner), &DeleteParams::default()).await;
        }
    }
}

impl Tokens {
    /// Removes Secrets whose owner is not among `owners`: an earlier process made them. Only for when every pod of the
    /// parent is known.
    pub async fn collect(&self, owners: &HashSet<String>) -> Result<(), kube::Error> {
        let all: Api<Secret> = Api::all(self.child.clone());
        let ours = ListParams::default().labels(&self.level.selector());
        for secret in all.list(&ours).await?.items {
            let meta = &secret.metadata;
            let of = meta.annotations.as_ref().and_then(|all| all.get(annotation::MIRROR_OF));
            let Some(owner) = of.and_then(|of| of.strip_prefix(MARK)) else { continue };
            let kept = self.all.lock().unwrap_or_else(PoisonError::into_inner).contains_key(owner);
            if !kept
                && !owners.contains(owner)
                && let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name)
            {
                let api: Api<Secret> = Api::namespaced(self.child.clone(), namespace);
                gone(api.delete(name, &only(meta)).await)?;
            }
        }
        Ok(())
    }
}

async fn keep(
    parent: Client,
    child: Client,
    level: Level,
    upper: Arc<Pod>,
    namespace: String,
    owner: String,
) {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
    loop {
        let wait = match renew(&parent, &child, &level, &upper, &namespace, &owner).await {
            Ok(renew_at) => {
                backoff.reset();
                let left = renew_at.duration_since(Timestamp::now());
                Duration::try_from(left).unwrap_or_default().max(Duration::from_secs(10))
            }
            Err(error) => {
                tracing::debug!(
                    pod = upper.metadata.name,
                    error = chain(&error),
                    "asking for a pod's home tokens failed"
                );
                backoff.next_delay()
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Asks for all tokens, writes them, and says when to ask again.
async fn renew(
    parent: &Client,
    child: &Client,
    level: &Level,
    upper: &Pod,
    namespace: &str,
    owner: &str,
) -> Result<Timestamp, kube::Error> {
    let meta = &upper.metadata;
    let name = &token_secret(owner);
    let spec = upper.spec.clone().unwrap_or_default();
    let accounts: Api<ServiceAccount> =
        Api::namespaced(parent.clone(), meta.namespace.as_deref().unwrap_or_default());
    let account = spec.service_account_name.as_deref().unwrap_or("default");
    let mut data = BTreeMap::new();
    let mut again = Timestamp::MAX;
    let now = Timestamp::now();
    for (position, source) in tokens(&spec).into_iter().enumerate() {
        let life = source.expiration_seconds.unwrap_or(LIFE);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: source.audience.filter(|a| !a.is_empty()).map(|a| vec![a]),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: meta.name.clone(),
                    uid: meta.uid.clone(),
                }),
                expiration_seconds: Some(life),
            }),
            ..TokenRequest::default()
        };
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await?;
        let status = answer.status.unwrap_or_default();
        data.insert(format!("token-{position}"), ByteString(status.token.unwrap_or_default().into_bytes()));
        let ends = status.expiration_timestamp.map_or(now, |at| at.0);
        let left = ends.duration_since(now);
        let renew = now.saturating_add(left * 8 / 10).unwrap_or(now);
        again = again.min(renew);
    }
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(BTreeMap::from([(label::MIRROR.into(), level.parent.clone())])),
            annotations: Some(BTreeMap::from([(annotation::MIRROR_OF.into(), format!("{MARK}{owner}"))])),
            ..ObjectMeta::default()
        },
        data: Some(data),
        ..Secret::default()
    };
    let api: Api<Secret> = Api::namespaced(child.clone(), namespace);
    api.patch(name, &PatchParams::apply("dunlin-uplink").force(), &Patch::Apply(&secret)).await?;
    Ok(again)
}
