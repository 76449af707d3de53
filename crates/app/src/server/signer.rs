//! How a machine gets its certificate: its signing request is approved if a join token or the node itself made it.
//!
//! Only the client signer of nodes is served, and the subject must be a node's: nobody gets another name this way. Who gets
//! what is decided in `certificates::rules`; the record is durable before the certificate leaves.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use dunlin_api::names::user::{
    CREDENTIAL_ID, GROUP_BOOTSTRAP_CLUSTERS, GROUP_BOOTSTRAPPERS, GROUP_CLUSTERS, GROUP_NODES, bootstrap_id,
    node_name,
};
use dunlin_base::error::chain;
use dunlin_pki::Authority;
use futures_util::StreamExt;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;

use super::certificates::Certificates;
use super::certificates::clusters;
use super::certificates::rules::{self, Asker, Record};
use super::servers::Servers;

/// The signer that kubelets ask.
pub const NODE_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";

/// What certificates are issued with.
#[derive(Clone)]
pub struct Signer {
    /// The API, as somebody who may read and write everything.
    pub client: kube::Client,
    /// The CA.
    pub authority: Arc<Authority>,
    /// The records of what was issued.
    pub certificates: Arc<Certificates>,
    /// How long a node's certificate is valid; it is renewed at 70 % of that.
    pub life: Duration,
    /// The other servers, if there may be any: their own nodes are nobody else's.
    pub servers: Option<Servers>,
}

/// Answers signing requests for as long as it is polled.
pub async fn run(signer: Signer) {
    let api: Api<CertificateSigningRequest> = Api::all(signer.client.clone());
    let mut requests =
        std::pin::pin!(watcher(api.clone(), watcher::Config::default()).default_backoff().applied_objects());
    while let Some(request) = requests.next().await {
        match request {
            Ok(request) => answer(&api, &signer, &request).await,
            Err(error) => {
                tracing::warn!(error = chain(&error), "watching signing requests failed, trying again")
            }
        }
    }
}

async fn answer(api: &Api<CertificateSigningRequest>, signer: &Signer, request: &CertificateSigningRequest) {
    let name = request.metadata.name.as_deref().unwrap_or_default();
    if request.spec.signer_name != NODE_SIGNER || is_answered(request) {
        return;
    }
    // Our own approval comes back as an event, too, and signing twice would make the first certificate void.
    match api.get_opt(name).await {
        Ok(Some(present)) if !is_answered(&present) => {}
        Ok(_) => return,
        Err(error) => {
            tracing::warn!(request = name, error = chain(&error), "reading a signing request failed");
            return;
        }
    }
    let verdict = sign(signer, &request.spec).await;
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

fn is_answered(request: &CertificateSigningRequest) -> bool {
    request.status.as_ref().is_some_and(|status| {
        let denied = status.conditions.iter().flatten().any(|c| c.type_ == "Denied");
        status.certificate.is_some() || denied
    })
}

/// The signed certificate, or why there is none.
async fn sign(signer: &Signer, request: &CertificateSigningRequestSpec) -> Result<String, String> {
    let pem = std::str::from_utf8(&request.request.0).map_err(|_| "the request is not PEM".to_owned())?;
    let subject = Authority::csr_subject(pem).map_err(|e| chain(&e))?;
    let cluster = subject.groups == [GROUP_NODES, GROUP_CLUSTERS];
    let name =
        node_name(&subject.user).filter(|_| cluster || subject.groups == [GROUP_NODES]).ok_or_else(|| {
            format!(
                "the subject must be system:node:<name> in {GROUP_NODES} (and {GROUP_CLUSTERS}), not {:?}",
                subject.user
            )
        })?;
    let elsewhere = match &signer.servers {
        Some(servers) => servers.is_own_node(name).await.map_err(|e| chain(&e))?,
        None => false,
    };
    if elsewhere || signer.certificates.is_own(name) {
        return Err(format!("{name:?} is the server's own node; choose another name"));
    }
    let nodes: Api<Node> = Api::all(signer.client.clone());
    let record = signer.certificates.record(name);
    let exists = nodes.get_metadata_opt(name).await.map_err(|e| chain(&e))?.is_some()
        || (record.as_ref().is_some_and(Record::shows_machines)
            && clusters::exists(&signer.client, name).await.map_err(|e| chain(&e))?);
    let asker = asker(request);
    let decide = |last| rules::issue(record.as_ref(), exists, name, cluster, &asker, last);
    decide(String::new())?;
    let authority = &signer.authority;
    let signed =
        authority.sign_client_csr(pem, &subject.user, &subject.groups, signer.life).map_err(|e| chain(&e))?;
    let der = dunlin_pki::tls::certificates(&signed).map_err(|e| chain(&e))?;
    let new = decide(dunlin_pki::tls::fingerprint(&der[0]))?;
    signer.certificates.keep(&signer.client, name, new).await.map_err(|e| chain(&e))?;
    if record.is_some() && matches!(asker, Asker::Token { .. }) {
        tracing::warn!(node = name, "the node joined anew, its earlier certificates are refused from now on");
    }
    Ok(signed)
}

/// Who made the request, as the API server has noted it.
fn asker(request: &CertificateSigningRequestSpec) -> Asker {
    let user = request.username.as_deref().unwrap_or_default();
    let in_group = |name: &str| request.groups.iter().flatten().any(|g| g == name);
    if bootstrap_id(user).is_some() && in_group(GROUP_BOOTSTRAPPERS) {
        return Asker::Token { cluster: in_group(GROUP_BOOTSTRAP_CLUSTERS) };
    }
    let credential = request.extra.as_ref().and_then(|extra| extra.get(CREDENTIAL_ID)?.first());
    match (node_name(user), credential.and_then(|c| c.strip_prefix("X509SHA256="))) {
        (Some(name), Some(fingerprint)) => {
            Asker::Node { name: name.to_owned(), fingerprint: fingerprint.to_owned() }
        }
        _ => Asker::Other,
    }
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
