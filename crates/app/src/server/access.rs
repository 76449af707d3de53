//! The files by which people and machines get in: the administrator's kubeconfig and the join token.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use dunlin_api::token::JoinToken;
use dunlin_pki::{Authority, Identity};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use serde_json::json;

use super::rotation;
use crate::error::{Doing, Error};
use crate::layout::{Layout, write_atomically};

/// Where a client reaches the API that listens on `listen`.
pub fn url(listen: SocketAddr, advertise: &[String]) -> String {
    let host = match advertise.first() {
        Some(host) => host.clone(),
        None if listen.ip().is_unspecified() => "127.0.0.1".to_owned(),
        None => listen.ip().to_string(),
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    format!("https://{host}:{}", listen.port())
}

/// Whose kubeconfig lies in the data directory.
pub struct Administrator {
    /// The data directory.
    pub layout: Layout,
    /// The CA.
    pub authority: Arc<Authority>,
    /// The API's URL.
    pub url: String,
    /// The cluster's name.
    pub cluster: String,
    /// How long the certificate is valid. Each start of the server writes a fresh one.
    pub life: Duration,
}

impl Administrator {
    /// Writes the kubeconfig with a fresh certificate, which it gives back. A full disk keeps no server from starting
    /// that has written one before: through the old one room can be made.
    pub fn write_kubeconfig(&self) -> Result<Identity, Error> {
        let Self { authority, cluster, .. } = self;
        let admin = authority
            .issue_client("dunlin:administrator", &["system:masters".to_owned()], self.life)
            .doing("issuing the administrator's certificate")?;
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": cluster, "cluster": {
                "server": self.url, "certificate-authority-data": encode(authority.ca_pem())}}],
            "users": [{"name": "administrator", "user": {
                "client-certificate-data": encode(&admin.cert_pem), "client-key-data": encode(&admin.key_pem)}}],
            "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": "administrator"}}],
            "current-context": cluster,
        });
        // JSON is YAML, and every reader of kubeconfigs takes it.
        let text = serde_json::to_string_pretty(&config).doing("writing the kubeconfig")?;
        match write_atomically(&self.layout.kubeconfig(), text.as_bytes(), 0o600) {
            Err(error) if error.is_disk_full() && self.layout.kubeconfig().exists() => {
                let error = dunlin_base::error::chain(&error);
                tracing::warn!(error, "the disk is full, going on with the kubeconfig of an earlier start");
            }
            other => other?,
        }
        Ok(admin)
    }

    /// Writes the kubeconfig anew whenever its certificate is due.
    pub async fn rotate(self, first: Identity) {
        rotation::run("administrator", first, || self.write_kubeconfig()).await;
    }
}

/// Makes the join token at the first start. It does not expire; `dunlin token revoke` ends it.
pub async fn ensure_token(layout: &Layout, authority: &Authority, client: kube::Client) -> Result<(), Error> {
    if layout.token().exists() {
        return Ok(());
    }
    let mut bytes = [0u8; 22];
    getrandom::fill(&mut bytes)
        .map_err(|e| std::io::Error::other(e.to_string()))
        .doing("drawing the join token")?;
    // 32 symbols, so that each of them is equally likely.
    let word: String =
        bytes.iter().map(|b| char::from(b"abcdefghijkmnpqrstuvwxyz23456789"[usize::from(b % 32)])).collect();
    let (id, secret) = word.split_at(6);
    let object: Secret = serde_json::from_value(json!({
        "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": id,
            "token-secret": secret,
            "usage-bootstrap-authentication": "true",
            "usage-bootstrap-signing": "true",
            "description": "made at the first start of this server",
        },
    }))
    .doing("writing the join token")?;
    Api::<Secret>::namespaced(client, "kube-system")
        .create(&PostParams::default(), &object)
        .await
        .doing("storing the join token")?;
    let token = JoinToken::new(&authority.fingerprint(), id, secret).doing("writing the join token")?;
    write_atomically(&layout.token(), format!("{token}\n").as_bytes(), 0o600)
}
