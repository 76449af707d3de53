//! Service account tokens bound to a pod: asked for, kept on disk, renewed at 80 % of their life.
//!
//! Without the API an old token stays, even an expired one: it may still serve where it is needed.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, PostParams};
use serde::{Deserialize, Serialize};

/// A token and its times.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Token {
    pub token: String,
    pub renew: Timestamp,
}

/// The token for this audience and life, from disk while it is young.
pub async fn get(
    client: &kube::Client,
    dir: &Path,
    pod: &Pod,
    audience: &str,
    seconds: i64,
) -> Result<Token, String> {
    let safe: String =
        audience.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(80).collect();
    let file = dir.join(format!("token-{safe}-{seconds}.json"));
    let kept: Option<Token> = crate::disk::read(&file);
    let now = Timestamp::now();
    if let Some(token) = kept.as_ref().filter(|t| t.renew > now) {
        return Ok(token.clone());
    }
    match tokio::time::timeout(Duration::from_secs(10), ask(client, pod, audience, seconds)).await {
        Ok(Ok(token)) => {
            let bytes = serde_json::to_vec(&token).unwrap_or_default();
            if let Err(error) = crate::disk::write(&file, &bytes, 0o600, true) {
                tracing::warn!(%error, "a token cannot be kept on disk");
            }
            Ok(token)
        }
        failed => {
            let why = match failed {
                Ok(Err(why)) => why,
                _ => "the API did not answer".to_owned(),
            };
            match kept {
                Some(old) => {
                    Ok(Token { renew: now.checked_add(Duration::from_secs(60)).unwrap_or(now), ..old })
                }
                None => Err(format!("failed to fetch token: {why}")),
            }
        }
    }
}

async fn ask(client: &kube::Client, pod: &Pod, audience: &str, seconds: i64) -> Result<Token, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let account = crate::model::spec(pod)
        .service_account_name
        .clone()
        .filter(|a| !a.is_empty())
        .unwrap_or_else(|| "default".into());
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(vec![audience.to_owned()]).filter(|a| !a[0].is_empty()),
            expiration_seconds: Some(seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
        }),
        ..TokenRequest::default()
    };
    let answer = api
        .create_token_request(&account, &PostParams::default(), &request)
        .await
        .map_err(|e| dunlin_base::error::chain(&e))?;
    let status = answer.status.ok_or("the API answered without a token")?;
    let now = Timestamp::now();
    let expires = status.expiration_timestamp.map_or(now.as_second() + seconds, |t| t.0.as_second());
    let life = (expires - now.as_second()).max(10);
    let renew =
        now.checked_add(Duration::from_secs(u64::try_from(life * 8 / 10).unwrap_or(8))).unwrap_or(now);
    Ok(Token { token: status.token.ok_or("the API answered without a token")?, renew })
}
