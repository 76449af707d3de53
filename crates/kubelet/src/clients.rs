//! The CA of the certificates by which callers of the kubelet's API say who they are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_base::error::chain;
use dunlin_pki::Identity;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::Api;
use tokio::sync::watch;

use crate::error::Error;

/// How long until the cluster is asked again, if it has not told.
const AGAIN: Duration = Duration::from_secs(600);

/// The CA in a file that the user names.
///
/// # Errors
/// When it cannot be read, or holds no certificate.
pub fn from_file(path: &Path) -> Result<String, Error> {
    let read = std::fs::read_to_string(path);
    let pem = read.map_err(|source| Error::File { doing: "reading", path: PathBuf::from(path), source })?;
    dunlin_pki::tls::certificates(&pem)
        .map_err(|e| Error::Input(format!("--client-ca-file {}: {}", path.display(), chain(&e))))?;
    Ok(pem)
}

/// The API server's own CA, if it has also signed the certificate by which this node is known there: then it is one of
/// the cluster's client CAs, and nothing else would prove that.
pub fn proven(ca_pem: &str, own: Option<&Identity>) -> Option<String> {
    own.is_some_and(|own| dunlin_pki::tls::is_signed_by(ca_pem, own)).then(|| ca_pem.to_owned())
}

/// Asks the cluster for its client CA, and tells it; most clusters do not let their nodes read it.
pub async fn ask(client: Client, known: watch::Sender<Option<String>>) {
    let api: Api<ConfigMap> = Api::namespaced(client, "kube-system");
    let mut warned = false;
    loop {
        match api.get("extension-apiserver-authentication").await {
            Ok(map) => {
                let pem = map.data.unwrap_or_default().remove("client-ca-file").unwrap_or_default();
                if dunlin_pki::tls::certificates(&pem).is_ok() {
                    known.send_if_modified(|now| {
                        let new = now.as_ref() != Some(&pem);
                        *now = Some(pem.clone());
                        new
                    });
                    break;
                }
            }
            Err(error) => {
                tracing::debug!(error = chain(&error), "the cluster does not tell its client CA");
            }
        }
        if known.borrow().is_some() {
            break;
        }
        if !warned {
            tracing::warn!(
                "the cluster's client CA is not known, so its API server cannot ask this node for logs and sessions: give \
                 --client-ca-file"
            );
            warned = true;
        }
        tokio::time::sleep(AGAIN).await;
    }
    // Whoever listens takes the end of the sender for the end of news, which it is.
    known.closed().await;
}
