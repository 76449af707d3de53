//! What a kubeconfig says of the cluster and of who we are there, and what of it is refused.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dunlin_pki::Identity;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use secrecy::ExposeSecret;

use crate::error::Error;

/// The largest kubeconfig, certificate or key file that is read, bytes.
const LIMIT: u64 = 1 << 20;

/// A cluster, and the credentials for it.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The API server's URL.
    pub server: String,
    /// Its host and port.
    pub endpoint: (String, u16),
    /// The CA that its certificate must come from.
    pub ca_pem: String,
    /// The client certificate, if that is the credential.
    pub own: Option<Identity>,
    /// Everything, as the client takes it.
    pub config: kube::Config,
}

/// Reads the file's current context.
///
/// # Errors
/// When it cannot be read, is no kubeconfig, or wants something that is refused; the text says what to do.
pub async fn read(file: &Path) -> Result<Cluster, Error> {
    let shown = file.display();
    let found = std::fs::metadata(file).map_err(|source| Error::File {
        doing: "reading the kubeconfig",
        path: file.to_owned(),
        source,
    })?;
    if found.len() > LIMIT {
        return Err(Error::Input(format!("the kubeconfig {shown} is larger than {LIMIT} bytes")));
    }
    let failed = |source| Error::Kubeconfig { path: file.to_owned(), source: Box::new(source) };
    let kubeconfig = Kubeconfig::read_from(file).map_err(failed)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(failed)?;
    if let Some(why) = refused(&config) {
        return Err(Error::Input(format!("the kubeconfig {shown} cannot be used: {why}")));
    }
    let ca_pem = dunlin_pki::tls::pem(config.root_cert.as_deref().unwrap_or_default());
    let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let host = config.cluster_url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let endpoint = (host, config.cluster_url.port_u16().unwrap_or(443));
    let own = own(&config.auth_info, file)?;
    Ok(Cluster { server, endpoint, ca_pem, own, config })
}

/// Why this configuration is not followed, though other clients would.
fn refused(config: &kube::Config) -> Option<String> {
    let auth = &config.auth_info;
    let text = if config.cluster_url.scheme_str() != Some("https") {
        format!("its server is {}, and a node speaks https only", config.cluster_url)
    } else if config.accept_invalid_certs {
        "insecure-skip-tls-verify would let anybody play this node's API server; name its certificate-authority".into()
    } else if config.root_cert.as_ref().is_none_or(Vec::is_empty) {
        "it names no certificate-authority; a node trusts the cluster's own and no others".into()
    } else if config.proxy_url.is_some() {
        "proxy-url is not supported".into()
    } else if auth.auth_provider.is_some() {
        "auth-provider is not supported; use exec, a token or a client certificate".into()
    } else if auth.username.is_some() || auth.password.is_some() {
        "username and password are not accepted by Kubernetes any more; use a token or a client certificate"
            .into()
    } else if auth.impersonate.is_some()
        || auth.impersonate_groups.is_some()
        || auth.impersonate_uid.is_some()
    {
        "a node does not act as somebody else (as, as-groups, as-uid)".into()
    } else {
        return None;
    };
    Some(text)
}

/// The client certificate with its key, where the kubeconfig has both.
fn own(auth: &AuthInfo, file: &Path) -> Result<Option<Identity>, Error> {
    let certificate =
        text(auth.client_certificate_data.as_deref(), auth.client_certificate.as_deref(), file)?;
    let data = auth.client_key_data.as_ref().map(ExposeSecret::expose_secret);
    let key = text(data, auth.client_key.as_deref(), file)?;
    match (certificate, key) {
        (Some(cert_pem), Some(key_pem)) => {
            let identity = Identity { cert_pem, key_pem };
            dunlin_pki::tls::ClientIdentity::new(&identity)?;
            Ok(Some(identity))
        }
        (None, None) => Ok(None),
        _ => Err(Error::Input(format!(
            "the kubeconfig {} has only one of client-certificate and client-key; it needs both",
            file.display()
        ))),
    }
}

/// PEM that stands in the kubeconfig itself, or in a file that it names.
fn text(data: Option<&str>, named: Option<&str>, kubeconfig: &Path) -> Result<Option<String>, Error> {
    if let Some(data) = data {
        let wrong = || {
            let file = kubeconfig.display();
            Error::Input(format!("the kubeconfig {file} holds a client certificate or key that is no base64"))
        };
        let bytes = STANDARD.decode(data.trim()).map_err(|_| wrong())?;
        return String::from_utf8(bytes).map(Some).map_err(|_| wrong());
    }
    let Some(path) = named else { return Ok(None) };
    let read = std::fs::read_to_string(path);
    read.map(Some).map_err(|source| Error::File { doing: "reading", path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusal(cluster: &str, user: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = dunlin_pki::Authority::open_or_create(folder.path(), "c").expect("an authority");
        let (file, ca) = (folder.path().join("kubeconfig"), STANDARD.encode(authority.ca_pem()));
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{{}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n\
             contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n",
            cluster.replace("CA", &ca)
        );
        std::fs::write(&file, text).expect("written");
        read(&file).await.map(|_| String::new()).unwrap_or_else(|e| dunlin_base::error::chain(&e).to_string())
    }

    #[tokio::test]
    async fn what_no_node_should_follow_is_refused_with_its_name() {
        let good = "server: 'https://a:6443', certificate-authority-data: CA";
        assert_eq!(refusal(good, "token: t").await, "");
        for (cluster, user, word) in [
            ("server: 'http://a:8080', certificate-authority-data: CA", "token: t", "https only"),
            ("server: 'https://a:6443'", "token: t", "certificate-authority"),
            (
                "server: 'https://a', certificate-authority-data: CA, insecure-skip-tls-verify: true",
                "token: t",
                "insecure",
            ),
            (good, "token: t, as: somebody", "somebody else"),
            (good, "username: a, password: b", "username and password"),
            (good, "auth-provider: {name: gcp, config: {}}", "auth-provider"),
            (good, "client-certificate-data: aGFsbG8=", "only one of"),
            (good, "client-certificate-data: '!', client-key-data: '!'", "base64"),
        ] {
            let said = refusal(cluster, user).await;
            assert!(said.contains(word), "{cluster} {user}: {said}");
        }
    }
}
