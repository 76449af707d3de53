//! The files by which people and machines get in: the administrator's kubeconfig and the join token.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use dunlin_api::token::JoinToken;
use dunlin_pki::Authority;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::error::{Doing, Error};
use crate::layout::{Layout, write_atomically};

/// How long the administrator's certificate is valid; each start of the server writes a fresh one.
const ADMINISTRATOR: Duration = Duration::from_secs(365 * 24 * 3600);

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

/// Writes the administrator's kubeconfig. A full disk keeps no server from starting that has written one before: the
/// old one is valid for a year, and through it room can be made.
pub fn write_kubeconfig(
    layout: &Layout,
    authority: &Authority,
    url: &str,
    cluster: &str,
) -> Result<(), Error> {
    let admin = authority
        .issue_client("dunlin:administrator", &["system:masters".to_owned()], ADMINISTRATOR)
        .doing("issuing the administrator's certificate")?;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {"server": url, "certificate-authority-data": encode(authority.ca_pem())}}],
        "users": [{"name": "administrator", "user": {
            "client-certificate-data": encode(&admin.cert_pem), "client-key-data": encode(&admin.key_pem)}}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": "administrator"}}],
        "current-context": cluster,
    });
    // JSON is YAML, and every reader of kubeconfigs takes it.
    let text = serde_json::to_string_pretty(&config).doing("writing the kubeconfig")?;
    match write_atomically(&layout.kubeconfig(), text.as_bytes(), 0o600) {
        Err(error) if error.is_disk_full() && layout.kubeconfig().exists() => {
            let error = dunlin_base::error::chain(&error);
            tracing::warn!(error, "the disk is full, going on with the kubeconfig of an earlier start");
            Ok(())
        }
        other => other,
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
