//! How a machine gets its certificate: its signing request is approved if a join token or the node itself made it.
//!
//! Only the client signer of nodes is served, and the subject must be a node's: nobody gets another name this way.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use dunlin_base::error::chain;
use dunlin_pki::Authority;
use futures_util::StreamExt;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;

/// The signer that kubelets ask.
pub const NODE_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// How long a node's certificate is valid; it is renewed at 70 % of that.
const NODE_CERTIFICATE: Duration = Duration::from_secs(365 * 24 * 3600);

/// Answers signing requests for as long as it is polled.
pub async fn run(client: kube::Client, authority: Arc<Authority>) {
    let api: Api<CertificateSigningRequest> = Api::all(client);
    let mut requests =
        std::pin::pin!(watcher(api.clone(), watcher::Config::default()).default_backoff().applied_objects());
    while let Some(request) = requests.next().await {
        match request {
            Ok(request) => answer(&api, &authority, &request).await,
            Err(error) => {
                tracing::warn!(error = chain(&error), "watching signing requests failed, trying again")
            }
        }
    }
}

async fn answer(
    api: &Api<CertificateSigningRequest>,
    authority: &Authority,
    request: &CertificateSigningRequest,
) {
    let name = request.metadata.name.as_deref().unwrap_or_default();
    let done = request.status.as_ref().is_some_and(|status| {
        status.certificate.is_some()
            || status.conditions.as_ref().is_some_and(|all| all.iter().any(|c| c.type_ == "Denied"))
    });
    if done || request.spec.signer_name != NODE_SIGNER {
        return;
    }
    let verdict = sign(authority, request);
    let now = k8s_openapi::jiff::Timestamp::now().to_string();
    let (kind, reason, message, certificate) = match verdict {
        Ok(pem) => ("Approved", "NodeJoin", "a node asks for its own certificate".to_owned(), Some(pem)),
        Err(why) => ("Denied", "NotANode", why, None),
    };
    tracing::info!(request = name, verdict = kind, message, "signing request answered");
    let condition = json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastUpdateTime": now, "lastTransitionTime": now});
    let patches = [
        Some(("approval", json!({"status": {"conditions": [condition]}}))),
        certificate.map(|pem| {
            let encoded = base64::engine::general_purpose::STANDARD.encode(pem);
            ("status", json!({"status": {"certificate": encoded}}))
        }),
    ];
    for (subresource, patch) in patches.into_iter().flatten() {
        let patched =
            api.patch_subresource(subresource, name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        if let Err(error) = patched {
            tracing::warn!(request = name, error = chain(&error), "answering a signing request failed");
        }
    }
}

/// The signed certificate, or why there is none.
fn sign(authority: &Authority, request: &CertificateSigningRequest) -> Result<String, String> {
    let pem =
        std::str::from_utf8(&request.spec.request.0).map_err(|_| "the request is not PEM".to_owned())?;
    let subject = Authority::csr_subject(pem).map_err(|e| chain(&e))?;
    if !subject.user.starts_with("system:node:") || subject.groups != ["system:nodes"] {
        return Err(format!(
            "the subject must be system:node:<name> in system:nodes, not {:?}",
            subject.user
        ));
    }
    let groups = request.spec.groups.clone().unwrap_or_default();
    let joins = groups.iter().any(|g| g == "system:bootstrappers");
    let renews = request.spec.username.as_deref() == Some(subject.user.as_str());
    if !joins && !renews {
        return Err("only a join token or the node itself may ask for a node's certificate".to_owned());
    }
    authority.sign_client_csr(pem, &subject.user, &subject.groups, NODE_CERTIFICATE).map_err(|e| chain(&e))
}

/// Posts a signing request and waits for its certificate.
pub async fn request(client: kube::Client, name: &str, csr_pem: &str) -> Result<String, kube::Error> {
    let api: Api<CertificateSigningRequest> = Api::all(client);
    let body: CertificateSigningRequest = serde_json::from_value(json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "signerName": NODE_SIGNER,
            "request": base64::engine::general_purpose::STANDARD.encode(csr_pem),
            "usages": ["client auth", "digital signature"],
        },
    }))
    .map_err(kube::Error::SerdeError)?;
    let made = api.create(&PostParams::default(), &body).await?;
    let name = made.metadata.name.unwrap_or_default();
    for _ in 0..150 {
        let status = api.get(&name).await?.status.unwrap_or_default();
        if let Some(certificate) = status.certificate {
            return Ok(String::from_utf8_lossy(&certificate.0).into_owned());
        }
        if let Some(denied) = status.conditions.iter().flatten().find(|c| c.type_ == "Denied") {
            return Err(kube::Error::Service(
                format!("denied: {}", denied.message.as_deref().unwrap_or("")).into(),
            ));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(kube::Error::Service("the server did not sign the request within 30 s".into()))
}
